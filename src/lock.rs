//! Locks between processes: a file's lock goes with its process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it all the time.
    #[error("another sidedoor process has held {} for {} s", path.display(), waited.as_secs())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// How long we waited.
        waited: Duration,
    },
    /// The file can't be opened or locked.
    #[error("{} can't be locked: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock if nobody holds it, in this process or another.
    pub fn try_take(path: &Path) -> Result<Option<Self>, LockError> {
        let io = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Takes the lock as soon as it is free. The system has no way to be told, so it is looked at again and again.
    pub async fn wait(path: &Path, limit: Duration) -> Result<Self, LockError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            let waited = start.elapsed();
            if waited >= limit {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    waited,
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holds_it_and_the_next_gets_it_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let held = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(matches!(
            Lock::wait(&path, Duration::from_millis(5)).await,
            Err(LockError::Held { .. })
        ));
        let (next, ()) = tokio::join!(Lock::wait(&path, Duration::from_secs(10)), async {
            drop(held)
        });
        next.unwrap();
    }

    #[test]
    fn says_which_file_can_not_be_locked() {
        let error = Lock::try_take(Path::new("/nonexistent/a.lock")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/a.lock"));
    }
}
