//! What is kept on disk, and the one place that knows where: accounts, certificates, lineages, leases and locks.
//!
//! ```text
//! accounts/<directory>/account.json
//! accounts/<directory>/account.json.next          the key it is to have, before the CA hears of that
//! archive/<name>/0001/{privkey,cert,chain,fullchain}.pem
//! archive/<name>/next.pem                         the key of an order in flight
//! live/<name> -> ../archive/<name>/0001
//! lineages/<name>.json
//! budgets/<directory>.json                        what is used up of a CA's limits
//! doors/<app>.json
//! locks/
//! ```

mod access;
mod accounts;
mod archive;
mod budgets;
mod leases;
mod lineages;
mod removal;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, Entry};
use crate::identifier::AppName;
use crate::lock::{Lock, LockError};
use crate::principal::Unknown;
use access::Access;

pub use accounts::Stamp;
pub use archive::{Saved, Version};
pub use leases::Lease;
pub use lineages::{Errand, ErrandKind, Failure, Lineage, OrderInFlight, Revoked, Summary};

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("{} can't be {verb}: {source}", path.display())]
    Io {
        /// "read", "written", …
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of ours is no longer what we wrote. It has been set aside.
    #[error("{} was unreadable ({reason}) and has been set aside as {}", path.display(), aside.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What is live is no certificate with its key.
    #[error("what {} leads to is no certificate with its key", link.display())]
    NoCertificate {
        /// The live link.
        link: PathBuf,
    },
    /// The group that shall read certificates is not there.
    #[error(transparent)]
    NoGroup(#[from] Unknown),
    /// The group that shall read certificates is not ours to give them to.
    #[error("{} can't be given to the group {group}: {source}", path.display())]
    NotGiven {
        /// The file or directory.
        path: PathBuf,
        /// The group, as it was written.
        group: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody holds a lock for too long.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl StoreError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::Io { path, .. } => format!(
                "let the user who runs sidedoor read and write {}, and see that the disk has room",
                path.display()
            ),
            Self::SetAside { .. } => "run the command again: it starts without that file".into(),
            Self::NoCertificate { link } => format!(
                "run `sidedoor issue {}`: it is set aside, and the last good one or a new one takes its place",
                link.file_name().unwrap_or_default().to_string_lossy()
            ),
            Self::NoGroup(_) => {
                "create the group, or set `group` to one that exists, by name or number".into()
            }
            Self::NotGiven { group, .. } => format!(
                "add the user who runs sidedoor to the group {group} (usermod -a -G {group} USER), or name another in `group`"
            ),
            Self::Lock(LockError::Held { .. }) => {
                "wait until the other sidedoor process has ended, or stop it".into()
            }
            Self::Lock(LockError::Io { path, .. }) => {
                format!("let the user who runs sidedoor write {}", path.display())
            }
        }
    }
}

fn io_error<'a>(
    verb: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io {
        verb,
        path: path.to_owned(),
        source,
    }
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    access: Access,
}

impl Store {
    /// Opens the state directory, and makes it where it is missing (mode 0700).
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        for part in ["accounts", "archive", "live", "lineages", "doors", "locks"] {
            let path = directory.join(part);
            files::create_directory(&path, 0o700).map_err(io_error("created", &path))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
            access: Access::default(),
        })
    }

    /// Whether there is room and permission to write. Asked before an order is placed.
    /// Under the lineage's lock, since others may ask at the same time.
    pub fn probe_writable(&self, name: &AppName) -> Result<(), StoreError> {
        let path = self.directory.join(format!("lineages/.{name}.writable"));
        // As much as a certificate with its key and chain takes.
        let room = Entry::File(vec![0; 32 * 1024], 0o600);
        let written = room.place(&path).map_err(io_error("written", &path));
        written.and_then(|()| {
            Entry::Absent
                .place(&path)
                .map_err(io_error("written", &path))
        })
    }

    /// The lock that one lineage's changes are made under.
    pub async fn lock_lineage(&self, name: &AppName, limit: Duration) -> Result<Lock, StoreError> {
        Ok(Lock::wait(&self.lock_path("lineage", name.as_str()), limit).await?)
    }

    /// The same lock, if nobody holds it.
    pub fn try_lock_lineage(&self, name: &AppName) -> Result<Option<Lock>, StoreError> {
        Ok(Lock::try_take(&self.lock_path("lineage", name.as_str()))?)
    }

    /// The lock of an app's door: whoever holds it is alive.
    pub fn door_lock(&self, app: &AppName) -> PathBuf {
        self.lock_path("door", app.as_str())
    }

    /// Whether a living process holds an app's door.
    pub fn is_door_held(&self, app: &AppName) -> bool {
        matches!(Lock::try_take(&self.door_lock(app)), Ok(None))
    }

    /// The lock under which nginx is tested and reloaded.
    pub fn nginx_lock(&self) -> PathBuf {
        self.lock_path("nginx", "reload")
    }

    fn lock_path(&self, kind: &str, name: &str) -> PathBuf {
        self.directory.join(format!("locks/{kind}-{name}.lock"))
    }
}

/// A directory's URL as one path component: its host and path, all that is neither letter, digit, dot nor hyphen spelt `_`.
fn directory_name(url: &str) -> String {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect::<String>()
        .replace("..", "__")
}

/// Reads one of our JSON files. One that can't be understood is set aside, never deleted.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(io_error("read", path))?,
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            Err(StoreError::SetAside {
                path: path.to_owned(),
                aside: set_aside(path)?,
                // serde's own words would quote what stands there, which may be a private key.
                reason: format!(
                    "{:?} error in line {}, column {}",
                    error.classify(),
                    error.line(),
                    error.column()
                ),
            })
        }
    }
}

/// Gives what can't be used another name, beside what was set aside before it. Returns where it is now.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = (1..).map(|nth| match nth {
        1 => format!("{name}.unreadable"),
        _ => format!("{name}.unreadable-{nth}"),
    });
    let mut places = names.map(|name| path.with_file_name(name));
    let free = places.find(|place| fs::symlink_metadata(place).is_err());
    let aside = free.unwrap_or_else(|| path.to_owned());
    fs::rename(path, &aside).map_err(io_error("set aside", path))?;
    Ok(aside)
}

/// Writes one of our JSON files (mode 0600), and its directory where it is missing.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    if let Some(directory) = path.parent() {
        files::create_directory(directory, 0o700).map_err(io_error("created", directory))?;
    }
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| io_error("written", path)(error.into()))?;
    bytes.push(b'\n');
    Entry::File(bytes, 0o600)
        .place(path)
        .map_err(io_error("written", path))
}

/// The names of the `.json` files in a directory that are well-formed names of ours.
fn json_names(directory: &Path) -> Result<Vec<AppName>, StoreError> {
    let entries = fs::read_dir(directory).map_err(io_error("read", directory))?;
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(io_error("read", directory))?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        names.extend(name.and_then(|name| name.parse().ok()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_url_becomes_one_path_component() {
        for (url, name) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org_directory",
            ),
            ("https://127.0.0.1:14000/dir", "127.0.0.1_14000_dir"),
            ("https://[::1]:14000/../dir", "___1__14000____dir"),
        ] {
            assert_eq!(directory_name(url), name);
        }
    }

    #[test]
    fn only_its_owner_reads_the_state() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let store = Store::open(&state).unwrap();
        store
            .save_account("https://ca.example/dir", &"secret")
            .unwrap();
        let mode =
            |path: &str| fs::metadata(state.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("."), 0o700);
        assert_eq!(mode("accounts/ca.example_dir"), 0o700);
        assert_eq!(mode("accounts/ca.example_dir/account.json"), 0o600);
        assert_eq!(
            store
                .account::<String>("https://ca.example/dir")
                .unwrap()
                .as_deref(),
            Some("secret")
        );
        assert_eq!(
            store
                .account::<String>("https://other.example/dir")
                .unwrap(),
            None
        );
    }

    #[test]
    fn sets_aside_what_it_can_not_read_and_goes_on_without() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.save_account("https://ca.example/dir", &1).unwrap();
        let path = directory
            .path()
            .join("accounts/ca.example_dir/account.json");
        fs::write(&path, "{").unwrap();
        let error = store.account::<u32>("https://ca.example/dir").unwrap_err();
        assert!(matches!(error, StoreError::SetAside { .. }), "{error}");
        assert_eq!(
            fs::read(path.with_file_name("account.json.unreadable")).unwrap(),
            b"{"
        );
        assert_eq!(
            store.account::<u32>("https://ca.example/dir").unwrap(),
            None
        );
    }

    #[test]
    fn never_quotes_what_it_can_not_read_since_it_may_be_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let url = "https://ca.example/dir";
        store.save_account(url, &"very secret").unwrap();
        let error = store.account::<u32>(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[test]
    fn says_what_can_not_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let name = "shop".parse().unwrap();
        store.probe_writable(&name).unwrap();
        fs::remove_dir(directory.path().join("lineages")).unwrap();
        let error = store.probe_writable(&name).unwrap_err();
        assert!(error.to_string().contains("lineages"), "{error}");
    }
}
