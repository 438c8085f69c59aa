//! Puts what was found into the state: checked first, under the locks that everybody uses, and never over anything better.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    AccountKey, AccountOutcome, CertificateOutcome, FoundAccount, FoundCertificate,
    ImportedAccount, ImportedCertificate,
};
use crate::acme::{AccountKeyError, Credentials};
use crate::certificate::{Chain, PrivateKey};
use crate::config::{Config, Directory};
use crate::identifier::{AppName, Identifier};
use crate::issuance::{Pair, files_of, is_for_same, read_pair};
use crate::report::Report;
use crate::store::{Store, StoreError};

/// An issuance for the same name takes a few minutes at most.
const LOCK_LIMIT: Duration = Duration::from_secs(900);
/// So many certificates whose first name is the same have names of their own.
const ALIKE: u32 = 100;

/// A key and the certificate that belongs to it.
struct Checked {
    key: PrivateKey,
    chain: Chain,
    directory: Option<String>,
}

pub(super) async fn certificate(
    config: &Config,
    store: &Store,
    found: FoundCertificate,
) -> ImportedCertificate {
    let origin = found.origin.clone();
    let outcome = match take(config, store, found).await {
        Ok(outcome) => outcome,
        Err(report) => CertificateOutcome::Failed(report),
    };
    ImportedCertificate { origin, outcome }
}

async fn take(
    config: &Config,
    store: &Store,
    found: FoundCertificate,
) -> Result<CertificateOutcome, Report> {
    let replaces = found.files.clone();
    let pair = checked(found)?;
    let failed = |error: StoreError| Report::new(&error, error.next_step());
    for name in names(config, pair.chain.identifiers()) {
        let _lock = store
            .lock_lineage(&name, LOCK_LIMIT)
            .await
            .map_err(failed)?;
        // An app's own names are the configuration's to say; of others the lineage is all there is.
        let is_an_apps = config.app(&name).is_some();
        let taken = take_as(store, &name, &pair, is_an_apps).map_err(failed)?;
        match taken {
            Taken::Over { version } => {
                let not_after = pair.chain.not_after();
                return Ok(CertificateOutcome::TakenOver {
                    path: store.live_link(&name),
                    version,
                    identifiers: pair.chain.identifiers().to_vec(),
                    not_after,
                    expired: not_after < OffsetDateTime::now_utc(),
                    replaces,
                    name,
                });
            }
            Taken::NotNeeded { not_after } => {
                return Ok(CertificateOutcome::Kept { name, not_after });
            }
            Taken::NameIsAnother => {}
        }
    }
    Err(Report::new(
        "too many other certificates begin with the same name",
        "remove those that nobody needs from the state directory",
    ))
}

/// Nothing is taken over that nginx would refuse, or that is for nobody.
fn checked(found: FoundCertificate) -> Result<Checked, Report> {
    let mend = "mend or remove it there, then run the command again: what was taken over already is left alone";
    let broken = |what: String| Report::new(what, mend);
    let (key_file, chain_file) = found.files;
    let key = PrivateKey::from_pem(&found.key.map_err(broken)?)
        .map_err(|error| broken(format!("{}: {error}", key_file.display())))?;
    let told = |error: &dyn std::fmt::Display| broken(format!("{}: {error}", chain_file.display()));
    let chain = Chain::from_pem(&found.chain.map_err(broken)?).map_err(|error| told(&error))?;
    chain.check_key(&key).map_err(|error| told(&error))?;
    chain.check_links().map_err(|error| told(&error))?;
    if chain.identifiers().is_empty() {
        return Err(told(&"the certificate has no name that it is for"));
    }
    let directory = found.directory;
    Ok(Checked {
        key,
        chain,
        directory: directory.filter(|url| url.parse::<Directory>().is_ok()),
    })
}

/// What it may be called: as the app that has exactly its names, or after its first name. No other app's certificate is called so.
fn names<'c>(
    config: &'c Config,
    identifiers: &'c [Identifier],
) -> impl Iterator<Item = AppName> + 'c {
    let same = config
        .apps
        .iter()
        .find(|app| is_for_same(&app.domains, identifiers));
    let first = identifiers.first().map(AppName::of_identifier);
    let after_first = (1..ALIKE).filter_map(move |nth| match nth {
        1 => first.clone(),
        _ => format!("{}-{nth}", first.as_ref()?).parse().ok(),
    });
    let free = after_first.filter(|name| config.app(name).is_none());
    same.map(|app| app.name.clone()).into_iter().chain(free)
}

enum Taken {
    Over { version: u32 },
    NotNeeded { not_after: OffsetDateTime },
    NameIsAnother,
}

fn take_as(
    store: &Store,
    name: &AppName,
    theirs: &Checked,
    is_an_apps: bool,
) -> Result<Taken, StoreError> {
    let mut lineage = store.lineage(name)?;
    let identifiers = theirs.chain.identifiers();
    let is_new = is_an_apps || lineage.identifiers.is_empty();
    if !is_new && !is_for_same(&lineage.identifiers, identifiers) {
        return Ok(Taken::NameIsAnother);
    }
    let live = store.live_version(name)?;
    let ours = live.map(|live| read_pair(store, name, live)).transpose()?;
    let ours = ours.flatten().filter(|ours| ours.is_for(identifiers));
    if let Some(ours) = ours
        && ours.chain.not_after() >= theirs.chain.not_after()
    {
        return Ok(Taken::NotNeeded {
            not_after: ours.chain.not_after(),
        });
    }
    let version = store.save_version(name, &files_of(&theirs.key, &theirs.chain))?;
    let pair = Pair {
        version,
        chain: theirs.chain.clone(),
    };
    lineage.identifiers = identifiers.to_vec();
    lineage.summary = Some(pair.summary());
    lineage.directory.clone_from(&theirs.directory);
    lineage.order = None;
    // Where there was a link, nginx may go by it: it is told by whoever renews next, who sees that this version is not deployed yet.
    if live.is_none() {
        lineage.deployed = Some(version);
    }
    store.save_lineage(name, &lineage)?;
    store.forget_next_key(name)?;
    store.point_live_to(name, version)?;
    Ok(Taken::Over { version })
}

pub(super) async fn account(
    store: &Store,
    found: FoundAccount,
) -> Result<ImportedAccount, StoreError> {
    let (origin, directory) = (found.origin.clone(), found.directory.clone());
    let outcome = match credentials(found) {
        Ok(credentials) => {
            let url = credentials.directory();
            let _lock = store.lock_account(url, LOCK_LIMIT).await?;
            match store.account::<Credentials>(url)? {
                Some(_) => AccountOutcome::Kept,
                None => {
                    store.save_account(url, &credentials)?;
                    AccountOutcome::TakenOver
                }
            }
        }
        Err(reason) => AccountOutcome::Left { reason },
    };
    Ok(ImportedAccount {
        origin,
        directory,
        outcome,
    })
}

fn credentials(found: FoundAccount) -> Result<Credentials, String> {
    let directory = found
        .directory
        .ok_or("which CA's directory it is for is not written there")?;
    let directory: Directory = directory
        .parse()
        .map_err(|_| format!("{directory:?} is no directory's URL"))?;
    let pem = match found.key? {
        AccountKey::Pem(pem) => pem,
        AccountKey::Web(kind) if kind == "RSA" => return Err(AccountKeyError::Rsa.to_string()),
        AccountKey::Web(_) => return Err(AccountKeyError::Other.to_string()),
    };
    let url = found.url.ok_or("its URL is not written there")?;
    Credentials::from_pem(&url, directory.url(), &pem).map_err(|error| error.to_string())
}
