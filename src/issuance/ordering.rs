//! The middle of the journey: doors, order, validation, certificate. What comes of it is saved, but not live yet.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use time::OffsetDateTime;

use super::pair::{Pair, files_of};
use super::validation::Visits;
use super::{Issuance, IssueError, LEASE};
use crate::acme::{Account, Order, OrderError, OrderOptions, OrderStatus, Pending};
use crate::certificate::{Chain, PrivateKey};
use crate::config::Directory;
use crate::doors::{DoorError, OpenDoor};
use crate::identifier::Identifier;
use crate::progress::Step;
use crate::store::{OrderInFlight, StoreError, Version};

/// CAs keep a pending order for a week at most (RFC 8555 7.1.3 leaves it to them).
const ORDER_AGE: time::Duration = time::Duration::days(6);
/// As long as this after a validation, a CA may well ask for none (Let's Encrypt's authorizations last 30 days).
const REUSE: time::Duration = time::Duration::days(30);

/// Doors that may stand; closed when it turns out that nobody needs them.
type OpenDoors = Vec<Arc<OpenDoor>>;

impl Issuance<'_> {
    /// Gets a certificate from this CA. Doors that were opened for it still stand then, since one reload closes them and puts it live.
    pub(super) async fn order_from(
        &self,
        directory: &Directory,
    ) -> Result<(Pair, OpenDoors), IssueError> {
        // Without the CA a door would be opened for nobody.
        let account = self.parts.accounts.at(directory, &self.job.acme).await?;
        self.progress.reached(Step::Account, account.url());
        let (mut order, pending, doors) = self.order_and_doors(directory, &account).await?;
        let ordered = self.through_doors(&mut order, &pending, directory).await;
        match ordered {
            Ok(pair) => Ok((pair, doors)),
            Err(error) => {
                self.close(doors).await;
                Err(error)
            }
        }
    }

    /// An order, what is to be shown for it, and proven doors if there is anything to show.
    async fn order_and_doors(
        &self,
        directory: &Directory,
        account: &Account,
    ) -> Result<(Order, Vec<Pending>, OpenDoors), IssueError> {
        let validated = self.parts.store.lineage(&self.job.name)?.validated;
        if validated.is_some_and(|at| OffsetDateTime::now_utc() - at < REUSE) {
            // Probably nothing is to be shown, so the order comes first.
            let (order, pending) = self.place_and_prepare(directory, account).await?;
            let doors = match pending.is_empty() {
                true => Vec::new(),
                false => self.proven_doors().await?,
            };
            return Ok((order, pending, doors));
        }
        // The order is placed while the doors are opened and proven; the CA is told to look only after both.
        let (doors, ordered) = tokio::join!(
            self.proven_doors(),
            self.place_and_prepare(directory, account)
        );
        match (doors, ordered) {
            (Ok(doors), Ok((order, pending))) => Ok((order, pending, doors)),
            (Ok(doors), Err(error)) => {
                self.close(doors).await;
                Err(error)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn proven_doors(&self) -> Result<OpenDoors, DoorError> {
        let doors = self.open_doors().await?;
        match self.prove(&doors).await {
            Ok(()) => Ok(doors),
            Err(error) => {
                self.close(doors).await;
                Err(error)
            }
        }
    }

    async fn open_doors(&self) -> Result<Vec<Arc<OpenDoor>>, DoorError> {
        let Self {
            parts,
            config,
            job,
            progress,
        } = self;
        let opening = job
            .apps
            .iter()
            .map(|app| parts.doors.open(config, app, LEASE, progress).boxed());
        let mut doors = Vec::new();
        let mut refused = None;
        for opened in join_all(opening).await {
            match opened {
                Ok(door) => doors.push(door),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            None => Ok(doors),
            Some(error) => {
                self.close(doors).await;
                Err(error)
            }
        }
    }

    pub(super) async fn close(&self, doors: Vec<Arc<OpenDoor>>) {
        let closing: Vec<_> = doors.into_iter().map(OpenDoor::close).collect();
        for closed in join_all(closing).await {
            match closed {
                Ok(true) => self.progress.reached(Step::DoorClosed, ""),
                Ok(false) => {}
                Err(error) => self.progress.notice(error.to_string()),
            }
        }
    }

    async fn place_and_prepare(
        &self,
        directory: &Directory,
        account: &Account,
    ) -> Result<(Order, Vec<Pending>), IssueError> {
        let mut order = self.place(directory, account).await?;
        self.progress.reached(Step::Ordered, order.url());
        let pending = order
            .prepare()
            .await
            .map_err(|error| self.failed(error, None))?;
        Ok((order, pending))
    }

    /// Lets the CA look, and saves the certificate it gives.
    async fn through_doors(
        &self,
        order: &mut Order,
        pending: &[Pending],
        directory: &Directory,
    ) -> Result<Pair, IssueError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let failed = |error| self.failed(error, None);
        let visits = Visits::await_for(&parts.challenges, pending, progress);
        progress.reached(
            Step::TokensIn,
            format!(
                "{} of {} names to be validated",
                pending.len(),
                job.identifiers.len()
            ),
        );
        order
            .validate(&visits)
            .await
            .map_err(|error| self.failed(error, Some(&visits)))?;
        progress.reached(Step::OrderReady, "");
        drop(visits);
        let key = self.key(order).await?;
        if !is_finalised(order) {
            order
                .finalize(&key.request(&job.identifiers)?)
                .await
                .map_err(failed)?;
        }
        progress.reached(Step::Finalised, "");
        let chain = Chain::from_pem(&order.certificate().await.map_err(failed)?)?;
        chain.check_key(&key)?;
        chain.check_names(&job.identifiers)?;
        chain.check_links()?;
        progress.reached(
            Step::Certificate,
            format!("by {}, good until {}", chain.issuer(), chain.not_after()),
        );
        let version = self.save(directory, &key, &chain, !pending.is_empty())?;
        progress.reached(Step::Saved, format!("as number {version}"));
        Ok(Pair { version, chain })
    }

    /// Adds what we saw to what the CA says, and forgets an order that can't be taken up again.
    fn failed(&self, error: OrderError, visits: Option<&Visits>) -> IssueError {
        let alive = matches!(
            error,
            OrderError::RateLimited { .. }
                | OrderError::Unavailable { .. }
                | OrderError::Timeout { .. }
        );
        if !alive && let Err(problem) = self.forget_order() {
            tracing::warn!(certificate = %self.job.name, error = %problem, "an order that has failed can't be forgotten");
        }
        if matches!(error, OrderError::AccountGone { .. }) {
            self.parts.accounts.forget_all();
        }
        let seen = match (&error, visits) {
            (OrderError::Validation { .. }, Some(visits)) => format!("; {}", visits.summary()),
            _ => String::new(),
        };
        IssueError::Order {
            error: Box::new(error),
            seen,
        }
    }

    async fn prove(&self, doors: &[Arc<OpenDoor>]) -> Result<(), DoorError> {
        let Self {
            parts,
            config,
            job,
            progress,
        } = self;
        let proofs = doors.iter().map(|door| {
            let app = job.apps.iter().find(|app| app.name == *door.app());
            let through = |name: &&Identifier| app.is_some_and(|app| app.covers(name));
            let names: Vec<_> = job.identifiers.iter().filter(through).cloned().collect();
            async move { parts.doors.prove(config, door, &names, progress).await }.boxed()
        });
        try_join_all(proofs).await.map(drop)
    }

    /// The order that an earlier run has left, or a new one.
    async fn place(&self, directory: &Directory, account: &Account) -> Result<Order, IssueError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let mut lineage = parts.store.lineage(&job.name)?;
        let now = OffsetDateTime::now_utc();
        if let Some(in_flight) = lineage
            .order
            .take()
            .filter(|order| self.is_ours(order, directory, now))
        {
            match Order::resume(account, &in_flight.url).await {
                Ok(order)
                    if order.status() != OrderStatus::Invalid
                        && (!is_finalised(&order)
                            || parts.store.next_key(&job.name)?.is_some()) =>
                {
                    progress.notice("an order that an earlier run has placed is taken up again");
                    return Ok(order);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::info!(certificate = %job.name, %error, "the order in flight can't be taken up; a new one is placed")
                }
            }
        }
        let options = OrderOptions {
            profile: job.acme.profile.clone(),
            ..OrderOptions::default()
        };
        let order = Order::place(account, &job.identifiers, &options)
            .await
            .map_err(|error| self.failed(error, None))?;
        lineage.order = Some(OrderInFlight {
            url: order.url().to_owned(),
            directory: directory.url().to_owned(),
            identifiers: job.identifiers.clone(),
            placed: now,
        });
        parts.store.save_lineage(&job.name, &lineage)?;
        Ok(order)
    }

    fn is_ours(&self, order: &OrderInFlight, directory: &Directory, now: OffsetDateTime) -> bool {
        order.directory == directory.url()
            && order.identifiers == self.job.identifiers
            && now - order.placed < ORDER_AGE
    }

    fn forget_order(&self) -> Result<(), StoreError> {
        let mut lineage = self.parts.store.lineage(&self.job.name)?;
        lineage.order = None;
        self.parts.store.save_lineage(&self.job.name, &lineage)
    }

    /// The key that the order was finalised with by an earlier run, or a new one, kept before the CA hears of it.
    async fn key(&self, order: &Order) -> Result<PrivateKey, IssueError> {
        let store = &self.parts.store;
        if is_finalised(order)
            && let Some(pem) = store.next_key(&self.job.name)?
        {
            return Ok(PrivateKey::from_pem(&pem)?);
        }
        let kind = self.job.acme.key;
        // RSA keys take a while to find; what else runs in this task goes on meanwhile.
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(kind)).await;
        let key = made.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?;
        store.save_next_key(&self.job.name, key.pem())?;
        Ok(key)
    }

    fn save(
        &self,
        directory: &Directory,
        key: &PrivateKey,
        chain: &Chain,
        validated: bool,
    ) -> Result<Version, StoreError> {
        let (store, name) = (&self.parts.store, &self.job.name);
        let version = store.save_version(name, &files_of(key, chain))?;
        let mut lineage = store.lineage(name)?;
        lineage.identifiers.clone_from(&self.job.identifiers);
        lineage.directory = Some(directory.url().to_owned());
        lineage.order = None;
        if validated {
            lineage.validated = Some(OffsetDateTime::now_utc());
        }
        store.save_lineage(name, &lineage)?;
        store.forget_next_key(name)?;
        Ok(version)
    }
}

/// Whether the CA has our signing request, and with it the key that the certificate will be for.
fn is_finalised(order: &Order) -> bool {
    matches!(order.status(), OrderStatus::Processing | OrderStatus::Valid)
}
