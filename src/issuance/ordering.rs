//! The middle of the journey: doors, order, validation, certificate. What comes of it is saved, but not live yet.

use time::OffsetDateTime;

use super::bill::{Bill, Reached};
use super::doorway::OpenDoors;
use super::pair::{Pair, files_of};
use super::validation::Visits;
use super::{Issuance, IssueError, Urgency};
use crate::acme::{Account, Order, OrderError, OrderOptions, OrderStatus, Pending};
use crate::agenda::Agenda;
use crate::budget::Kind;
use crate::certificate::{Chain, ChainError, PrivateKey};
use crate::config::Directory;
use crate::convoy::Halt;
use crate::progress::Step;
use crate::schedule::{Event, Issue};
use crate::store::{OrderInFlight, StoreError, Version};

/// CAs keep a pending order for a week at most (RFC 8555 7.1.3 leaves it to them).
const ORDER_AGE: time::Duration = time::Duration::days(6);
/// As long as this after a validation, a CA may well ask for none (Let's Encrypt's authorizations last 30 days).
const REUSE: time::Duration = time::Duration::days(30);

/// A new order at a CA.
struct Placing<'a> {
    directory: &'a Directory,
    account: &'a Account,
    plan: &'a Issue,
    kind: Kind,
    bill: &'a Bill<'a>,
}

impl Placing<'_> {
    /// The certificate that is replaced: only its own CA knows it.
    fn replaces(&self) -> Option<String> {
        let is_theirs = matches!(self.kind, Kind::Renewal | Kind::Suggested);
        self.plan.replaces.clone().filter(|_| is_theirs)
    }
}

impl Issuance<'_> {
    /// Gets a certificate from this CA. Doors that were opened for it still stand then, since one reload closes them and puts it live.
    pub(super) async fn order_from(
        &self,
        directory: &Directory,
        plan: &Issue,
    ) -> Result<(Pair, OpenDoors), IssueError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        // Without the CA a door would be opened for nobody.
        let turn = parts.turns.at(directory.url()).await;
        let contact = self.config.contact_at(directory);
        let account = parts.accounts.at(directory, &job.acme, &contact).await?;
        progress.reached(Step::Account, account.url());
        Order::check(&account, &job.identifiers, &self.options(None))
            .await
            .map_err(|error| self.failed(error, None))?;
        let resumed = self.take_up(directory, &account).await?;
        drop(turn);
        let kind = match resumed {
            Some(_) => Kind::Resumed,
            None => self.kind(directory, plan)?,
        };
        let bill = Bill::charge(
            &parts.store,
            directory.url(),
            &job.identifiers,
            kind,
            job.urgency == Urgency::Insisted,
        )
        .await?;
        let placing = Placing {
            directory,
            account: &account,
            plan,
            kind,
            bill: &bill,
        };
        let ordered = self.order_through_doors(placing, resumed).await;
        let in_flight = parts.store.lineage(&job.name)?.order.is_some();
        bill.settle(ordered.as_ref().err(), in_flight).await;
        ordered
    }

    /// What an order at this CA is to its budget.
    fn kind(&self, directory: &Directory, plan: &Issue) -> Result<Kind, StoreError> {
        let agenda = Agenda::read(&self.parts.store, self.job)?;
        let renews = agenda.renews_at(directory.url(), &self.job.identifiers);
        Ok(match (renews, plan.is_exempt) {
            (true, true) => Kind::Suggested,
            (true, false) => Kind::Renewal,
            (false, _) => Kind::New,
        })
    }

    async fn order_through_doors(
        &self,
        placing: Placing<'_>,
        resumed: Option<Order>,
    ) -> Result<(Pair, OpenDoors), IssueError> {
        let (mut order, pending, doors) = self.order_and_doors(&placing, resumed).await?;
        let ordered = self.through_doors(&mut order, &pending, &placing).await;
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
        placing: &Placing<'_>,
        resumed: Option<Order>,
    ) -> Result<(Order, Vec<Pending>, OpenDoors), IssueError> {
        let validated = self.parts.store.lineage(&self.job.name)?.validated;
        if validated.is_some_and(|at| OffsetDateTime::now_utc() - at < REUSE) {
            // Probably nothing is to be shown, so the order comes first.
            let (order, pending) = self.place_and_prepare(placing, resumed).await?;
            let doors = match pending.is_empty() {
                true => Vec::new(),
                false => self.proven_doors().await?,
            };
            self.seat.pass(Halt::Door);
            return Ok((order, pending, doors));
        }
        // The order is placed while the doors are opened and proven; the CA is told to look only after both.
        let (doors, ordered) = tokio::join!(
            self.proven_doors(),
            self.place_and_prepare(placing, resumed)
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

    async fn place_and_prepare(
        &self,
        placing: &Placing<'_>,
        resumed: Option<Order>,
    ) -> Result<(Order, Vec<Pending>), IssueError> {
        let _turn = self.parts.turns.at(placing.directory.url()).await;
        let mut order = match resumed {
            Some(order) => order,
            None => self.place(placing).await?,
        };
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
        Placing {
            directory, bill, ..
        }: &Placing<'_>,
    ) -> Result<Pair, IssueError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let failed = |error| self.failed(error, None);
        let _turn = parts.turns.at(directory.url()).await;
        let visits = Visits::await_for(&parts.challenges, pending, progress);
        progress.reached(
            Step::TokensIn,
            format!(
                "{} of {} names to be validated",
                pending.len(),
                job.identifiers.len()
            ),
        );
        bill.note(Reached::Told);
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
        let chain = self.checked_chain(order, &key, failed).await;
        let chain = chain.inspect_err(|error| self.forget_if_spoilt(error))?;
        progress.reached(
            Step::Certificate,
            format!("by {}, good until {}", chain.issuer(), chain.not_after()),
        );
        let version = self.save(directory, &key, &chain, !pending.is_empty())?;
        progress.reached(Step::Saved, format!("as number {version}"));
        Ok(Pair { version, chain })
    }

    /// The chain the operator prefers, if the CA has it; for this key and these names.
    pub(super) async fn checked_chain(
        &self,
        order: &mut Order,
        key: &PrivateKey,
        failed: impl FnOnce(OrderError) -> IssueError,
    ) -> Result<Chain, IssueError> {
        let preferred = self.job.acme.preferred_chain.as_deref();
        let pem = match preferred {
            Some(root) => order.certificate_under(root).await,
            None => order.certificate().await,
        };
        let chain = Chain::from_pem(&pem.map_err(failed)?)?;
        chain.check_key(key)?;
        chain.check_names(&self.job.identifiers)?;
        chain.check_links()?;
        if let Some(root) = preferred.filter(|root| *root != chain.root()) {
            let notice = format!(
                "the CA offers no chain under {root:?}, so the one under {:?} is taken",
                chain.root()
            );
            self.progress.notice(notice);
        }
        Ok(chain)
    }

    /// An order that led to what is no certificate of ours never leads to another.
    fn forget_if_spoilt(&self, error: &IssueError) {
        // Where there is no certificate at all, something else has answered; the order is good.
        let spoilt =
            matches!(error, IssueError::Chain(reason) if *reason != ChainError::NoCertificate);
        if spoilt && let Err(problem) = self.forget_order() {
            tracing::warn!(certificate = %self.job.name, error = %problem, "an order that has failed can't be forgotten");
        }
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
        IssueError::of_order(error, visits)
    }

    /// The order that an earlier run has left.
    async fn take_up(
        &self,
        directory: &Directory,
        account: &Account,
    ) -> Result<Option<Order>, StoreError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let lineage = parts.store.lineage(&job.name)?;
        let now = OffsetDateTime::now_utc();
        let Some(in_flight) = lineage
            .order
            .filter(|order| self.is_ours(order, directory, now))
        else {
            return Ok(None);
        };
        match Order::resume(account, &in_flight.url).await {
            Ok(order)
                if order.status() != OrderStatus::Invalid
                    && (!is_finalised(&order) || parts.store.next_key(&job.name)?.is_some()) =>
            {
                progress.notice("an order that an earlier run has placed is taken up again");
                Ok(Some(order))
            }
            Ok(_) => Ok(None),
            Err(error) => {
                tracing::info!(certificate = %job.name, %error, "the order in flight can't be taken up; a new one is placed");
                Ok(None)
            }
        }
    }

    /// A new order.
    async fn place(&self, placing: &Placing<'_>) -> Result<Order, IssueError> {
        let Self { parts, job, .. } = self;
        let replaces = placing.replaces();
        let placed = match self.try_to_place(placing, replaces.clone()).await {
            Err(error @ OrderError::ReplacesRefused { .. }) if replaces.is_some() => {
                self.progress
                    .notice(format!("{error}; it is ordered without that"));
                self.give_up_replacing(replaces)?;
                if placing.kind == Kind::Suggested {
                    placing.bill.charge_again(Kind::Renewal).await?;
                }
                self.try_to_place(placing, None).await
            }
            placed => placed,
        };
        let order = placed.map_err(|error| self.failed(error, None))?;
        placing.bill.note(Reached::Placed);
        let mut lineage = parts.store.lineage(&job.name)?;
        lineage.order = Some(OrderInFlight {
            url: order.url().to_owned(),
            directory: placing.directory.url().to_owned(),
            identifiers: job.identifiers.clone(),
            placed: OffsetDateTime::now_utc(),
        });
        parts.store.save_lineage(&job.name, &lineage)?;
        Ok(order)
    }

    async fn try_to_place(
        &self,
        placing: &Placing<'_>,
        replaces: Option<String>,
    ) -> Result<Order, OrderError> {
        let options = self.options(replaces);
        Order::place(placing.account, &self.job.identifiers, &options).await
    }

    fn give_up_replacing(&self, id: Option<String>) -> Result<(), StoreError> {
        let (store, job) = (&self.parts.store, self.job);
        let mut agenda = Agenda::read(store, job)?;
        let id = id.unwrap_or_default();
        agenda.step(Event::ReplacesRefused { id }, OffsetDateTime::now_utc());
        agenda.save(store, job)
    }

    pub(super) fn options(&self, replaces: Option<String>) -> OrderOptions {
        OrderOptions {
            profile: self.job.acme.profile.clone(),
            replaces,
        }
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
        let key = match self.key_to_keep()? {
            Some(key) => key,
            None => self.new_key().await?,
        };
        store.save_next_key(&self.job.name, key.pem())?;
        Ok(key)
    }

    /// The key of the certificate that is live, if the next one is to have it: not after a revocation, nor another kind of key.
    fn key_to_keep(&self) -> Result<Option<PrivateKey>, StoreError> {
        let (store, name) = (&self.parts.store, &self.job.name);
        let live = store.live_version(name)?.filter(|version| *version > 0);
        let Some(live) = live.filter(|_| self.job.acme.reuse_key) else {
            return Ok(None);
        };
        if store.lineage(name)?.is_revoked(live) {
            return Ok(None);
        }
        let key = PrivateKey::from_pem(&store.version(name, live)?.privkey).ok();
        Ok(key.filter(|key| key.kind() == Some(self.job.acme.key)))
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
