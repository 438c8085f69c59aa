//! What one request to [`Control`](super::control::Control) changes on disk, and how it is taken back.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, Entry};

/// One path and what shall stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path; its directory is made if it is missing.
    pub path: PathBuf,
    /// What shall stand there.
    pub to: Entry,
    /// What becomes of it when nginx refuses.
    pub if_refused: IfRefused,
}

/// What becomes of a change when nginx refuses the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfRefused {
    /// What was there before is put back.
    PutBack,
    /// It stays: taking something of ours away can't be what is wrong.
    Keep,
}

/// A change that was made, and what it replaced.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    before: Entry,
    after: Entry,
    if_refused: IfRefused,
}

impl Change {
    /// A file or link that nginx reads.
    pub fn place(path: impl Into<PathBuf>, to: Entry) -> Self {
        Self {
            path: path.into(),
            to,
            if_refused: IfRefused::PutBack,
        }
    }

    /// Takes something of ours away.
    pub fn remove(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            to: Entry::Absent,
            if_refused: IfRefused::Keep,
        }
    }

    /// Makes the change; `None` if it stood so already. What is taken away counts as made even if it was gone:
    /// nginx may still have it in memory.
    pub(super) fn make(self) -> io::Result<Option<Made>> {
        let before = Entry::read(&self.path)?;
        if before == self.to && self.if_refused == IfRefused::PutBack {
            return Ok(None);
        }
        if let (Some(directory), false) = (self.path.parent(), self.to == Entry::Absent) {
            files::create_directory(directory, 0o755)?;
        }
        self.to.place(&self.path)?;
        Ok(Some(Made {
            path: self.path,
            before,
            after: self.to,
            if_refused: self.if_refused,
        }))
    }
}

impl Made {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays when nginx refuses.
    pub(super) fn stays(&self) -> bool {
        self.if_refused == IfRefused::Keep
    }

    /// Takes the change back, if it is one that goes back and nobody has changed the path again since.
    pub(super) fn take_back(&self) -> io::Result<()> {
        if self.stays() || Entry::read(&self.path)? != self.after {
            return Ok(());
        }
        self.before.place(&self.path)
    }

    /// Whether nginx's complaint about `file` is about this change: the path itself, or something under it.
    pub(super) fn is_blamed_by(&self, file: &Path) -> bool {
        let own = located(&self.path);
        file.ancestors()
            .any(|path| path == self.path || located(path) == own)
    }
}

/// The path with its directory's links resolved, but not a link at the path itself.
fn located(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}
