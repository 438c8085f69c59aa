//! What is said over the admin socket: one JSON object a line. A request, then notes while it is worked on, then one reply or failure.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::account::{AccountAct, AccountStatus};
use crate::acme::RevocationReason;
use crate::address::Address;
use crate::challenge::{KeyAuthorization, Token};
use crate::identifier::{AppName, Identifier};
use crate::progress::Note;
use crate::report::Report;
use crate::status::Status;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// A certificate for an app, or for names whose apps have doors.
    Issue {
        /// The app; nothing where names are given.
        app: Option<AppName>,
        /// The names.
        names: Vec<Identifier>,
        /// Also if the present one is still good.
        force: bool,
    },
    /// New certificates for these names, or for all, where they are due.
    Renew {
        /// The lineages; all where there is none.
        names: Vec<AppName>,
        /// Also where they aren't due.
        force: bool,
    },
    /// A door by hand.
    Open {
        /// Whose.
        app: AppName,
        /// How long it may stand, in seconds.
        seconds: u64,
    },
    /// The end of a door that was opened by hand.
    Close {
        /// Whose; every door that nobody else needs, where nothing is given.
        app: Option<AppName>,
    },
    /// A token to answer.
    AddChallenge {
        /// With what.
        key_authorization: KeyAuthorization,
    },
    /// A token to answer no longer.
    RemoveChallenge {
        /// Which.
        token: Token,
    },
    /// Which tokens are answered.
    ListChallenges,
    /// How every certificate stands.
    Status,
    /// Whether a certificate would come, tried out where that has no consequences.
    Rehearse {
        /// For an app.
        app: Option<AppName>,
        /// For these names.
        names: Vec<Identifier>,
        /// For these lineages, or for all where there is none, in place of an app or names.
        lineages: Option<Vec<AppName>>,
    },
    /// The end of a certificate, and another one in its place.
    Revoke {
        /// The lineage.
        name: AppName,
        /// Why.
        reason: RevocationReason,
        /// Whether no other one is wanted.
        no_new: bool,
    },
    /// All there is of a certificate forgotten.
    Delete {
        /// The lineage.
        name: AppName,
        /// Also if somebody needs it.
        force: bool,
    },
    /// Something with an account.
    Account {
        /// What.
        act: AccountAct,
        /// At which CA; the configuration's first where nothing is given.
        directory: Option<String>,
    },
    /// The place of the sidecar itself, for a new one. It is kept until the new one says [`Request::Taken`].
    TakeOver,
    /// The new sidecar serves: the old one may go.
    Taken,
}

/// What an old sidecar leaves to the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bequest {
    /// Where it listens, and goes on listening until the new one does.
    pub listening: Vec<Address>,
    /// The tokens that were added by hand.
    pub tokens: Vec<KeyAuthorization>,
    /// The doors that were opened by hand.
    pub held: Vec<HeldDoor>,
}

/// A door that was opened by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDoor {
    /// Whose.
    pub app: AppName,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// How one certificate fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The lineage.
    pub name: AppName,
    /// Whether it is a new one.
    pub new: bool,
    /// Its number in the archive.
    pub version: u32,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Where its files are.
    pub path: String,
    /// How many handshakes have seen nginx serve it; none where no TLS server uses it yet.
    pub served: Option<usize>,
}

/// How one of several certificates fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fared {
    /// It is there.
    Done(Certificate),
    /// It is due, but it is too early to try.
    Waiting {
        /// The lineage.
        name: AppName,
        /// Why.
        report: Report,
        /// Whether it is waited for since it has failed before.
        failed: bool,
    },
    /// It is not.
    Failed {
        /// The lineage.
        name: AppName,
        /// Why not.
        report: Report,
    },
}

/// How one certificate would have fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rehearsal {
    /// It would have come.
    Done {
        /// The lineage.
        name: AppName,
        /// The directory it was tried out at.
        directory: String,
        /// Who has issued the one that was thrown away.
        issuer: String,
        /// How many of its names that CA has looked at; the others it still knew.
        validated: usize,
    },
    /// It would not.
    Failed {
        /// The lineage.
        name: AppName,
        /// Why not.
        report: Report,
    },
}

/// What has proven to a CA that a certificate is ours to be revoked (RFC 8555 7.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokedBy {
    /// The account that has ordered it.
    Account,
    /// Its own key.
    Key,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// One certificate.
    Issued(Certificate),
    /// Several.
    Renewed {
        /// Each.
        certificates: Vec<Fared>,
    },
    /// A door stands.
    Opened {
        /// Whose.
        app: AppName,
        /// Until when.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// Doors that stood no longer do.
    Closed {
        /// Whose.
        apps: Vec<AppName>,
        /// Whose door was meant and still stands, since an issuance needs it.
        in_use: Option<AppName>,
    },
    /// The tokens that are answered.
    Challenges {
        /// Each.
        tokens: Vec<Token>,
    },
    /// How every certificate stands.
    Status(Status),
    /// What was tried out.
    Rehearsed {
        /// Each.
        certificates: Vec<Rehearsal>,
    },
    /// A certificate is revoked.
    Revoked {
        /// The lineage.
        name: AppName,
        /// Its serial number, as hexadecimal bytes.
        serial: String,
        /// Why.
        reason: RevocationReason,
        /// What has proven that it is ours.
        by: RevokedBy,
        /// The one in its place; nothing where none is wanted.
        new: Option<Certificate>,
    },
    /// A certificate is forgotten.
    Deleted {
        /// The lineage.
        name: AppName,
        /// What was removed.
        paths: Vec<String>,
        /// Whether a placeholder stays, since nginx needs the files.
        placeholder: bool,
    },
    /// An account, after what was done.
    Account {
        /// What was done.
        act: AccountAct,
        /// How it stands.
        account: AccountStatus,
    },
    /// What the new sidecar is left.
    Bequest(Bequest),
    /// Nothing more to say.
    Done,
}

/// One line from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// How far it has come.
    Note(Note),
    /// The end: it is done.
    Reply(Box<Reply>),
    /// The end: it failed.
    Failed(Report),
}
