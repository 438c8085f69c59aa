//! All of a directory at one moment, to be compared with a later one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Every file below a directory: its mode and its content, or where its link points.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree(BTreeMap<PathBuf, String>);

impl Tree {
    /// As it is now. A directory that isn't there has nothing in it.
    pub fn of(directory: &Path) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.collect(directory, directory);
        tree
    }

    /// The files' paths below the directory.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The files (no directories) whose name ends in `.conf`.
    pub fn includes(&self) -> Vec<&Path> {
        self.paths()
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "conf")
            })
            .collect()
    }

    fn collect(&mut self, root: &Path, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let content = if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_dir() {
                self.collect(root, &path);
                format!("{mode:o} directory")
            } else if kind.is_file() {
                let content = fs::read(&path).unwrap();
                format!("{mode:o} {:?}", String::from_utf8_lossy(&content))
            } else {
                format!("{mode:o} socket or device")
            };
            self.0
                .insert(path.strip_prefix(root).unwrap().to_owned(), content);
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}
