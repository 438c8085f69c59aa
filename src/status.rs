//! How every certificate stands: what is stored, what nginx really serves, what went wrong last.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::agenda::Outlook;
use crate::certificate::Chain;
use crate::config::Config;
use crate::identifier::{AppName, Identifier};
use crate::issuance::{Pair, read_pair};
use crate::nginx::served::{self, Served, TlsServer};
use crate::nginx::settled::Patience;
use crate::nginx::survey::Surveyor;
use crate::progress::Step;
use crate::schedule::{Attempt, Why};
use crate::store::{Errand, Failure, Lease, Revoked, Store, StoreError, Version};

/// Something may have been reloaded just now, so another certificate is asked for again, but not for long.
const LOOK: Duration = Duration::from_millis(300);

/// The answer to `sidedoor status --json`. Fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of sidedoor that says so.
    pub version: String,
    /// Whether a sidecar runs.
    pub running: bool,
    /// Every certificate, the most urgent first.
    pub certificates: Vec<CertificateStatus>,
}

/// How one certificate stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The lineage.
    pub name: AppName,
    /// Whether an enabled app of the configuration has it.
    pub enabled: bool,
    /// What it is, or shall be, for.
    pub identifiers: Vec<Identifier>,
    /// What is live; nothing before the first certificate.
    pub live: Option<Live>,
    /// What nginx serves for each name.
    pub served: Vec<ServedStatus>,
    /// The app's door, while it stands.
    pub door: Option<Lease>,
    /// The step an issuance has reached, while one runs.
    pub in_flight: Option<Step>,
    /// When it is attempted next, and why then; nothing where nobody looks after it.
    pub next_attempt: Option<NextAttempt>,
    /// Whether the CA has revoked what is live, and why.
    pub revoked: Option<Revoked>,
    /// What went wrong last, unless it has gone well since.
    pub failure: Option<Failure>,
    /// What followed when it went live, as it went last.
    #[serde(default)]
    pub errands: Vec<Errand>,
    /// Why nothing is known of it.
    pub unreadable: Option<String>,
}

/// When a certificate is attempted next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAttempt {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Why then, in a few words.
    pub why: String,
    /// The same for programs: `reason` and what belongs to it.
    pub reason: Why,
}

impl From<Attempt> for NextAttempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            at: attempt.at,
            why: attempt.why.to_string(),
            reason: attempt.why,
        }
    }
}

/// What is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Its number in the archive.
    pub version: Version,
    /// Where its files are.
    pub path: String,
    /// Who issued it.
    pub issuer: String,
    /// Whether it is only the stand-in before the first certificate.
    pub placeholder: bool,
    /// When it begins.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// The SHA-256 fingerprint of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// What nginx serves for a name at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedStatus {
    /// The name.
    pub name: Identifier,
    /// The address.
    pub address: String,
    /// Whether it is what is live.
    pub is_live: bool,
    /// When what is served ends; nothing where no certificate is served.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_after: Option<OffsetDateTime>,
    /// Why none is served.
    pub error: Option<String>,
}

/// Looks at the state on disk and asks nginx.
pub async fn gather(
    config: &Config,
    store: &Store,
    surveyor: &Surveyor,
) -> Result<Status, StoreError> {
    let mut names: BTreeSet<_> = store.lineages()?.into_iter().collect();
    names.extend(config.apps.iter().map(|app| app.name.clone()));
    let mut certificates = Vec::new();
    for name in names {
        let status = one(config, store, surveyor, &name).await;
        certificates.push(status.unwrap_or_else(|error| unreadable(config, name, &error)));
    }
    certificates.sort_by_key(urgency);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        running: false,
        certificates,
    })
}

/// Failures first, then what ends first; what nobody looks after comes last.
fn urgency(certificate: &CertificateStatus) -> impl Ord + use<> {
    let end = certificate
        .live
        .as_ref()
        .filter(|live| !live.placeholder)
        .map(|live| live.not_after);
    (
        !certificate.enabled,
        certificate.failure.is_none(),
        end,
        certificate.name.clone(),
    )
}

async fn one(
    config: &Config,
    store: &Store,
    surveyor: &Surveyor,
    name: &AppName,
) -> Result<CertificateStatus, StoreError> {
    let app = config.app(name);
    let lineage = store.lineage(name)?;
    let identifiers = app.map_or_else(|| lineage.identifiers.clone(), |app| app.domains.clone());
    let live = live(store, name)?;
    let leaf = live.as_ref().map(|(_, leaf)| leaf.as_slice());
    let mut served = Vec::new();
    if let Some(app) = identifiers.first().and_then(|first| config.app_of(first)) {
        let survey = surveyor.survey(app.door.directory(), None).await;
        for (server, _) in survey.tls_servers(&identifiers) {
            served.push(ask(server, leaf.unwrap_or_default()).await);
        }
    }
    let is_looked_after = app.is_none_or(|app| app.enabled);
    let outlook = Outlook::of(store, config, name, OffsetDateTime::now_utc());
    let next_attempt = outlook
        .filter(|_| is_looked_after)
        .map(|outlook| outlook.attempt.into());
    let revoked = lineage.revoked.filter(|revoked| {
        let live = live.as_ref();
        live.is_some_and(|(live, _)| !live.placeholder && live.version <= revoked.version)
    });
    Ok(CertificateStatus {
        enabled: app.is_some_and(|app| app.enabled),
        identifiers,
        live: live.map(|(live, _)| live),
        served,
        door: store.lease(name)?,
        in_flight: None,
        next_attempt,
        revoked,
        failure: lineage.failure,
        errands: lineage.errands,
        unreadable: None,
        name: name.clone(),
    })
}

/// One whose state can't be read keeps nobody from seeing the others.
fn unreadable(config: &Config, name: AppName, error: &StoreError) -> CertificateStatus {
    let app = config.app(&name);
    CertificateStatus {
        enabled: app.is_some_and(|app| app.enabled),
        identifiers: app.map_or_else(Vec::new, |app| app.domains.clone()),
        live: None,
        served: Vec::new(),
        door: None,
        in_flight: None,
        next_attempt: None,
        revoked: None,
        failure: None,
        errands: Vec::new(),
        unreadable: Some(format!("{error}; {}", error.next_step())),
        name,
    }
}

async fn ask(server: TlsServer, leaf: &[u8]) -> ServedStatus {
    let (der, error) = match served::wait_for(&server, leaf, Patience::untouched(LOOK)).await {
        Served::Expected => (Some(leaf.to_vec()), None),
        Served::Other(der) => (Some(der), None),
        Served::Failed(reason) | Served::Unreachable(reason) => (None, Some(reason)),
    };
    let is_live = der.as_deref() == Some(leaf);
    let chain = der.and_then(|der| Chain::from_der(vec![der.into()]).ok());
    ServedStatus {
        name: server.name,
        address: server.address.to_string(),
        is_live,
        not_after: chain.map(|chain| chain.not_after()),
        error,
    }
}

fn live(store: &Store, name: &AppName) -> Result<Option<(Live, Vec<u8>)>, StoreError> {
    let Some(version) = store.live_version(name)? else {
        return Ok(None);
    };
    let no_certificate = || StoreError::NoCertificate {
        link: store.live_link(name),
    };
    if !store.has_version(name, version) {
        return Err(no_certificate());
    }
    let pair = read_pair(store, name, version)?;
    let Pair { chain, .. } = pair.ok_or_else(no_certificate)?;
    let live = Live {
        version,
        path: store.live_link(name).display().to_string(),
        issuer: chain.issuer().to_owned(),
        placeholder: chain.is_placeholder(),
        not_before: chain.not_before(),
        not_after: chain.not_after(),
        fingerprint: chain.fingerprint(),
    };
    Ok(Some((live, chain.certificates()[0].to_vec())))
}
