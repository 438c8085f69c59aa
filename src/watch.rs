//! Tells when the configuration file has changed, however an editor or a deployment tool replaces it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// A tool writes a file in several steps; the last one counts.
const QUIET: Duration = Duration::from_millis(150);
/// Something that writes without a pause is not waited for longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// Watches one file.
pub struct ConfigWatch {
    _watcher: RecommendedWatcher,
    changes: mpsc::UnboundedReceiver<()>,
}

impl ConfigWatch {
    /// Begins. The file's directory is what is watched, since the file itself may be replaced by another;
    /// where the file is a link, as in a container's mounted configuration, the directory it leads to as well.
    pub fn new(file: &Path) -> notify::Result<Self> {
        let (changed, changes) = mpsc::unbounded_channel();
        let names: Vec<PathBuf> = [Some(file.to_owned()), file.canonicalize().ok()]
            .into_iter()
            .flatten()
            .collect();
        let directories: Vec<_> = names
            .iter()
            .filter_map(|name| name.parent())
            .map(|parent| {
                if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                }
                .to_owned()
            })
            .collect();
        let file_names: Vec<_> = names
            .iter()
            .filter_map(|name| name.file_name().map(ToOwned::to_owned))
            .collect();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let concerns = |event: &notify::Event| {
                    !matches!(event.kind, EventKind::Access(_))
                        && event.paths.iter().any(|path| {
                            // Kubernetes swaps a link named ..data beside the file.
                            path.file_name().is_some_and(|name| {
                                name == "..data" || file_names.iter().any(|own| own == name)
                            })
                        })
                };
                // After an error something may have been missed, so the file is looked at.
                if event.as_ref().map_or(true, concerns) {
                    let _ = changed.send(());
                }
            })?;
        for directory in directories {
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Self {
            _watcher: watcher,
            changes,
        })
    }

    /// Resolves after the file has changed and whoever changed it has paused.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            return std::future::pending().await;
        }
        let settle =
            async { while let Ok(Some(())) = timeout(QUIET, self.changes.recv()).await {} };
        tokio::select! {
            () = settle => {}
            () = sleep(LONGEST) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn notices_a_file_that_is_rewritten_replaced_or_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sidedoor.toml");
        fs::write(&file, "1").unwrap();
        let mut watch = ConfigWatch::new(&file).unwrap();
        fs::write(&file, "2").unwrap();
        timeout(LIMIT, watch.changed())
            .await
            .expect("a rewritten file");
        fs::write(directory.path().join("new"), "3").unwrap();
        fs::rename(directory.path().join("new"), &file).unwrap();
        timeout(LIMIT, watch.changed())
            .await
            .expect("a replaced file");
        fs::remove_file(&file).unwrap();
        timeout(LIMIT, watch.changed())
            .await
            .expect("a removed file");
        fs::write(&file, "4").unwrap();
        timeout(LIMIT, watch.changed())
            .await
            .expect("a file that is back");
    }

    #[tokio::test]
    async fn a_neighbour_s_change_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sidedoor.toml");
        fs::write(&file, "1").unwrap();
        let mut watch = ConfigWatch::new(&file).unwrap();
        fs::write(directory.path().join("other"), "2").unwrap();
        assert!(timeout(QUIET * 2, watch.changed()).await.is_err());
    }
}
