//! The directory of another client: read, and never written. A link is followed to a regular file wherever it is, and to a
//! directory only if that is below this one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No file of any client's is longer.
const LONGEST: u64 = 1024 * 1024;

/// The directory of another client.
pub(super) struct Source {
    root: PathBuf,
}

impl Source {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let root = directory.canonicalize()?;
        fs::read_dir(&root)?;
        Ok(Self { root })
    }

    /// A path in it.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a regular file; the error names it.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Result<String, String> {
        let path = self.path(path);
        text(&path).map_err(|error| format!("{} can't be read: {error}", path.display()))
    }

    /// Where a directory of it is really, unless that is elsewhere.
    fn within(&self, directory: &Path) -> Option<PathBuf> {
        let really = self.path(directory).canonicalize().ok()?;
        (really.starts_with(&self.root) && really.is_dir()).then_some(really)
    }

    /// What lies in a directory of it, as paths in it, sorted; nothing where it is missing or elsewhere.
    fn entries(&self, directory: &Path) -> Vec<PathBuf> {
        let Some(really) = self.within(directory) else {
            return Vec::new();
        };
        let entries = fs::read_dir(really).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .map(|entry| directory.join(entry.file_name()))
            .collect();
        paths.sort();
        paths
    }

    /// The files in a directory of it, as paths in it.
    pub(super) fn files(&self, directory: impl AsRef<Path>) -> Vec<PathBuf> {
        let entries = self.entries(directory.as_ref()).into_iter();
        entries.filter(|path| self.path(path).is_file()).collect()
    }

    /// The directories in a directory of it, as paths in it.
    pub(super) fn directories(&self, directory: impl AsRef<Path>) -> Vec<PathBuf> {
        let entries = self.entries(directory.as_ref()).into_iter();
        entries.filter(|path| self.within(path).is_some()).collect()
    }

    /// Every directory below one of it, however deep, that has a file of this name.
    pub(super) fn directories_with(&self, file: &str, below: impl AsRef<Path>) -> Vec<PathBuf> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        let mut ahead = vec![below.as_ref().to_owned()];
        while let Some(directory) = ahead.pop() {
            // Links may lead back to where we come from.
            let is_new = self
                .within(&directory)
                .is_some_and(|really| seen.insert(really));
            if !is_new {
                continue;
            }
            if self.path(directory.join(file)).is_file() {
                found.push(directory.clone());
            }
            ahead.extend(self.directories(&directory));
        }
        found.sort();
        found
    }
}

/// What lies there may be a pipe that never ends, or a disk.
fn text(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if metadata.len() > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    let mut text = String::new();
    File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The value of a line `key = value` (certbot's, and with quotes acme.sh's).
pub(super) fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let value = text.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == key).then(|| value.trim())
    })?;
    let bare = value.trim_matches(|quote| quote == '\'' || quote == '"');
    (!bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_leads_to_files_anywhere_and_to_directories_only_within() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(outside.path().join("sub")).unwrap();
        fs::write(outside.path().join("key"), "text").unwrap();
        symlink(outside.path().join("key"), inside.path().join("key")).unwrap();
        symlink(outside.path().join("sub"), inside.path().join("away")).unwrap();
        symlink(outside.path(), inside.path().join("off")).unwrap();
        fs::create_dir(inside.path().join("own")).unwrap();
        symlink("own", inside.path().join("alias")).unwrap();
        symlink(".", inside.path().join("own/loop")).unwrap();
        let source = Source::open(inside.path()).unwrap();
        assert_eq!(source.text("key").unwrap(), "text");
        assert!(source.files("off").is_empty());
        assert!(source.directories("off").is_empty());
        assert!(source.directories_with("key", "off").is_empty());
        assert_eq!(source.directories_with("key", ""), [PathBuf::new()]);
    }

    #[test]
    fn what_is_no_file_or_too_long_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        symlink("/dev/zero", directory.path().join("endless")).unwrap();
        symlink("loop", directory.path().join("loop")).unwrap();
        File::create(directory.path().join("long"))
            .unwrap()
            .set_len(LONGEST + 1)
            .unwrap();
        let source = Source::open(directory.path()).unwrap();
        for name in ["endless", "loop", "long", "missing", ""] {
            let error = source.text(name).unwrap_err();
            assert!(error.contains("can't be read"), "{error}");
        }
    }

    #[test]
    fn values_are_read_without_their_quotes() {
        let text =
            "# x\nLe_API='https://a.example/dir'\nserver = https://b.example/dir\nempty=''\n";
        assert_eq!(value(text, "Le_API"), Some("https://a.example/dir"));
        assert_eq!(value(text, "server"), Some("https://b.example/dir"));
        assert_eq!(value(text, "empty"), None);
        assert_eq!(value(text, "x"), None);
    }
}
