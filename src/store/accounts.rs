//! The accounts at the CAs, one for each directory: `accounts/<directory>/account.json`, readable by its owner only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Store, StoreError, directory_name, files, io_error, read_json, write_json};
use crate::lock::Lock;

/// Tells one state of an account's file from another: whoever changes it puts another file in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

impl Store {
    /// The lock under which an account is made or changed.
    pub async fn lock_account(
        &self,
        directory_url: &str,
        limit: Duration,
    ) -> Result<Lock, StoreError> {
        let path = self.lock_path("account", &directory_name(directory_url));
        Ok(Lock::wait(&path, limit).await?)
    }

    /// The account at a directory, as it was saved.
    pub fn account<T: DeserializeOwned>(
        &self,
        directory_url: &str,
    ) -> Result<Option<T>, StoreError> {
        read_json(&self.account_path(directory_url))
    }

    /// Which state of the account's file there is; nothing where there is no file.
    pub fn account_stamp(&self, directory_url: &str) -> Option<Stamp> {
        let file = fs::metadata(self.account_path(directory_url)).ok()?;
        Some(Stamp {
            inode: file.ino(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }

    /// Saves the account at a directory (mode 0600).
    pub fn save_account<T: Serialize>(
        &self,
        directory_url: &str,
        account: &T,
    ) -> Result<(), StoreError> {
        save(&self.account_path(directory_url), account)
    }

    /// The account with the key it is to have, if that was not settled.
    pub fn next_account<T: DeserializeOwned>(
        &self,
        directory_url: &str,
    ) -> Result<Option<T>, StoreError> {
        read_json(&self.next_account_path(directory_url))
    }

    /// Saves the account with the key it is to have (mode 0600), beside the one it has.
    pub fn save_next_account<T: Serialize>(
        &self,
        directory_url: &str,
        account: &T,
    ) -> Result<(), StoreError> {
        save(&self.next_account_path(directory_url), account)
    }

    /// The CA knows the next key now, and the one before no longer.
    pub fn promote_next_account(&self, directory_url: &str) -> Result<(), StoreError> {
        let path = self.account_path(directory_url);
        fs::rename(self.next_account_path(directory_url), &path)
            .and_then(|()| files::sync_directory_of(&path))
            .map_err(io_error("written", &path))
    }

    /// The CA does not want the next key.
    pub fn forget_next_account(&self, directory_url: &str) -> Result<(), StoreError> {
        let path = self.next_account_path(directory_url);
        files::discard(&path).map_err(io_error("removed", &path))
    }

    /// Sets the account's file aside, since no key is ever deleted; says where it is now.
    pub fn set_account_aside(&self, directory_url: &str) -> Result<PathBuf, StoreError> {
        let path = self.account_path(directory_url);
        let aside = (1..)
            .map(|number| path.with_file_name(format!("account.json.deactivated-{number}")))
            .find(|aside| !aside.exists())
            .unwrap_or_else(|| path.clone());
        fs::rename(&path, &aside)
            .and_then(|()| files::sync_directory_of(&path))
            .map_err(io_error("set aside", &path))?;
        Ok(aside)
    }

    /// Where an account's key is.
    pub fn account_path(&self, directory_url: &str) -> PathBuf {
        self.directory
            .join("accounts")
            .join(directory_name(directory_url))
            .join("account.json")
    }

    fn next_account_path(&self, directory_url: &str) -> PathBuf {
        self.account_path(directory_url)
            .with_file_name("account.json.next")
    }
}

/// So that it is still there after a power cut.
fn save<T: Serialize>(path: &Path, account: &T) -> Result<(), StoreError> {
    write_json(path, account)?;
    let synced: io::Result<()> = files::sync_directory_of(path);
    synced.map_err(io_error("written", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const URL: &str = "https://ca.example/dir";

    #[test]
    fn the_next_key_stands_beside_the_present_one_until_it_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.save_account(URL, &"old").unwrap();
        let before = store.account_stamp(URL).unwrap();
        store.save_next_account(URL, &"new").unwrap();
        let next = store.next_account_path(URL);
        let mode = fs::metadata(&next).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(store.account_stamp(URL), Some(before));
        assert_eq!(
            store.account::<String>(URL).unwrap().as_deref(),
            Some("old")
        );
        store.promote_next_account(URL).unwrap();
        assert_ne!(store.account_stamp(URL), Some(before));
        assert_eq!(
            store.account::<String>(URL).unwrap().as_deref(),
            Some("new")
        );
        assert_eq!(store.next_account::<String>(URL).unwrap(), None);
    }

    #[test]
    fn an_account_that_is_set_aside_takes_no_others_place() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let aside = ["one", "two"].map(|account| {
            store.save_account(URL, &account).unwrap();
            store.set_account_aside(URL).unwrap()
        });
        assert_eq!(store.account::<String>(URL).unwrap(), None);
        assert_eq!(store.account_stamp(URL), None);
        let kept = aside.map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(kept, ["\"one\"\n", "\"two\"\n"]);
    }
}
