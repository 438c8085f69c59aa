//! Lineages: the successive certificates of one name, what is due next and what went wrong last.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Store, StoreError, Version, json_names, read_json, write_json};
use crate::identifier::{AppName, Identifier};
use crate::report::Report;
use crate::schedule::State;

/// What is remembered of one name's certificates. Fields that an older version didn't write have defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// What the certificate is for.
    pub identifiers: Vec<Identifier>,
    /// The CA it came from.
    pub directory: Option<String>,
    /// An order that was placed and has not ended.
    pub order: Option<OrderInFlight>,
    /// When the CA last looked, rather than knowing us still.
    #[serde(with = "time::serde::rfc3339::option")]
    pub validated: Option<OffsetDateTime>,
    /// What the version that was last put live says of itself, so that its files needn't be read to know when it ends.
    pub summary: Option<Summary>,
    /// The version that nginx was last seen to serve, or last took where nothing is to be seen.
    pub deployed: Option<Version>,
    /// A version that nginx refused or didn't serve. It is tried again, but whoever insists gets another.
    pub rejected: Option<Version>,
    /// The versions that the CA has revoked.
    pub revoked: Option<Revoked>,
    /// What went wrong since the last success.
    pub failure: Option<Failure>,
    /// Versions that were to go live and what is to follow is not done for.
    pub not_handed_over: Vec<Version>,
    /// What followed when a version went live, as it went last.
    pub errands: Vec<Errand>,
    /// What its schedule remembers: what the CA has suggested, the back-off, what is waited for.
    pub schedule: State,
}

/// What a version's certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The version.
    pub version: Version,
    /// What it is for.
    pub identifiers: Vec<Identifier>,
    /// When it begins.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// By which id the CA is asked about it (RFC 9773 4.1).
    pub id: Option<String>,
}

impl Lineage {
    /// Whether all is done that follows when this version is live.
    pub fn is_handed_over(&self, version: Version) -> bool {
        !self.not_handed_over.contains(&version)
    }

    /// Whether this version is not to be trusted any more: its CA has revoked it, or its key.
    pub fn is_revoked(&self, version: Version) -> bool {
        let revoked = self.revoked.as_ref();
        revoked.is_some_and(|revoked| version <= revoked.version)
    }

    /// Whether it was revoked for good: it is issued by hand only.
    pub fn is_withdrawn(&self) -> bool {
        self.revoked
            .as_ref()
            .is_some_and(|revoked| revoked.withdrawn)
    }
}

/// What the CA has revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The newest version that is; those before it are no better.
    pub version: Version,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Why (RFC 5280 5.3.1).
    pub reason: String,
    /// Whether no other certificate is wanted until somebody asks for it by hand.
    pub withdrawn: bool,
}

/// An order that was placed and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderInFlight {
    /// Its URL at the CA.
    pub url: String,
    /// The directory it was placed at.
    pub directory: String,
    /// What it is for.
    pub identifiers: Vec<Identifier>,
    /// When it was placed.
    #[serde(with = "time::serde::rfc3339")]
    pub placed: OffsetDateTime,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What happened, in one sentence.
    pub what: String,
    /// What to do, in one sentence.
    pub next_step: String,
    /// How many attempts have failed since the last success.
    pub attempts: u32,
}

/// Something that follows when a certificate is live: a hook, or files in other places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Which kind it is.
    pub kind: ErrandKind,
    /// What was to be done: a command as it can be typed, or the files to be put into place.
    pub what: String,
    /// For which version.
    pub version: Version,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The exit status; nothing where it has none.
    pub exit: Option<i32>,
    /// The last lines that it said.
    pub output: Vec<String>,
    /// Why it has failed, unless it hasn't.
    pub failure: Option<Report>,
}

/// What follows when a certificate is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrandKind {
    /// Its files are put into other places.
    Install,
    /// Who reads them there is told.
    Reload,
    /// A deploy hook is run.
    Hook,
}

impl Errand {
    /// Whether this has been done for a version, and well.
    pub fn is_done(&self, kind: ErrandKind, what: &str, version: Version) -> bool {
        let is_this = self.kind == kind && self.what == what && self.version == version;
        is_this && self.failure.is_none()
    }
}

impl Store {
    pub(super) fn lineage_path(&self, name: &AppName) -> PathBuf {
        self.directory.join(format!("lineages/{name}.json"))
    }

    /// What is remembered of a name; nothing at first.
    pub fn lineage(&self, name: &AppName) -> Result<Lineage, StoreError> {
        Ok(read_json(&self.lineage_path(name))?.unwrap_or_default())
    }

    /// Remembers.
    pub fn save_lineage(&self, name: &AppName, lineage: &Lineage) -> Result<(), StoreError> {
        write_json(&self.lineage_path(name), lineage)
    }

    /// Every name that something is remembered of.
    pub fn lineages(&self) -> Result<Vec<AppName>, StoreError> {
        json_names(&self.directory.join("lineages"))
    }
}
