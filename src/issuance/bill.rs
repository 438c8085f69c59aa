//! What an order is charged to the CA's budget. It is charged before it is placed; how far it came says what is given back.

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;

use super::IssueError;
use crate::acme::OrderError;
use crate::budget::{Charge, Kind, Outcome};
use crate::identifier::Identifier;
use crate::store::Store;

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// It is about to be placed.
    Nothing,
    /// The CA has taken it.
    Placed,
    /// The CA has been told to look.
    Told,
}

/// The bill for one order at one CA.
pub(super) struct Bill<'a> {
    store: &'a Store,
    directory_url: &'a str,
    identifiers: &'a [Identifier],
    /// Whoever insists is charged whatever is left.
    insisted: bool,
    tab: Mutex<(Charge, Reached)>,
}

impl<'a> Bill<'a> {
    /// Charges an order of this kind. When this returns, the charge is on disk.
    pub(super) async fn charge(
        store: &'a Store,
        directory_url: &'a str,
        identifiers: &'a [Identifier],
        kind: Kind,
        insisted: bool,
    ) -> Result<Self, IssueError> {
        let charge = charged(store, directory_url, identifiers, kind, insisted).await?;
        let reached = match kind {
            Kind::Resumed => Reached::Placed,
            Kind::New | Kind::Renewal | Kind::Suggested => Reached::Nothing,
        };
        Ok(Self {
            store,
            directory_url,
            identifiers,
            insisted,
            tab: Mutex::new((charge, reached)),
        })
    }

    /// The order was not taken as what it was charged for, and is placed again as another kind.
    pub(super) async fn charge_again(&self, kind: Kind) -> Result<(), IssueError> {
        self.give_back(Outcome::NotPlaced).await;
        let Self {
            store,
            directory_url,
            identifiers,
            insisted,
            ..
        } = self;
        let charge = charged(store, directory_url, identifiers, kind, *insisted).await?;
        self.change(|tab| tab.0 = charge);
        Ok(())
    }

    /// Notes how far it has come.
    pub(super) fn note(&self, reached: Reached) {
        self.change(|tab| tab.1 = reached);
    }

    /// Gives back what it has not cost. `in_flight` is whether it may still be taken up.
    pub(super) async fn settle(self, failed: Option<&IssueError>, in_flight: bool) {
        let reached = self.change(|tab| tab.1);
        let invalid: Vec<_> = match failed {
            Some(IssueError::Order { error, .. }) => match &**error {
                OrderError::Validation { failures } => failures
                    .iter()
                    .map(|failure| failure.identifier.clone())
                    .collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.give_back(match (failed, reached, in_flight) {
            (None, ..) => Outcome::Issued,
            (Some(_), Reached::Nothing, _) => Outcome::NotPlaced,
            (Some(_), ..) if !invalid.is_empty() => Outcome::Invalid(&invalid),
            (Some(_), Reached::Placed, true) => Outcome::Waiting,
            (Some(_), Reached::Told, true) => Outcome::Open,
            (Some(_), _, false) => Outcome::Failed,
        })
        .await;
    }

    async fn give_back(&self, outcome: Outcome<'_>) {
        let charge = self.change(|tab| tab.0.clone());
        let now = OffsetDateTime::now_utc();
        let settled = self
            .store
            .settle(self.directory_url, &charge, outcome, now)
            .await;
        if let Err(error) = settled {
            // Then more counts as used than is, which is the safe side.
            tracing::warn!(directory = self.directory_url, %error, "what an order has not cost can't be given back to its budget");
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut (Charge, Reached)) -> T) -> T {
        change(&mut self.tab.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn charged(
    store: &Store,
    directory_url: &str,
    identifiers: &[Identifier],
    kind: Kind,
    insisted: bool,
) -> Result<Charge, IssueError> {
    let now = OffsetDateTime::now_utc();
    let charge = store.charge(directory_url, identifiers, kind, now, insisted);
    charge.await?.map_err(IssueError::Withheld)
}
