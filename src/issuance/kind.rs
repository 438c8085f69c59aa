//! What kind of thing an issuance failed by: coarse enough to count.

use super::IssueError;
use crate::accounts::NoAccount;
use crate::acme::{AccountError, OrderError};
use crate::deploy::DeployError;
use crate::doors::DoorError;

/// What an attempt failed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The state, a key or a file named in the configuration can't be read or written.
    Store,
    /// nginx was not tested, reloaded or seen to serve.
    Nginx,
    /// What comes through nginx is not ours, or another holds or has the door's place.
    Door,
    /// The CA looked and did not find what it should.
    Validation,
    /// The CA asks to wait.
    RateLimited,
    /// The CA can't be asked, or is not done in time.
    Unavailable,
    /// The CA said no, or can't do what is wanted.
    Refused,
    /// What the CA answered makes no sense.
    Senseless,
    /// It took too long or broke off on our own side.
    Internal,
}

impl FailureKind {
    /// All of them, each at its own number.
    pub const ALL: [Self; 9] = [
        Self::Store,
        Self::Nginx,
        Self::Door,
        Self::Validation,
        Self::RateLimited,
        Self::Unavailable,
        Self::Refused,
        Self::Senseless,
        Self::Internal,
    ];

    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Nginx => "nginx",
            Self::Door => "door",
            Self::Validation => "validation",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Senseless => "senseless",
            Self::Internal => "internal",
        }
    }
}

impl IssueError {
    /// What it failed by; nothing where nothing was tried. Where several CAs failed, the first of them speaks.
    pub fn kind(&self) -> Option<FailureKind> {
        Some(match self {
            Self::Store(_) | Self::Key(_) => FailureKind::Store,
            Self::Door(error) => of_door(error),
            Self::Account(error) => of_account(error),
            Self::Order { error, .. } => of_order(error),
            Self::Chain(_) => FailureKind::Senseless,
            Self::Deploy(DeployError::Store(_)) => FailureKind::Store,
            Self::Deploy(DeployError::Control(_) | DeployError::NotServed { .. }) => {
                FailureKind::Nginx
            }
            Self::Hung(_) | Self::Died(_) => FailureKind::Internal,
            Self::NoStaging(_) => FailureKind::Refused,
            Self::Withheld(_) | Self::Unresolved(_) | Self::NotYet(_) | Self::Withdrawn(_) => {
                return None;
            }
            Self::All(errors) => return errors.iter().find_map(|(_, error)| error.kind()),
        })
    }
}

fn of_door(error: &DoorError) -> FailureKind {
    match error {
        DoorError::Control(_) | DoorError::NotTold { .. } => FailureKind::Nginx,
        DoorError::Store(_) => FailureKind::Store,
        DoorError::LocationTaken { .. } | DoorError::Held { .. } | DoorError::NotProven { .. } => {
            FailureKind::Door
        }
    }
}

fn of_account(error: &NoAccount) -> FailureKind {
    match error {
        NoAccount::Unreadable { .. } | NoAccount::Ca(_) | NoAccount::Store(_) => FailureKind::Store,
        NoAccount::Account(AccountError::Unavailable { .. }) => FailureKind::Unavailable,
        NoAccount::Account(AccountError::RateLimited { .. }) => FailureKind::RateLimited,
        NoAccount::None { .. } | NoAccount::Account(_) => FailureKind::Refused,
    }
}

fn of_order(error: &OrderError) -> FailureKind {
    match error {
        OrderError::Validation { .. } => FailureKind::Validation,
        OrderError::RateLimited { .. } => FailureKind::RateLimited,
        OrderError::Unavailable { .. } | OrderError::Timeout { .. } => FailureKind::Unavailable,
        OrderError::Broken { .. } => FailureKind::Senseless,
        OrderError::NoChallenge { .. }
        | OrderError::Refused { .. }
        | OrderError::UnknownProfile { .. }
        | OrderError::ProfileNeeded { .. }
        | OrderError::AccountGone { .. }
        | OrderError::ReplacesRefused { .. }
        | OrderError::OrderGone { .. } => FailureKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    fn store() -> IssueError {
        let link = "/nowhere".into();
        IssueError::Store(StoreError::NoCertificate { link })
    }

    #[test]
    fn of_several_cas_the_first_that_was_asked_says_what_it_was() {
        let withdrawn = || IssueError::Withdrawn("shop".parse().unwrap());
        let unasked = || ("https://a.example/".parse().unwrap(), withdrawn());
        assert_eq!(withdrawn().kind(), None);
        assert_eq!(IssueError::All(vec![unasked()]).kind(), None);
        let asked = ("https://b.example/".parse().unwrap(), store());
        let all = IssueError::All(vec![unasked(), asked]);
        assert_eq!(all.kind(), Some(FailureKind::Store));
    }

    #[test]
    fn each_kind_has_its_number() {
        for (number, kind) in FailureKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }
}
