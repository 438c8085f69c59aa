//! A certificate's files in other places, for programs that are not nginx.
//!
//! A program that reads certificate and key one after the other shall not get those of two versions. Two files can't be renamed
//! in one step, so everything is made ready beside its place first, which is what takes time and can fail; then come the
//! renames, one right after the other, the key's last. Programs read the certificate before the key, as OpenSSL wants them: with
//! the key last, two versions are met only by who reads both between the renames, or begins before the first and ends after the
//! last; with the key first, also by all who read just one of them in between. Links to what is live change in one step, and so
//! does a combined file: they leave no such moment at all.

use std::io;
use std::path::{Path, PathBuf};

use super::Handover;
use crate::config::{Form, Install, Part};
use crate::files::{self, Entry, Owner, Staged};
use crate::principal::Unknown;
use crate::store::{Saved, StoreError};

/// Why files are not where they shall be. What was there before is.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    /// The system refused.
    #[error("{} can't be {verb}: {source}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Whoever shall own them is not there.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The certificate itself can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl InstallError {
    pub(super) fn next_step(&self) -> String {
        match self {
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => format!(
                "make the directory {}; the next `sidedoor renew` puts the file there",
                path.parent().unwrap_or(path).display()
            ),
            Self::Io { path, .. } => format!(
                "let the user who runs sidedoor write {} and give it away; the next `sidedoor renew` tries again",
                path.display()
            ),
            Self::Unknown(_) => {
                "create it, or name another in `install`; the next `sidedoor renew` tries again"
                    .into()
            }
            Self::Store(error) => error.next_step(),
        }
    }
}

/// One entry that is not as it shall be.
struct Misplaced<'a> {
    path: &'a Path,
    is: Entry,
    whose: Owner,
    shall_be: Entry,
}

/// What is to be put right of one `install`.
pub(super) struct Plan<'a> {
    misplaced: Vec<Misplaced<'a>>,
    owner: Owner,
}

impl<'a> Plan<'a> {
    /// Looks at what is there.
    pub(super) fn new(
        install: &'a Install,
        handover: &Handover<'_>,
        saved: &Saved,
    ) -> Result<Self, InstallError> {
        let live = handover.store.live_link(handover.name);
        let owner = match &install.form {
            Form::Link => Owner::default(),
            Form::Copy { owner, group, .. } => Owner {
                user: owner.as_ref().map(|owner| owner.user()).transpose()?,
                group: group.as_ref().map(|group| group.group()).transpose()?,
            },
        };
        let mut misplaced = Vec::new();
        for (part, path) in &install.files {
            let shall_be = match &install.form {
                Form::Link => Entry::Link(live.join(format!("{}.pem", part.as_str()))),
                Form::Copy { key_mode, .. } => {
                    let mode = if part.is_secret() {
                        key_mode.bits()
                    } else {
                        0o644
                    };
                    Entry::File(text(*part, saved).into_bytes(), mode)
                }
            };
            let unreadable = |source| failed("read", path, source);
            let is = Entry::read(path).map_err(unreadable)?;
            let whose = Owner::of(path).map_err(unreadable)?;
            if is != shall_be || !owner.admits(whose) {
                misplaced.push(Misplaced {
                    path,
                    is,
                    whose,
                    shall_be,
                });
            }
        }
        Ok(Self { misplaced, owner })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.misplaced.is_empty()
    }

    /// Puts everything into place, or nothing.
    pub(super) fn carry_out(self) -> Result<(), InstallError> {
        let stage = |Misplaced { path, shall_be, .. }: &Misplaced<'_>| {
            let staged = shall_be.stage(path, self.owner);
            staged.map_err(|source| failed("written", path, source))
        };
        let staged = self.misplaced.iter().map(stage);
        let staged = staged.collect::<Result<Vec<_>, _>>()?;
        for (n, one) in staged.into_iter().enumerate() {
            if let Err(source) = one.place() {
                self.take_back(n);
                return Err(failed("written", self.misplaced[n].path, source));
            }
        }
        for Misplaced { path, .. } in &self.misplaced {
            files::sync_directory_of(path).map_err(|source| failed("written", path, source))?;
        }
        Ok(())
    }

    /// What was there before belongs together; half of the new and half of the old doesn't.
    fn take_back(&self, placed: usize) {
        for Misplaced {
            path, is, whose, ..
        } in &self.misplaced[..placed]
        {
            let back = is.stage(path, *whose).and_then(Staged::place);
            if let Err(error) = back {
                tracing::error!(path = %path.display(), %error, "what was there before can't be put back");
            }
        }
    }
}

/// What an errand of this `install` is called.
pub(super) fn described(install: &Install) -> String {
    let files = install.files.iter();
    let paths: Vec<_> = files.map(|(_, path)| path.display().to_string()).collect();
    paths.join(", ")
}

fn failed(verb: &'static str, path: &Path, source: io::Error) -> InstallError {
    InstallError::Io {
        verb,
        path: path.to_owned(),
        source,
    }
}

/// HAProxy takes a combined file in any order; Postfix wants the key to come first.
fn text(part: Part, saved: &Saved) -> String {
    match part {
        Part::Chain => saved.chain.clone(),
        Part::Cert => saved.cert.clone(),
        Part::Fullchain => saved.fullchain.clone(),
        Part::Privkey => saved.privkey.clone(),
        Part::Combined => {
            let newline = if saved.privkey.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            format!("{}{newline}{}", saved.privkey, saved.fullchain)
        }
    }
}
