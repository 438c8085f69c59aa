//! What is said of accounts over the admin socket.

use serde::{Deserialize, Serialize};

/// What is done with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountAct {
    /// It is looked at.
    Show,
    /// It is made, unless there is one.
    Register,
    /// Its CA is told the configuration's e-mail addresses.
    Update,
    /// It gets a new key.
    Rollover,
    /// It is closed for good.
    Deactivate,
}

/// An account, as `sidedoor account show --json` tells it. Fields are added, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// The CA's directory.
    pub directory: String,
    /// The account's URL at the CA; nothing where there is no account.
    pub url: Option<String>,
    /// The thumbprint of its key (RFC 7638).
    pub thumbprint: Option<String>,
    /// What the CA says of it: `valid`, `deactivated` or `revoked`; nothing where it did not answer.
    pub status: Option<String>,
    /// The e-mail addresses that the CA has, or else those that it was told last.
    pub contact: Vec<String>,
    /// The file with its key.
    pub file: String,
    /// Why the CA did not say more.
    pub error: Option<String>,
}
