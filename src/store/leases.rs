//! Leases: which doors are open, who opened them and until when, so that whoever comes after a crash finds them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Store, StoreError, io_error, json_names, read_json, write_json};
use crate::files::Entry;
use crate::identifier::AppName;

/// A door that stands, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The door's file.
    pub path: PathBuf,
    /// The process that opened it.
    pub process: u32,
    /// When it was opened.
    #[serde(with = "time::serde::rfc3339")]
    pub opened: OffsetDateTime,
    /// When it closes at the latest; a permanent door doesn't.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
}

impl Store {
    fn lease_path(&self, app: &AppName) -> PathBuf {
        self.directory.join(format!("doors/{app}.json"))
    }

    /// Writes down that a door is about to stand. Comes before the door itself.
    pub fn save_lease(&self, app: &AppName, lease: &Lease) -> Result<(), StoreError> {
        write_json(&self.lease_path(app), lease)
    }

    /// The lease of an app's door.
    pub fn lease(&self, app: &AppName) -> Result<Option<Lease>, StoreError> {
        read_json(&self.lease_path(app))
    }

    /// Forgets a lease. Comes after the door is gone from nginx.
    pub fn forget_lease(&self, app: &AppName) -> Result<(), StoreError> {
        let path = self.lease_path(app);
        Entry::Absent
            .place(&path)
            .map_err(io_error("removed", &path))
    }

    /// The apps that have a lease.
    pub fn leased(&self) -> Result<Vec<AppName>, StoreError> {
        json_names(&self.directory.join("doors"))
    }
}
