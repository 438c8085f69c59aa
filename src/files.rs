//! Changes to the file system that are there wholly or not at all, also after a crash. Knows no path of its own.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink,
};
use std::path::{Path, PathBuf};

/// What stands, or shall stand, at a path.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A file with these bytes and this mode.
    File(Vec<u8>, u32),
    /// A symbolic link to this target.
    Link(PathBuf),
}

impl std::fmt::Debug for Entry {
    /// Never shows a file's bytes: they may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::File(bytes, mode) => write!(f, "File({} bytes, {mode:o})", bytes.len()),
            Self::Link(target) => write!(f, "Link({})", target.display()),
        }
    }
}

impl Entry {
    /// What stands at `path` now.
    pub fn read(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Absent),
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_symlink() => fs::read_link(path).map(Self::Link),
            Ok(metadata) => Ok(Self::File(
                fs::read(path)?,
                metadata.permissions().mode() & 0o7777,
            )),
        }
    }

    /// Puts this at `path`, in one step as others see it; a file's bytes outlive a power cut if its name does. The directory has to be there.
    pub fn place(&self, path: &Path) -> io::Result<()> {
        self.stage(path, Owner::default())?.place()
    }

    /// Makes all of this ready beside `path`, which is left alone until [`Staged::place`].
    pub fn stage(&self, path: &Path, owner: Owner) -> io::Result<Staged> {
        let staged = Staged {
            path: path.to_owned(),
            ready: (*self != Self::Absent).then(|| temporary(path)),
        };
        let Some(temporary) = &staged.ready else {
            return Ok(staged);
        };
        discard(temporary)?;
        match self {
            Self::Absent => {}
            Self::File(bytes, mode) => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    // Nobody else's until it has its owner.
                    .mode(*mode & 0o700)
                    .open(temporary)?;
                if owner != Owner::default() {
                    fchown(&file, owner.user, owner.group)?;
                }
                file.set_permissions(Permissions::from_mode(*mode))?;
                file.write_all(bytes)?;
                file.sync_all()?;
            }
            Self::Link(target) => symlink(target, temporary)?,
        }
        Ok(staged)
    }

    /// Puts this at `path` so that it is still there after a power cut.
    pub fn keep(&self, path: &Path) -> io::Result<()> {
        self.place(path)?;
        sync_directory_of(path)
    }
}

/// Whose a file shall be, by number; as the system makes it where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Option<u32>,
    /// The group.
    pub group: Option<u32>,
}

impl Owner {
    /// Whose what stands at `path` is; nobody's where nothing stands.
    pub fn of(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            metadata => metadata.map(|metadata| Self {
                user: Some(metadata.uid()),
                group: Some(metadata.gid()),
            }),
        }
    }

    /// Whether `is` is as said here.
    pub fn admits(self, is: Self) -> bool {
        (self.user.is_none() || self.user == is.user)
            && (self.group.is_none() || self.group == is.group)
    }
}

/// An entry that is ready to be put into place. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    ready: Option<PathBuf>,
}

impl Staged {
    /// Puts it into place, in one step as others see it.
    pub fn place(mut self) -> io::Result<()> {
        match &self.ready {
            Some(ready) => fs::rename(ready, &self.path)?,
            None => discard(&self.path)?,
        }
        self.ready = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(ready) = &self.ready {
            let _ = discard(ready);
        }
    }
}

/// Creates a directory and its missing parents with this mode; one that is there is left as it is.
pub fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes a rename or removal in the directory of `path` outlive a power cut.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Makes what was renamed or removed in this directory outlive a power cut.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// The name a new entry has until it is whole: hidden from nginx's `*.conf`, and always the same, so that a crash leaves at most one.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Removes a file or link that may or may not be there.
pub fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes a directory with all that is in it, which may or may not be there.
pub fn discard_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_placed_is_what_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.conf");
        for entry in [
            Entry::File(b"one".to_vec(), 0o600),
            Entry::Link("elsewhere".into()),
            Entry::File(b"two".to_vec(), 0o644),
            Entry::Absent,
            Entry::Absent,
        ] {
            entry.place(&path).unwrap();
            assert_eq!(Entry::read(&path).unwrap(), entry);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_only_staged_changes_nothing_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pem");
        Entry::File(b"old".to_vec(), 0o600).place(&path).unwrap();
        for entry in [
            Entry::File(b"new".to_vec(), 0o600),
            Entry::Link("elsewhere".into()),
            Entry::Absent,
        ] {
            drop(entry.stage(&path, Owner::default()).unwrap());
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn replaces_what_a_crash_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.conf");
        fs::write(temporary(&path), "half").unwrap();
        Entry::File(b"whole".to_vec(), 0o644).place(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(!temporary(&path).exists());
    }

    #[test]
    fn a_private_file_is_never_readable_by_others_even_for_a_moment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("privkey.pem");
        Entry::File(b"key".to_vec(), 0o600).place(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!format!("{:?}", Entry::read(&path).unwrap()).contains("key"));
    }
}
