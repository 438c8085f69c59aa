//! Why an issuance ended without a certificate, and what to do about it.

use crate::accounts::NoAccount;
use crate::acme::OrderError;
use crate::certificate::{ChainError, KeyError};
use crate::config::{Config, Directory};
use crate::deploy::DeployError;
use crate::doors::DoorError;
use crate::report::Report;
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
    /// Every CA in the list failed.
    #[error("every CA failed: {}", .0.iter().map(|(directory, error)| format!("{directory}: {error}")).collect::<Vec<_>>().join("; "))]
    All(Vec<(Directory, IssueError)>),
}

impl IssueError {
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
            Self::Account(NoAccount::Account(_) | NoAccount::TermsNotAccepted { .. })
                | Self::Order { .. }
                | Self::Chain(_)
        )
    }
}
