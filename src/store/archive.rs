//! The archive: every version of a name's certificate with its key, and the one link that says which is live.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Store, StoreError, io_error, set_aside};
use crate::files::{self, Entry, Staged};
use crate::identifier::AppName;

/// The files of one version, as certbot names them.
#[derive(Clone)]
pub struct Saved {
    /// `privkey.pem`
    pub privkey: String,
    /// `cert.pem`: the leaf.
    pub cert: String,
    /// `chain.pem`: what issued it.
    pub chain: String,
    /// `fullchain.pem`: both.
    pub fullchain: String,
}

impl Saved {
    fn files(&self) -> [(&'static str, &str); 4] {
        [
            ("privkey.pem", &self.privkey),
            ("cert.pem", &self.cert),
            ("chain.pem", &self.chain),
            ("fullchain.pem", &self.fullchain),
        ]
    }
}

/// The number of a version. The placeholder that stands in before the first certificate is number 0.
pub type Version = u32;

/// Whoever has followed the live link just before it was flipped reads on for a while: nginx, a hook, another process of ours.
const READ_ON: Duration = Duration::from_secs(3600);
/// How the name of a version ends that is being removed.
const REMOVED: &str = ".removed";

impl Store {
    pub(super) fn archive(&self, name: &AppName) -> PathBuf {
        self.directory.join("archive").join(name.as_str())
    }

    pub(super) fn version_path(&self, name: &AppName, version: Version) -> PathBuf {
        self.archive(name).join(format!("{version:04}"))
    }

    /// The link that nginx's `ssl_certificate` goes through.
    pub fn live_link(&self, name: &AppName) -> PathBuf {
        self.directory.join("live").join(name.as_str())
    }

    /// Where that link points for a version.
    pub fn live_target(&self, name: &AppName, version: Version) -> PathBuf {
        Path::new("../archive")
            .join(name.as_str())
            .join(format!("{version:04}"))
    }

    /// Makes a version live where nginx need not be asked: what goes live through nginx is flipped by its control.
    pub fn point_live_to(&self, name: &AppName, version: Version) -> Result<(), StoreError> {
        let link = self.live_link(name);
        Entry::Link(self.live_target(name, version))
            .keep(&link)
            .map_err(io_error("written", &link))
    }

    /// The version that is live.
    pub fn live_version(&self, name: &AppName) -> Result<Option<Version>, StoreError> {
        let link = self.live_link(name);
        match fs::read_link(&link) {
            Ok(target) => Ok(version_of(&target)),
            // There is none, or what is there is none.
            Err(error) if is_no_link(error.kind()) => Ok(None),
            Err(error) => Err(io_error("read", &link)(error)),
        }
    }

    /// The versions there are, oldest first.
    pub fn versions(&self, name: &AppName) -> Result<Vec<Version>, StoreError> {
        let path = self.archive(name);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error("read", &path))?,
        };
        let mut versions = Vec::new();
        for entry in entries {
            versions.extend(version_of(&entry.map_err(io_error("read", &path))?.path()));
        }
        versions.sort_unstable();
        Ok(versions)
    }

    /// Saves the next version, all its files or none.
    pub fn save_version(&self, name: &AppName, saved: &Saved) -> Result<Version, StoreError> {
        let version = self.versions(name)?.last().map_or(1, |last| last + 1);
        self.save_as(name, version, saved)?;
        Ok(version)
    }

    /// Saves the placeholder.
    pub fn save_placeholder(&self, name: &AppName, saved: &Saved) -> Result<Version, StoreError> {
        if !self.versions(name)?.contains(&0) {
            self.save_as(name, 0, saved)?;
        }
        Ok(0)
    }

    fn save_as(&self, name: &AppName, version: Version, saved: &Saved) -> Result<(), StoreError> {
        let path = self.version_path(name, version);
        let unfinished = files::temporary(&path);
        files::discard_directory(&unfinished).map_err(io_error("removed", &unfinished))?;
        self.access.create_directory(&self.archive(name))?;
        self.access.create_directory(&unfinished)?;
        for (file, text) in saved.files() {
            let file = unfinished.join(file);
            Entry::File(text.as_bytes().to_vec(), self.access.file_mode())
                .stage(&file, self.access.owner())
                .and_then(Staged::place)
                .map_err(io_error("written", &file))?;
        }
        files::sync_directory(&unfinished).map_err(io_error("written", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(io_error("written", &path))?;
        files::sync_directory_of(&path).map_err(io_error("written", &path))
    }

    /// Whether the files of a version are there, and not empty as after a crash of the whole machine.
    pub fn has_version(&self, name: &AppName, version: Version) -> bool {
        let path = self.version_path(name, version);
        let is_there = |file: &str| {
            let metadata = fs::metadata(path.join(file));
            metadata.is_ok_and(|metadata| metadata.len() > 0)
        };
        is_there("privkey.pem") && is_there("fullchain.pem")
    }

    /// Sets aside what stands at the live link and leads to no version. Returns where it is now.
    pub fn set_strange_live_aside(&self, name: &AppName) -> Result<Option<PathBuf>, StoreError> {
        let link = self.live_link(name);
        let is_ours = match fs::symlink_metadata(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &link)(error)),
            Ok(metadata) => metadata.is_symlink() && self.live_version(name)?.is_some(),
        };
        match is_ours {
            true => Ok(None),
            false => set_aside(&link).map(Some),
        }
    }

    /// Sets a version aside that is none. Returns where it is now; nothing if it isn't there at all.
    pub fn set_version_aside(
        &self,
        name: &AppName,
        version: Version,
    ) -> Result<Option<PathBuf>, StoreError> {
        let path = self.version_path(name, version);
        match fs::symlink_metadata(&path).is_ok() {
            true => set_aside(&path).map(Some),
            false => Ok(None),
        }
    }

    /// Removes all but the `keep` newest versions, under the lineage's lock. What is live stays, and what was `before` it, and what
    /// may have been live within the last hour. A crash in between leaves nothing that is taken for a version.
    pub fn remove_old_versions(
        &self,
        name: &AppName,
        keep: usize,
        before: Option<Version>,
        now: SystemTime,
    ) -> Result<Vec<Version>, StoreError> {
        self.finish_removals(name)?;
        let live = self.live_version(name)?;
        let versions = self.versions(name)?;
        let mut removed = Vec::new();
        let older = versions.len().saturating_sub(keep);
        for (version, successor) in versions.iter().zip(versions.iter().skip(1)).take(older) {
            let is_needed = live.is_none() || Some(*version) == live || Some(*version) == before;
            if is_needed || !self.is_past_reading(name, *successor, now)? {
                continue;
            }
            let path = self.version_path(name, *version);
            let aside = path.with_file_name(format!(".{version:04}{REMOVED}"));
            fs::rename(&path, &aside).map_err(io_error("removed", &path))?;
            removed.push(*version);
        }
        self.finish_removals(name)?;
        Ok(removed)
    }

    /// Whether this version has stood for so long that nobody reads its predecessor any more.
    fn is_past_reading(
        &self,
        name: &AppName,
        version: Version,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let path = self.version_path(name, version);
        let saved = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let age = now.duration_since(saved.map_err(io_error("read", &path))?);
        Ok(age.is_ok_and(|age| age > READ_ON))
    }

    /// Removes what has lost its name already, perhaps before a crash.
    fn finish_removals(&self, name: &AppName) -> Result<(), StoreError> {
        let archive = self.archive(name);
        for entry in fs::read_dir(&archive).map_err(io_error("read", &archive))? {
            let path = entry.map_err(io_error("read", &archive))?.path();
            if path
                .as_os_str()
                .as_encoded_bytes()
                .ends_with(REMOVED.as_bytes())
            {
                files::discard_directory(&path).map_err(io_error("removed", &path))?;
            }
        }
        Ok(())
    }

    /// The files of a version.
    pub fn version(&self, name: &AppName, version: Version) -> Result<Saved, StoreError> {
        let directory = self.version_path(name, version);
        let read = |file: &str| {
            let path = directory.join(file);
            fs::read_to_string(&path).map_err(io_error("read", &path))
        };
        Ok(Saved {
            privkey: read("privkey.pem")?,
            cert: read("cert.pem")?,
            chain: read("chain.pem")?,
            fullchain: read("fullchain.pem")?,
        })
    }

    fn next_key_path(&self, name: &AppName) -> PathBuf {
        self.archive(name).join("next.pem")
    }

    /// Keeps the key of an order in flight, so that its certificate is of use after a crash.
    pub fn save_next_key(&self, name: &AppName, pem: &str) -> Result<(), StoreError> {
        let directory = self.archive(name);
        self.access.create_directory(&directory)?;
        let path = self.next_key_path(name);
        Entry::File(pem.as_bytes().to_vec(), 0o600)
            .keep(&path)
            .map_err(io_error("written", &path))
    }

    /// The key of an order in flight.
    pub fn next_key(&self, name: &AppName) -> Result<Option<String>, StoreError> {
        let path = self.next_key_path(name);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(io_error("read", &path)),
        }
    }

    /// Forgets the key of an order that has ended.
    pub fn forget_next_key(&self, name: &AppName) -> Result<(), StoreError> {
        let path = self.next_key_path(name);
        Entry::Absent
            .place(&path)
            .map_err(io_error("removed", &path))
    }
}

fn is_no_link(error: io::ErrorKind) -> bool {
    matches!(error, io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn version_of(path: &Path) -> Option<Version> {
    let name = path.file_name()?.to_str()?;
    (name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn saved(text: &str) -> Saved {
        Saved {
            privkey: format!("{text} key"),
            cert: format!("{text} cert"),
            chain: String::new(),
            fullchain: format!("{text} cert"),
        }
    }

    #[test]
    fn versions_count_up_and_are_read_as_they_were_saved() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = "shop".parse().unwrap();
        assert_eq!(
            store
                .save_placeholder(&name, &saved("placeholder"))
                .unwrap(),
            0
        );
        assert_eq!(store.save_version(&name, &saved("first")).unwrap(), 1);
        assert_eq!(store.save_version(&name, &saved("second")).unwrap(), 2);
        assert_eq!(store.versions(&name).unwrap(), [0, 1, 2]);
        assert_eq!(store.version(&name, 1).unwrap().privkey, "first key");
        let key = directory.path().join("archive/shop/0002/privkey.pem");
        assert_eq!(
            fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_version_that_was_cut_short_by_a_crash_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = "shop".parse().unwrap();
        let unfinished = directory.path().join("archive/shop/.0001.new");
        fs::create_dir_all(&unfinished).unwrap();
        fs::write(unfinished.join("privkey.pem"), "half").unwrap();
        assert_eq!(store.versions(&name).unwrap(), [0; 0]);
        assert_eq!(store.save_version(&name, &saved("first")).unwrap(), 1);
        assert_eq!(store.version(&name, 1).unwrap().privkey, "first key");
    }

    /// As long after now as it takes until nobody reads on.
    fn later() -> SystemTime {
        SystemTime::now() + 2 * READ_ON
    }

    fn live(store: &Store, name: &AppName, version: Version) {
        let link = store.live_link(name);
        Entry::Link(store.live_target(name, version))
            .place(&link)
            .unwrap();
    }

    fn with_versions(count: Version) -> (tempfile::TempDir, Store, AppName) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name: AppName = "shop".parse().unwrap();
        store
            .save_placeholder(&name, &saved("placeholder"))
            .unwrap();
        for _ in 0..count {
            store.save_version(&name, &saved("a")).unwrap();
        }
        (directory, store, name)
    }

    #[test]
    fn the_newest_versions_are_kept_and_the_placeholder_goes_as_any_other() {
        let (_directory, store, name) = with_versions(6);
        live(&store, &name, 6);
        let removed = store.remove_old_versions(&name, 5, Some(5), later());
        assert_eq!(removed.unwrap(), [0, 1]);
        assert_eq!(store.versions(&name).unwrap(), [2, 3, 4, 5, 6]);
        assert_eq!(store.save_version(&name, &saved("next")).unwrap(), 7);
    }

    #[test]
    fn what_is_live_and_what_was_before_it_stay_however_old_they_are() {
        let (_directory, store, name) = with_versions(6);
        live(&store, &name, 3);
        let removed = store.remove_old_versions(&name, 2, Some(1), later());
        assert_eq!(removed.unwrap(), [0, 2, 4]);
        assert_eq!(store.versions(&name).unwrap(), [1, 3, 5, 6]);
    }

    #[test]
    fn what_was_live_just_now_may_still_be_read_and_stays() {
        let (_directory, store, name) = with_versions(6);
        live(&store, &name, 6);
        let now = SystemTime::now();
        let removed = store.remove_old_versions(&name, 2, Some(5), now);
        assert_eq!(removed.unwrap(), [0; 0]);
        // A clock that was set back makes nothing older.
        let past = SystemTime::UNIX_EPOCH;
        let removed = store.remove_old_versions(&name, 2, Some(5), past);
        assert_eq!(removed.unwrap(), [0; 0]);
    }

    #[test]
    fn nothing_is_removed_where_nobody_can_tell_what_is_live() {
        let (_directory, store, name) = with_versions(6);
        let removed = store.remove_old_versions(&name, 2, None, later());
        assert_eq!(removed.unwrap(), [0; 0]);
    }

    #[test]
    fn a_removal_that_a_crash_has_cut_short_is_finished() {
        let (directory, store, name) = with_versions(1);
        live(&store, &name, 1);
        let half = directory.path().join("archive/shop/.0000.removed");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("privkey.pem"), "key").unwrap();
        assert_eq!(store.versions(&name).unwrap(), [0, 1]);
        let removed = store.remove_old_versions(&name, 2, Some(0), later());
        assert_eq!(removed.unwrap(), [0; 0]);
        assert!(!half.exists());
    }

    #[test]
    fn the_live_link_says_which_version_is_live() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = "shop".parse().unwrap();
        assert_eq!(store.live_version(&name).unwrap(), None);
        let version = store.save_version(&name, &saved("first")).unwrap();
        Entry::Link(store.live_target(&name, version))
            .place(&store.live_link(&name))
            .unwrap();
        assert_eq!(store.live_version(&name).unwrap(), Some(1));
        assert_eq!(
            fs::read_to_string(store.live_link(&name).join("privkey.pem")).unwrap(),
            "first key"
        );
    }

    #[test]
    fn the_key_of_an_order_in_flight_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = "shop".parse().unwrap();
        assert_eq!(store.next_key(&name).unwrap(), None);
        store.save_next_key(&name, "key").unwrap();
        assert_eq!(store.next_key(&name).unwrap().as_deref(), Some("key"));
        store.forget_next_key(&name).unwrap();
        store.forget_next_key(&name).unwrap();
        assert_eq!(store.next_key(&name).unwrap(), None);
    }
}
