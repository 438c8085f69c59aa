//! The journey as far as a certificate, at a CA that is there for trying things out. The certificate and its key are thrown away;
//! but for an account there, nothing is written down, nothing goes live, and nothing is used up of the real CA's limits.

use super::validation::Visits;
use super::{Issuance, IssueError, Job, Parts};
use crate::acme::{Account, Order};
use crate::certificate::PrivateKey;
use crate::config::{Config, Directory};
use crate::convoy::Seat;
use crate::progress::{Progress, Step};

/// How a rehearsal went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The CA it was made at.
    pub directory: Directory,
    /// Who issued the certificate.
    pub issuer: String,
    /// How many of the names the CA has looked at; the others it still knew.
    pub validated: usize,
}

/// Does all that comes before the certificate is saved, at the staging of the job's CAs. However it ends, also if the future is dropped,
/// its doors are closed.
pub async fn rehearse(
    parts: &Parts,
    config: &Config,
    job: &Job,
    seat: Seat,
    progress: &Progress,
) -> Result<Rehearsed, IssueError> {
    let issuance = Issuance {
        parts,
        config,
        job,
        seat,
        progress,
    };
    let mut errors = Vec::new();
    for directory in &job.acme.directories {
        let Some(staging) = job.acme.staging_of(directory) else {
            errors.push((directory.clone(), IssueError::NoStaging(directory.clone())));
            continue;
        };
        match issuance.rehearse_at(directory, &staging).await {
            Err(error) if error.is_the_cas() => errors.push((staging, error)),
            rehearsed => return rehearsed,
        }
    }
    Err(IssueError::of_all(errors))
}

impl Issuance<'_> {
    async fn rehearse_at(
        &self,
        real: &Directory,
        staging: &Directory,
    ) -> Result<Rehearsed, IssueError> {
        let Self { parts, job, .. } = self;
        let turn = parts.turns.at(staging.url()).await;
        let contact = self.config.contact_at(real);
        let account = parts.accounts.at(staging, &job.acme, &contact).await?;
        self.progress.reached(Step::Account, account.url());
        let checked = Order::check(&account, &job.identifiers, &self.options(None)).await;
        checked.map_err(|error| IssueError::of_order(error, None))?;
        drop(turn);
        let doors = self.proven_doors().await?;
        let rehearsed = self.rehearse_through(&account, staging).await;
        self.close(doors).await;
        rehearsed
    }

    async fn rehearse_through(
        &self,
        account: &Account,
        staging: &Directory,
    ) -> Result<Rehearsed, IssueError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let _turn = parts.turns.at(staging.url()).await;
        let failed = |error| IssueError::of_order(error, None);
        let placed = Order::place(account, &job.identifiers, &self.options(None)).await;
        let mut order = placed.map_err(failed)?;
        progress.reached(Step::Ordered, order.url());
        let pending = order.prepare().await.map_err(failed)?;
        let visits = Visits::await_for(&parts.challenges, &pending, progress);
        progress.reached(Step::TokensIn, "");
        let validated = order.validate(&visits).await;
        validated.map_err(|error| IssueError::of_order(error, Some(&visits)))?;
        progress.reached(Step::OrderReady, "");
        let key = self.new_key().await?;
        let request = key.request(&job.identifiers)?;
        order.finalize(&request).await.map_err(failed)?;
        progress.reached(Step::Finalised, "");
        let chain = self.checked_chain(&mut order, &key, failed).await?;
        progress.reached(Step::Certificate, format!("by {}", chain.issuer()));
        Ok(Rehearsed {
            directory: staging.clone(),
            issuer: chain.issuer().to_owned(),
            validated: pending.len(),
        })
    }

    /// A key that nothing else is for.
    pub(super) async fn new_key(&self) -> Result<PrivateKey, IssueError> {
        let kind = self.job.acme.key;
        // RSA keys take a while to find; what else runs in this task goes on meanwhile.
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(kind)).await;
        Ok(made.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))?)
    }
}
