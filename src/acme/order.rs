//! One order, from its names to its certificate (RFC 8555 7.4). What it waits for, it asks about as [`Pace`] says.

mod authorizations;
mod error;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::{CertificateIdentifier, NewOrder, Order as Inner};
use tokio::time::sleep_until;

pub use error::{Failure, OrderError};

use super::account::Account;
use super::call::{Answer, CallError, call};
use super::pace::Pace;
use super::proof::{ChallengeKind, Nobody, Pending, Presenter};
use super::transport::TransportError;
use crate::certificate::Chain;
use crate::identifier::Identifier;

/// How long a CA gets for looking, and as long again for signing.
const PATIENCE: Duration = Duration::from_secs(300);
/// While we wait for an order, its authorizations are looked at so often: not every CA lets the order fail with them.
const LOOK_AT_AUTHORIZATIONS: Duration = Duration::from_secs(15);
/// So many failures in a row are borne while we wait.
const FAILURES_BORNE: usize = 6;

/// What may be asked for besides the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderOptions {
    /// The certificate profile (draft-ietf-acme-profiles 4); for addresses the usual one, unless given.
    pub profile: Option<String>,
    /// The certificate that this one replaces, as [`Chain::certificate_id`] names it;
    /// left out where the CA has no renewal information (RFC 9773 5).
    pub replaces: Option<String>,
}

/// How far an order is (RFC 8555 7.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// Authorizations are open.
    Pending,
    /// It can be finalised.
    Ready,
    /// The certificate is being signed.
    Processing,
    /// The certificate can be downloaded.
    Valid,
    /// It failed, and can't be revived.
    Invalid,
}

impl From<instant_acme::OrderStatus> for OrderStatus {
    fn from(status: instant_acme::OrderStatus) -> Self {
        match status {
            instant_acme::OrderStatus::Pending => Self::Pending,
            instant_acme::OrderStatus::Ready => Self::Ready,
            instant_acme::OrderStatus::Processing => Self::Processing,
            instant_acme::OrderStatus::Valid => Self::Valid,
            instant_acme::OrderStatus::Invalid => Self::Invalid,
        }
    }
}

/// An order of an account. Dropping it changes nothing at the CA; [`Order::resume`] takes it up again.
pub struct Order {
    account: Account,
    inner: Inner,
    status: OrderStatus,
    retry_after: Option<SystemTime>,
    alternates: Vec<String>,
    challenge: ChallengeKind,
    patience: Duration,
}

impl Order {
    /// Whether the CA could take such an order, as far as its directory tells. Asks it for nothing else.
    pub async fn check(
        account: &Account,
        identifiers: &[Identifier],
        options: &OrderOptions,
    ) -> Result<(), OrderError> {
        let directory = account.ca.directory().await?;
        let fits = directory.profile_for(options.profile.as_deref(), identifiers);
        fits.map(drop)
    }

    /// Places an order for these identifiers (RFC 8555 7.4).
    pub async fn place(
        account: &Account,
        identifiers: &[Identifier],
        options: &OrderOptions,
    ) -> Result<Self, OrderError> {
        const WHAT: &str = "the order";
        let directory = account.ca.directory().await?;
        let profile = directory.profile_for(options.profile.as_deref(), identifiers)?;
        let identifiers: Vec<_> = identifiers.iter().map(theirs).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &profile {
            new = new.profile(profile);
        }
        let replaces = options
            .replaces
            .as_deref()
            .filter(|_| directory.has_renewal_info());
        if let Some((authority, serial)) = replaces.and_then(|id| id.split_once('.')) {
            new = new.replaces(CertificateIdentifier {
                authority_key_identifier: Cow::Borrowed(authority),
                serial: Cow::Borrowed(serial),
            });
        }
        let placed = call!(WHAT, async {
            match account.inner.new_order(&new).await {
                // The CA took the order and did not say what it replaces. That is against RFC 9773 5, but the order is good.
                Err(instant_acme::Error::Other(error))
                    if replaces.is_some() && !error.is::<TransportError>() =>
                {
                    Ok(None)
                }
                placed => placed.map(Some),
            }
        });
        let (inner, answer) = placed.map_err(|error| match error {
            CallError::Refused(problem)
                if replaces.is_some()
                    && (problem.kind == "alreadyReplaced"
                        || problem.detail.to_lowercase().contains("replace")) =>
            {
                OrderError::ReplacesRefused { problem }
            }
            error => error.into(),
        })?;
        match (inner, answer.location.as_deref()) {
            (Some(inner), _) => Ok(Self::new(account, inner, &answer)),
            (None, Some(url)) => Self::resume(account, url).await,
            (None, None) => Err(OrderError::Broken {
                what: WHAT,
                reason: "it has no URL".to_owned(),
            }),
        }
    }

    /// Takes up an order that was placed before (RFC 8555 7.4).
    pub async fn resume(account: &Account, url: &str) -> Result<Self, OrderError> {
        match call!(
            "the question for the order",
            account.inner.order(url.to_owned())
        ) {
            Ok((inner, answer)) => Ok(Self::new(account, inner, &answer)),
            Err(CallError::Refused(problem)) => match OrderError::from(CallError::Refused(problem))
            {
                OrderError::Refused { problem } => Err(OrderError::OrderGone { problem }),
                error => Err(error),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn new(account: &Account, mut inner: Inner, answer: &Answer) -> Self {
        Self {
            status: inner.state().status.into(),
            account: account.clone(),
            inner,
            retry_after: answer.retry_after,
            alternates: Vec::new(),
            challenge: ChallengeKind::default(),
            patience: PATIENCE,
        }
    }

    /// The order's URL, by which it can be taken up again.
    pub fn url(&self) -> &str {
        self.inner.url()
    }

    /// How far it was when the CA last said.
    pub fn status(&self) -> OrderStatus {
        self.status
    }

    /// Changes how long the CA gets for looking, and as long again for signing; five minutes each by default.
    pub fn wait_at_most(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Changes by which challenge the identifiers are validated; `http-01` by default.
    pub fn validate_by(&mut self, challenge: ChallengeKind) {
        self.challenge = challenge;
    }

    /// What has to be shown before [`Order::validate`]: nothing for identifiers whose authorization is still good (RFC 8555 7.1.4, 8.3).
    pub async fn prepare(&mut self) -> Result<Vec<Pending>, OrderError> {
        match self.status {
            OrderStatus::Pending => {}
            OrderStatus::Invalid => return Err(self.failure().await),
            // Nothing is left to be shown, so the authorizations needn't be read.
            OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => {
                return Ok(Vec::new());
            }
        }
        self.fetch_authorizations().await?;
        self.pending().await
    }

    /// Shows the CA everything, tells it to look, and waits until the order is ready (RFC 8555 7.5.1).
    pub async fn validate(&mut self, presenter: &impl Presenter) -> Result<(), OrderError> {
        for pending in self.prepare().await? {
            presenter
                .present(&pending.identifier, &pending.key_authorization)
                .await;
        }
        if self.status == OrderStatus::Pending {
            self.announce().await?;
            self.until_ready(presenter).await?;
        }
        Ok(())
    }

    /// Hands in the signing request (RFC 8555 7.4). An order that has got one before keeps that one.
    pub async fn finalize(&mut self, csr_der: &[u8]) -> Result<(), OrderError> {
        if matches!(self.status, OrderStatus::Processing | OrderStatus::Valid) {
            return Ok(());
        }
        match call!("the signing request", self.inner.finalize_csr(csr_der)) {
            Ok(((), answer)) => self.note(&answer),
            // Perhaps it was taken, and only the answer got lost.
            Err(error) if may_have_worked(&error) => match self.refresh().await {
                Ok(OrderStatus::Processing | OrderStatus::Valid) => {}
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
        match self.status {
            OrderStatus::Invalid => Err(self.failure().await),
            _ => Ok(()),
        }
    }

    /// Waits for the certificate and downloads its chain in PEM, leaf first (RFC 8555 7.4.2).
    pub async fn certificate(&mut self) -> Result<String, OrderError> {
        const WHAT: &str = "the question for the certificate";
        self.until_signed().await?;
        let (chain, answer) = call!(WHAT, self.inner.certificate())?;
        self.alternates = answer.alternates;
        chain.ok_or_else(|| OrderError::Broken {
            what: WHAT,
            reason: "the order is valid and not signed at once".to_owned(),
        })
    }

    /// The same, but with the chain that ends under `root`, a name as in [`Chain::root`], if the CA offers one. It is a wish: where it
    /// can't be had, the CA's own choice is taken.
    pub async fn certificate_under(&mut self, root: &str) -> Result<String, OrderError> {
        let fits = |pem: &str| Chain::from_pem(pem).is_ok_and(|chain| chain.root() == root);
        let chosen = self.certificate().await?;
        if fits(&chosen) {
            return Ok(chosen);
        }
        let others = match self.alternates().await {
            Ok(others) => others,
            Err(error) => {
                tracing::warn!(%error, order = self.url(), "the other chains can't be read, so the CA's first is taken");
                return Ok(chosen);
            }
        };
        let preferred = others.into_iter().find(|other| fits(other));
        Ok(preferred.unwrap_or(chosen))
    }

    /// The other chains on offer for the same certificate, in PEM; to be asked after [`Order::certificate`] (RFC 8555 7.4.2).
    pub async fn alternates(&mut self) -> Result<Vec<String>, OrderError> {
        const WHAT: &str = "the question for another chain";
        let mut chains = Vec::new();
        for url in &self.alternates {
            let answer = self.account.read(WHAT, url).await?;
            let chain =
                String::from_utf8(answer.body.to_vec()).map_err(|_| OrderError::Broken {
                    what: WHAT,
                    reason: "it is no text".to_owned(),
                })?;
            chains.push(chain);
        }
        Ok(chains)
    }

    fn note(&mut self, answer: &Answer) {
        self.status = self.inner.state().status.into();
        self.retry_after = answer.retry_after;
    }

    async fn refresh(&mut self) -> Result<OrderStatus, CallError> {
        let (_, answer) = call!("the question for the order", async {
            self.inner.refresh().await.map(|_| ())
        })?;
        self.note(&answer);
        Ok(self.status)
    }

    async fn until_ready(&mut self, presenter: &impl Presenter) -> Result<(), OrderError> {
        let mut pace = Pace::new(Instant::now(), self.patience, self.wait());
        let mut looked = Instant::now();
        let mut failed = 0;
        loop {
            wait(&mut pace, presenter).await;
            let status = self.ask(&mut pace, &mut failed).await?;
            match status {
                OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid => return Ok(()),
                OrderStatus::Invalid => return Err(self.failure().await),
                OrderStatus::Pending => {}
            }
            let over = pace.is_over(Instant::now());
            if over || looked.elapsed() > LOOK_AT_AUTHORIZATIONS {
                looked = Instant::now();
                self.refresh_authorizations().await?;
                match self.failures().await {
                    failures if !failures.is_empty() => {
                        return Err(OrderError::Validation { failures });
                    }
                    _ if over => return Err(self.timeout("validation")),
                    _ => {}
                }
            }
        }
    }

    async fn until_signed(&mut self) -> Result<(), OrderError> {
        let mut pace = Pace::new(Instant::now(), self.patience, self.wait());
        if self.retry_after.is_none() {
            // Most CAs are done within moments of the request, which is a sign of life too.
            pace.visited(Instant::now());
        }
        let mut failed = 0;
        loop {
            match self.status {
                OrderStatus::Valid => return Ok(()),
                OrderStatus::Processing if pace.is_over(Instant::now()) => {
                    return Err(self.timeout("signing the certificate"));
                }
                OrderStatus::Processing => {}
                OrderStatus::Invalid => return Err(self.failure().await),
                OrderStatus::Pending | OrderStatus::Ready => {
                    return Err(OrderError::Broken {
                        what: "the signing request",
                        reason: format!("afterwards the order is {:?}", self.status),
                    });
                }
            }
            wait(&mut pace, &Nobody).await;
            self.ask(&mut pace, &mut failed).await?;
            if self.retry_after.is_some() {
                pace.be_patient();
            }
        }
    }

    /// One question in a wait. A CA that can't answer for a moment is borne for a while.
    async fn ask(
        &mut self,
        pace: &mut Pace,
        failed: &mut usize,
    ) -> Result<OrderStatus, OrderError> {
        let answer = self.refresh().await;
        let now = Instant::now();
        match answer {
            Ok(_) => {
                *failed = 0;
                pace.asked(now, self.wait());
            }
            Err(CallError::Unavailable { until, .. } | CallError::RateLimited { until, .. })
                if *failed < FAILURES_BORNE
                    && !pace.is_over(now)
                    && !until
                        .and_then(from_now)
                        .is_some_and(|wait| pace.ends_before(now, wait)) =>
            {
                *failed += 1;
                pace.failed(now, until.and_then(from_now));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.status)
    }

    /// How long the CA wants to be left alone.
    fn wait(&self) -> Option<Duration> {
        self.retry_after.and_then(from_now)
    }

    fn timeout(&self, what: &'static str) -> OrderError {
        OrderError::Timeout {
            what,
            limit: self.patience,
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order")
            .field("url", &self.url())
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Waits for the next question's time, which visits bring nearer.
async fn wait(pace: &mut Pace, presenter: &impl Presenter) {
    loop {
        tokio::select! {
            () = sleep_until(pace.next().into()) => return,
            () = presenter.visited() => pace.visited(Instant::now()),
        }
    }
}

fn may_have_worked(error: &CallError) -> bool {
    match error {
        CallError::Unavailable { until, .. } => until.is_none(),
        CallError::Refused(problem) => problem.kind == "orderNotReady",
        _ => false,
    }
}

fn from_now(at: SystemTime) -> Option<Duration> {
    at.duration_since(SystemTime::now()).ok()
}

fn theirs(identifier: &Identifier) -> instant_acme::Identifier {
    match identifier {
        Identifier::Dns(name) => instant_acme::Identifier::Dns(name.as_str().to_owned()),
        Identifier::Ip(address) => instant_acme::Identifier::Ip(*address),
    }
}

#[cfg(test)]
mod tests;
