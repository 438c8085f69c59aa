//! What stands in a name's state and is no certificate: set aside, never deleted, so that the name can go on without it.

use std::io;

use super::pair::read_pair;
use crate::files::Entry;
use crate::identifier::AppName;
use crate::store::{Store, StoreError, Version};

/// Sets aside what is live and can't be, and puts the last good version in its place, or nothing. Under the lineage's lock.
/// Returns what was done, in whole sentences.
pub fn mend(store: &Store, name: &AppName) -> Result<Vec<String>, StoreError> {
    let mut done = Vec::new();
    let link = store.live_link(name);
    if let Some(aside) = store.set_strange_live_aside(name)? {
        done.push(format!(
            "{} was no link of ours and has been set aside as {}",
            link.display(),
            aside.display()
        ));
    }
    let Some(live) = store.live_version(name)? else {
        return Ok(done);
    };
    if is_whole(store, name, live)? {
        return Ok(done);
    }
    let instead = last_good(store, name)?;
    let entry = instead.map_or(Entry::Absent, |good| {
        Entry::Link(store.live_target(name, good))
    });
    let placed = entry.keep(&link);
    placed.map_err(|source| StoreError::Io {
        verb: "written",
        path: link,
        source,
    })?;
    forget(store, name, live)?;
    let what = match store.set_version_aside(name, live)? {
        Some(aside) => format!(
            "number {live} of {name} was no certificate with its key and has been set aside as {}",
            aside.display()
        ),
        None => format!("number {live} of {name} is gone"),
    };
    done.push(match instead {
        Some(good) => format!("{what}; number {good} is live again"),
        None => what,
    });
    Ok(done)
}

/// Whether a version is a certificate with its key. What the system doesn't let us read may well be one.
fn is_whole(store: &Store, name: &AppName, version: Version) -> Result<bool, StoreError> {
    match read_pair(store, name, version) {
        Ok(pair) => Ok(pair.is_some()),
        Err(StoreError::Io { source, .. }) if is_damage(source.kind()) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound
            | io::ErrorKind::InvalidData
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
    )
}

fn last_good(store: &Store, name: &AppName) -> Result<Option<Version>, StoreError> {
    for version in store.versions(name)?.into_iter().rev() {
        if is_whole(store, name, version)? {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Its number is given to another.
fn forget(store: &Store, name: &AppName, version: Version) -> Result<(), StoreError> {
    let mut lineage = store.lineage(name)?;
    lineage.summary = None;
    for number in [&mut lineage.deployed, &mut lineage.rejected] {
        *number = number.filter(|number| *number != version);
    }
    store.save_lineage(name, &lineage)
}
