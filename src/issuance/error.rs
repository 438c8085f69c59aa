//! Why an issuance ended without a certificate, and what to do about it.

use std::time::Duration;

use time::OffsetDateTime;

use super::validation::Visits;
use crate::accounts::NoAccount;
use crate::acme::{AccountError, OrderError};
use crate::budget::Exhausted;
use crate::certificate::{ChainError, KeyError};
use crate::config::{Config, Directory};
use crate::deploy::DeployError;
use crate::doors::DoorError;
use crate::identifier::{AppName, Identifier};
use crate::report::Report;
use crate::schedule::{Attempt, Cause, Event, Failed, Why};
use crate::store::StoreError;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The state can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The door is not open.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// There is no account.
    #[error(transparent)]
    Account(#[from] NoAccount),
    /// The order did not come to its end; with what we saw of the CA.
    #[error("{error}{seen}")]
    Order {
        /// What the CA said.
        error: Box<OrderError>,
        /// What we saw; empty where nothing is to be said about it.
        seen: String,
    },
    /// No key could be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the CA sent is not the certificate that was ordered.
    #[error("the CA's certificate is not the one that was ordered: {0}")]
    Chain(#[from] ChainError),
    /// It is saved, but not live.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// No order was placed, since it would be one too many for a limit of the CA.
    #[error("{0}; there is room again at {until}", until = .0.until)]
    Withheld(Exhausted),
    /// No order was placed, since these names don't resolve yet.
    #[error("{}", unresolved(.0))]
    Unresolved(Vec<Identifier>),
    /// Nothing was tried, since it is not the time yet.
    #[error("{}, so the next attempt is at {}", .0.why, .0.at)]
    NotYet(Attempt),
    /// Nothing was tried, since it was revoked for good.
    #[error("the certificate of {0} was revoked, and no new one wanted")]
    Withdrawn(AppName),
    /// It took too long.
    #[error("it was not done after {} minutes", .0.as_secs() / 60)]
    Hung(Duration),
    /// Whoever was at it has died.
    #[error("it broke off: {0}")]
    Died(String),
    /// There is nowhere to try it out.
    #[error("{0} has no staging that is known")]
    NoStaging(Directory),
    /// Every CA in the list failed.
    #[error("every CA failed: {}", .0.iter().map(|(directory, error)| format!("{directory}: {error}")).collect::<Vec<_>>().join("; "))]
    All(Vec<(Directory, IssueError)>),
}

fn unresolved(names: &[Identifier]) -> Why {
    let names = names.to_vec();
    Why::Unresolved { names }
}

impl IssueError {
    /// Of an order, with what we saw of the CA's validation.
    pub(super) fn of_order(error: OrderError, visits: Option<&Visits>) -> Self {
        let seen = match (&error, visits) {
            (OrderError::Validation { .. }, Some(visits)) => format!("; {}", visits.summary()),
            _ => String::new(),
        };
        Self::Order {
            error: Box::new(error),
            seen,
        }
    }

    /// Of all the CAs that were tried; the only one speaks for itself.
    pub(super) fn of_all(mut errors: Vec<(Directory, Self)>) -> Self {
        match (errors.pop(), errors.is_empty()) {
            (Some((_, only)), true) => only,
            (last, _) => {
                errors.extend(last);
                Self::All(errors)
            }
        }
    }

    /// As a person sees it.
    pub fn report(&self, config: &Config) -> Report {
        let next_step = match self {
            Self::Store(error) => error.next_step(),
            Self::Door(error) => error.next_step(config),
            Self::Account(error) => return error.report(),
            Self::Order { error, .. } => error.next_step(),
            Self::Key(_) => {
                "move archive/<name>/next.pem out of the state directory and try again".into()
            }
            Self::Chain(_) => "try again; if it comes back, tell the CA".into(),
            Self::Deploy(error) => error.next_step(config),
            Self::Withheld(_) | Self::NotYet(_) => {
                "wait; the sidecar goes on by itself then (--force goes on now, and may run into the CA's limits)".into()
            }
            Self::Unresolved(_) => {
                "point them to this host in DNS; the sidecar goes on by itself as soon as they resolve (--force does not look)".into()
            }
            Self::Withdrawn(name) => format!("run `sidedoor issue {name}` if one is wanted now"),
            Self::Died(_) => "report this to us with the log, please; it is tried again".into(),
            Self::Hung(_) => "look into the log for what it was waiting for; it is tried again".into(),
            Self::NoStaging(_) => {
                "name a directory for trying things out as staging_directory under [acme], or leave out --dry-run".into()
            }
            Self::All(errors) => {
                return Report::new(
                    self,
                    errors
                        .first()
                        .map(|(_, error)| error.report(config).next_step)
                        .unwrap_or_default(),
                );
            }
        };
        Report::new(self, next_step)
    }

    /// Whether another CA could do better: nothing on our own side was in the way.
    pub(super) fn is_the_cas(&self) -> bool {
        matches!(
            self,
            Self::Account(NoAccount::Account(_))
                | Self::Order { .. }
                | Self::Chain(_)
                | Self::Withheld(_)
        )
    }

    /// Whether nothing has gone wrong: it is only too early.
    pub fn is_too_early(&self) -> bool {
        match self {
            Self::Withheld(_) | Self::Unresolved(_) | Self::NotYet(_) => true,
            Self::All(errors) => errors.iter().all(|(_, error)| error.is_too_early()),
            _ => false,
        }
    }

    /// What it is to the schedule.
    pub(super) fn event(&self) -> Event {
        match self {
            Self::Withheld(exhausted) => Event::Withheld(exhausted.clone()),
            Self::Unresolved(names) => Event::Unresolved(names.clone()),
            Self::NotYet(_) | Self::Withdrawn(_) => Event::Woken,
            // All of them are to be waited for; whichever has room first is worth the next attempt.
            Self::All(errors) if self.is_too_early() => {
                let waits = errors.iter().filter_map(|(_, error)| match error {
                    Self::Withheld(exhausted) => Some(exhausted),
                    _ => None,
                });
                match waits.min_by_key(|exhausted| exhausted.until) {
                    Some(exhausted) => Event::Withheld(exhausted.clone()),
                    None => Event::Woken,
                }
            }
            _ => Event::Failed(self.failed()),
        }
    }

    fn failed(&self) -> Failed {
        let (cause, retry_after) = match self {
            Self::Order { error, .. } => (
                match &**error {
                    OrderError::Unavailable { .. } => Cause::Unavailable,
                    error if error.is_final() => Cause::Lasting,
                    _ => Cause::Passing,
                },
                error.retry_after(),
            ),
            Self::Account(NoAccount::Account(error)) => (
                match error {
                    AccountError::Unavailable { .. } => Cause::Unavailable,
                    error if error.is_final() => Cause::Lasting,
                    _ => Cause::Passing,
                },
                error.retry_after(),
            ),
            Self::Account(NoAccount::Ca(_)) => (Cause::Lasting, None),
            Self::All(errors) => return Self::failed_everywhere(errors),
            _ => (Cause::Passing, None),
        };
        Failed {
            cause,
            retry_after: retry_after.map(OffsetDateTime::from),
        }
    }

    /// The one that may pass first decides; the CAs have asked to wait only if each has.
    fn failed_everywhere(errors: &[(Directory, Self)]) -> Failed {
        let all: Vec<_> = errors.iter().map(|(_, error)| error.failed()).collect();
        let waits: Option<Vec<_>> = all.iter().map(|failed| failed.retry_after).collect();
        let has = |cause| all.iter().any(|failed| failed.cause == cause);
        Failed {
            cause: match () {
                () if has(Cause::Passing) => Cause::Passing,
                () if has(Cause::Unavailable) => Cause::Unavailable,
                () => Cause::Lasting,
            },
            retry_after: waits.and_then(|waits| waits.into_iter().min()),
        }
    }
}
