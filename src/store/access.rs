//! Who may read the certificates with their keys: the user who runs sidedoor, and one group if the operator names one.
//! Accounts, lineages and all the rest of the state stay the user's own.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use super::{Store, StoreError, io_error};
use crate::files::{self, Owner};
use crate::principal::Principal;

/// The group that may read, by number and as it was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Access(Option<(u32, Principal)>);

impl Access {
    /// The mode of a directory with certificates.
    pub(super) fn directory_mode(&self) -> u32 {
        if self.0.is_some() { 0o750 } else { 0o700 }
    }

    /// The mode of a certificate's files.
    pub(super) fn file_mode(&self) -> u32 {
        if self.0.is_some() { 0o640 } else { 0o600 }
    }

    /// Whose new ones are.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            user: None,
            group: self.0.as_ref().map(|(number, _)| *number),
        }
    }

    /// Makes a directory with certificates, if it isn't there.
    pub(super) fn create_directory(&self, path: &Path) -> Result<(), StoreError> {
        if path.is_dir() {
            return Ok(());
        }
        files::create_directory(path, 0o700).map_err(io_error("created", path))?;
        self.apply(path, self.directory_mode())
    }

    fn apply(&self, path: &Path, mode: u32) -> Result<(), StoreError> {
        let apply = || {
            let file = File::open(path)?;
            if let Some((group, _)) = self.0 {
                fchown(&file, None, Some(group))?;
            }
            file.set_permissions(Permissions::from_mode(mode))
        };
        apply().map_err(|source| self.refused(path, source))
    }

    fn refused(&self, path: &Path, source: io::Error) -> StoreError {
        match &self.0 {
            Some((_, group)) => StoreError::NotGiven {
                path: path.to_owned(),
                group: group.to_string(),
                source,
            },
            None => io_error("taken back from its group", path)(source),
        }
    }

    /// Whether a directory is as it shall be.
    fn holds_for(&self, path: &Path) -> Result<bool, StoreError> {
        let metadata = fs::metadata(path).map_err(io_error("read", path))?;
        let mode = metadata.mode() & 0o777;
        Ok(match &self.0 {
            Some((group, _)) => metadata.gid() == *group && mode == self.directory_mode(),
            None => mode & 0o077 == 0,
        })
    }
}

impl Store {
    /// Lets this group read every certificate that is there and all that come; nobody but the user, if there is none.
    pub fn shared_with(mut self, group: Option<&Principal>) -> Result<Self, StoreError> {
        let numbered = |group: &Principal| Ok::<_, StoreError>((group.group()?, group.clone()));
        self.access = Access(group.map(numbered).transpose()?);
        let archive = self.directory.join("archive");
        // The archive's own directory says how all in it stands: it is opened last and closed first.
        if self.access.holds_for(&archive)? {
            self.let_through()?;
            return Ok(self);
        }
        if group.is_none() {
            self.access.apply(&archive, self.access.directory_mode())?;
        }
        self.apply_below(&archive)?;
        self.access
            .apply(&self.directory.join("live"), self.access.directory_mode())?;
        self.let_through()?;
        self.access.apply(&archive, self.access.directory_mode())?;
        Ok(self)
    }

    /// Every version of every name.
    fn apply_below(&self, archive: &Path) -> Result<(), StoreError> {
        let entries = |path: &Path| {
            let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            entries.map_err(io_error("read", path))
        };
        for name in entries(archive)? {
            for version in entries(&name.path())? {
                // The key of an order in flight is a file beside the versions, and nobody else's.
                if !version.path().is_dir() {
                    continue;
                }
                for file in entries(&version.path())? {
                    self.access.apply(&file.path(), self.access.file_mode())?;
                }
                self.access
                    .apply(&version.path(), self.access.directory_mode())?;
            }
            self.access
                .apply(&name.path(), self.access.directory_mode())?;
        }
        Ok(())
    }

    /// The state directory itself only has to let the group through, as it may do already. Whoever starts us may have closed it
    /// again (systemd's `StateDirectoryMode`), so it is looked at each time.
    fn let_through(&self) -> Result<(), StoreError> {
        let metadata = fs::metadata(&self.directory).map_err(io_error("read", &self.directory))?;
        let lets_everybody = metadata.mode() & 0o001 != 0;
        match lets_everybody || self.access.holds_for(&self.directory)? {
            true => Ok(()),
            false => self
                .access
                .apply(&self.directory, self.access.directory_mode()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::process::{getegid, geteuid};

    use super::*;
    use crate::store::Saved;

    /// A group that files can be given to: any for root, one's own for others.
    fn a_group() -> Principal {
        match geteuid().is_root() {
            true => Principal::Number(65534),
            false => Principal::Number(getegid().as_raw()),
        }
    }

    fn saved() -> Saved {
        let text = || "a".to_owned();
        Saved {
            privkey: text(),
            cert: text(),
            chain: text(),
            fullchain: text(),
        }
    }

    /// Mode and group of each part of the state that a reader of a key comes through, and of what is nobody else's.
    fn modes(state: &Path) -> (Vec<(u32, u32)>, Vec<u32>) {
        let metadata = |path: &str| {
            let path: PathBuf = state.join(path);
            fs::symlink_metadata(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let shared = [
            "",
            "live",
            "archive",
            "archive/shop",
            "archive/shop/0001",
            "archive/shop/0001/privkey.pem",
            "archive/shop/0001/fullchain.pem",
        ];
        let own = [
            "accounts",
            "lineages",
            "doors",
            "locks",
            "archive/shop/next.pem",
        ];
        (
            shared
                .map(metadata)
                .map(|metadata| (metadata.mode() & 0o777, metadata.gid()))
                .into(),
            own.map(metadata)
                .map(|metadata| metadata.mode() & 0o777)
                .into(),
        )
    }

    fn assert_shared(state: &Path, group: &Principal) {
        let group = group.group().unwrap();
        let [d, f] = [(0o750, group), (0o640, group)];
        let shared = vec![d, d, d, d, d, f, f];
        assert_eq!(
            modes(state),
            (shared, vec![0o700, 0o700, 0o700, 0o700, 0o600])
        );
    }

    #[test]
    fn a_group_may_read_what_is_there_and_what_comes_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let name = "shop".parse().unwrap();
        let group = a_group();
        let store = Store::open(&state).unwrap();
        store.save_version(&name, &saved()).unwrap();
        store.save_next_key(&name, "key").unwrap();
        let store = store.shared_with(Some(&group)).unwrap();
        assert_shared(&state, &group);

        fs::remove_dir_all(state.join("archive/shop")).unwrap();
        store.save_next_key(&name, "key").unwrap();
        store.save_version(&name, &saved()).unwrap();
        assert_shared(&state, &group);
    }

    #[test]
    fn a_state_directory_that_was_closed_meanwhile_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let group = a_group();
        Store::open(&state)
            .unwrap()
            .shared_with(Some(&group))
            .unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
        Store::open(&state)
            .unwrap()
            .shared_with(Some(&group))
            .unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn what_a_group_may_no_longer_read_is_closed_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let name = "shop".parse().unwrap();
        let store = Store::open(&state)
            .unwrap()
            .shared_with(Some(&a_group()))
            .unwrap();
        store.save_version(&name, &saved()).unwrap();
        store.save_next_key(&name, "key").unwrap();
        Store::open(&state).unwrap().shared_with(None).unwrap();
        let modes: Vec<_> = modes(&state).0.iter().map(|(mode, _)| *mode).collect();
        assert_eq!(modes, [0o700, 0o700, 0o700, 0o700, 0o700, 0o600, 0o600]);
    }

    #[test]
    fn a_state_that_others_may_pass_through_is_left_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let store = Store::open(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        store.shared_with(Some(&a_group())).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_group_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let group = "no-such-group".parse().unwrap();
        let error = store.shared_with(Some(&group)).unwrap_err();
        assert!(error.to_string().contains("no-such-group"), "{error}");
        assert!(error.next_step().contains("group"), "{error}");
    }
}
