//! A lineage forgotten: what is remembered of it, its link, its certificates and keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Store, StoreError, files, io_error};
use crate::files::Entry;
use crate::identifier::AppName;

impl Store {
    /// Whether there is anything of this lineage.
    pub fn has_lineage(&self, name: &AppName) -> bool {
        let (link, archive) = (self.live_link(name), self.archive(name));
        self.lineage_path(name).exists() || link.is_symlink() || archive.exists()
    }

    /// Removes all there is of a lineage, and says what that was. Under its lock. What a crash leaves of it is whole or of no account.
    pub fn forget_lineage(&self, name: &AppName) -> Result<Vec<PathBuf>, StoreError> {
        let mut removed = Vec::new();
        self.forget_file(self.lineage_path(name), &mut removed)?;
        self.forget_file(self.live_link(name), &mut removed)?;
        forget_directory(&self.archive(name), &mut removed)?;
        Ok(removed)
    }

    /// The same, but the placeholder stays, which has to be live: nginx would not start without the files that it names.
    pub fn forget_all_but_placeholder(&self, name: &AppName) -> Result<Vec<PathBuf>, StoreError> {
        let mut removed = Vec::new();
        self.forget_file(self.lineage_path(name), &mut removed)?;
        self.forget_next_key(name)?;
        for version in self.versions(name)?.into_iter().filter(|one| *one > 0) {
            forget_directory(&self.version_path(name, version), &mut removed)?;
        }
        Ok(removed)
    }

    fn forget_file(&self, path: PathBuf, removed: &mut Vec<PathBuf>) -> Result<(), StoreError> {
        let present = fs::symlink_metadata(&path).is_ok();
        let absent = Entry::Absent.keep(&path);
        absent.map_err(io_error("removed", &path))?;
        if present {
            removed.push(path);
        }
        Ok(())
    }
}

/// Out of sight in one step, then bit by bit: what is half removed is no version.
fn forget_directory(path: &Path, removed: &mut Vec<PathBuf>) -> Result<(), StoreError> {
    let hidden = files::temporary(path);
    let clear = || files::discard_directory(&hidden).map_err(io_error("removed", &hidden));
    clear()?;
    match fs::rename(path, &hidden) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(io_error("removed", path))?,
    }
    files::sync_directory_of(path).map_err(io_error("removed", path))?;
    clear()?;
    removed.push(path.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Lineage, Saved};
    use super::*;

    fn lineage() -> (tempfile::TempDir, Store, AppName) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name: AppName = "shop".parse().unwrap();
        let saved = Saved {
            privkey: "key".into(),
            cert: "cert".into(),
            chain: String::new(),
            fullchain: "cert".into(),
        };
        store.save_placeholder(&name, &saved).unwrap();
        for _ in 0..2 {
            store.save_version(&name, &saved).unwrap();
        }
        store.save_next_key(&name, "next").unwrap();
        store.save_lineage(&name, &Lineage::default()).unwrap();
        Entry::Link(store.live_target(&name, 2))
            .place(&store.live_link(&name))
            .unwrap();
        (directory, store, name)
    }

    #[test]
    fn nothing_of_a_forgotten_lineage_is_left() {
        let (directory, store, name) = lineage();
        assert!(store.has_lineage(&name));
        let removed = store.forget_lineage(&name).unwrap();
        let expected = ["lineages/shop.json", "live/shop", "archive/shop"];
        assert_eq!(removed, expected.map(|path| directory.path().join(path)));
        assert!(!store.has_lineage(&name));
        for part in ["lineages", "live", "archive"] {
            let left = fs::read_dir(directory.path().join(part)).unwrap();
            assert_eq!(left.count(), 0, "{part}");
        }
        assert_eq!(store.forget_lineage(&name).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_placeholder_alone_may_stay() {
        let (directory, store, name) = lineage();
        Entry::Link(store.live_target(&name, 0))
            .place(&store.live_link(&name))
            .unwrap();
        assert_eq!(store.forget_all_but_placeholder(&name).unwrap().len(), 3);
        assert_eq!(store.versions(&name).unwrap(), [0]);
        assert_eq!(store.next_key(&name).unwrap(), None);
        let left = fs::read_dir(directory.path().join("archive/shop")).unwrap();
        assert_eq!(left.count(), 1);
        assert!(store.live_link(&name).join("privkey.pem").is_file());
    }

    #[test]
    fn what_an_interrupted_removal_has_left_goes_with_the_next() {
        let (directory, store, name) = lineage();
        let left = directory.path().join("archive/.shop.new/0001");
        fs::create_dir_all(&left).unwrap();
        store.forget_lineage(&name).unwrap();
        assert!(!left.exists());
    }
}
