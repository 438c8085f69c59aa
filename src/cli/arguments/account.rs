//! What can be typed about accounts.

use clap::{Args, Subcommand};

use crate::admin::account::AccountAct;
use crate::admin::protocol::Request;
use crate::config::Directory;

/// `sidedoor account …`
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Tell where the account is and what its CA knows of it
    Show {
        #[command(flatten)]
        at: At,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the account, unless there is one; the first certificate does so, too
    Register {
        #[command(flatten)]
        at: At,
    },
    /// Tell the CA the configuration's e-mail addresses
    Update {
        #[command(flatten)]
        at: At,
    },
    /// Give the account a new key
    Rollover {
        #[command(flatten)]
        at: At,
    },
    /// Close the account for good
    Deactivate {
        #[command(flatten)]
        at: At,
        /// Ask nobody
        #[arg(long)]
        yes: bool,
    },
}

/// Which account.
#[derive(Debug, Args)]
pub(super) struct At {
    /// At which CA: a preset's name or a URL; the configuration's first unless given
    #[arg(long, value_name = "NAME|URL")]
    directory: Option<Directory>,
}

impl AccountCommand {
    pub(super) fn request(&self) -> Request {
        let (act, at) = match self {
            Self::Show { at, .. } => (AccountAct::Show, at),
            Self::Register { at } => (AccountAct::Register, at),
            Self::Update { at } => (AccountAct::Update, at),
            Self::Rollover { at } => (AccountAct::Rollover, at),
            Self::Deactivate { at, .. } => (AccountAct::Deactivate, at),
        };
        let directory = at.directory.as_ref();
        Request::Account {
            act,
            directory: directory.map(|directory| directory.url().to_owned()),
        }
    }

    pub(super) fn wants_json(&self) -> bool {
        matches!(self, Self::Show { json: true, .. })
    }

    /// What to ask before what can't be undone, unless it was answered by `--yes`.
    pub(super) fn question(&self) -> Option<String> {
        let Self::Deactivate { at, yes: false } = self else {
            return None;
        };
        let at = at.directory.as_ref().map(Directory::url);
        let at = at.unwrap_or("the first CA of the configuration");
        Some(format!("close the account at {at} for good?"))
    }
}
