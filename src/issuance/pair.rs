//! A certificate with its key, as it stands in the archive; and the placeholder that stands in before the first.

use std::collections::BTreeSet;
use std::time::Duration;

use time::OffsetDateTime;

use super::IssueError;
use crate::certificate::{Chain, PrivateKey, placeholder};
use crate::identifier::{AppName, Identifier};
use crate::schedule;
use crate::store::{Saved, Store, StoreError, Summary, Version};

/// A certificate and its key, from the archive.
pub struct Pair {
    /// Its number in the archive.
    pub version: Version,
    /// The certificate.
    pub chain: Chain,
}

impl Pair {
    /// What is worth knowing of it without reading it again.
    pub fn summary(&self) -> Summary {
        Summary {
            version: self.version,
            identifiers: self.chain.identifiers().to_vec(),
            not_before: self.chain.not_before(),
            not_after: self.chain.not_after(),
            id: self.chain.certificate_id().map(str::to_owned),
        }
    }

    /// When it needs a successor, unless its CA says otherwise; the end of the time in which that is due.
    pub fn due_at_the_latest(&self, renew_before: Option<Duration>) -> OffsetDateTime {
        let certificate = schedule::Certificate {
            id: None,
            not_before: self.chain.not_before(),
            not_after: self.chain.not_after(),
        };
        schedule::due_between(&certificate, renew_before).1
    }

    /// Whether it is a CA's certificate for exactly these names.
    pub fn is_for(&self, identifiers: &[Identifier]) -> bool {
        !self.chain.is_placeholder() && is_for_same(self.chain.identifiers(), identifiers)
    }
}

/// Whether these are the same names, in whatever order and however often.
pub(crate) fn is_for_same(one: &[Identifier], other: &[Identifier]) -> bool {
    one == other || one.iter().collect::<BTreeSet<_>>() == other.iter().collect::<BTreeSet<_>>()
}

/// Reads a version whose key and certificate belong together.
pub fn read_pair(
    store: &Store,
    name: &AppName,
    version: Version,
) -> Result<Option<Pair>, StoreError> {
    let saved = store.version(name, version)?;
    let chain = Chain::from_pem(&saved.fullchain).ok();
    let key = PrivateKey::from_pem(&saved.privkey).ok();
    Ok(chain.zip(key).and_then(|(chain, key)| {
        chain
            .check_key(&key)
            .is_ok()
            .then_some(Pair { version, chain })
    }))
}

/// Puts a placeholder live where nothing is, so that an nginx configuration which names the files starts.
pub fn ensure_placeholder(
    store: &Store,
    name: &AppName,
    identifiers: &[Identifier],
) -> Result<bool, IssueError> {
    if store.live_version(name)?.is_some() {
        return Ok(false);
    }
    put_placeholder_live(store, name, identifiers)?;
    Ok(true)
}

/// Puts a placeholder live, whatever is.
pub fn put_placeholder_live(
    store: &Store,
    name: &AppName,
    identifiers: &[Identifier],
) -> Result<(), IssueError> {
    let (key, chain) = placeholder(identifiers, OffsetDateTime::now_utc())?;
    let version = store.save_placeholder(name, &files_of(&key, &chain))?;
    Ok(store.point_live_to(name, version)?)
}

/// The files of a version.
pub(crate) fn files_of(key: &PrivateKey, chain: &Chain) -> Saved {
    Saved {
        privkey: key.pem().to_owned(),
        cert: chain.cert_pem(),
        chain: chain.chain_pem(),
        fullchain: chain.fullchain_pem(),
    }
}
