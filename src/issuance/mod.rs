//! One certificate's journey: lock, door, order, validation, certificate, live, door closed.
//! What is done is written down before the next step, so that whoever comes after a crash goes on from there.

mod bill;
mod doorway;
mod error;
mod kind;
mod mending;
mod ordering;
mod pair;
mod rehearsal;
mod timing;
mod turns;
mod validation;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::timeout;

use crate::accounts::Accounts;
use crate::agenda::Agenda;
use crate::config::{Acme, App, Config};
use crate::convoy::{Halt, Seat};
use crate::deploy::{Deployed, Deployment};
use crate::doors::{Doors, OpenDoor};
use crate::handover::Handover;
use crate::identifier::{AppName, Identifier};
use crate::nginx::control::Control;
use crate::nginx::survey::Surveyor;
use crate::progress::{Progress, Step};
use crate::proxy::challenges::Challenges;
use crate::store::{Store, StoreError, Summary, Version};

pub use error::IssueError;
pub use kind::FailureKind;
pub use mending::mend;
pub use pair::{Pair, ensure_placeholder, put_placeholder_live, read_pair};
pub(crate) use pair::{files_of, is_for_same};
pub use rehearsal::{Rehearsed, rehearse};
use timing::Timing;
pub use turns::Turns;

/// The order of another process for the same name takes a few minutes at most.
const LOCK_LIMIT: Duration = Duration::from_secs(900);
/// Nothing that an issuance waits for takes as long, even if it waits for many others'.
const LIMIT: Duration = Duration::from_secs(3600);
/// How long a door may stand for one issuance, should nobody close it.
const LEASE: Duration = Duration::from_secs(1800);

/// What issuances need, shared by all of them.
pub struct Parts {
    /// The state on disk.
    pub store: Store,
    /// Tests and reloads nginx.
    pub control: Arc<Control>,
    /// Reads nginx's configuration.
    pub surveyor: Arc<Surveyor>,
    /// Opens and closes doors.
    pub doors: Doors,
    /// Answers tokens.
    pub challenges: Arc<Challenges>,
    /// The accounts at the CAs.
    pub accounts: Accounts,
    /// Who talks to which CA.
    pub turns: Turns,
}

/// What to issue.
#[derive(Debug, Clone)]
pub struct Job {
    /// The lineage.
    pub name: AppName,
    /// What the certificate is for.
    pub identifiers: Vec<Identifier>,
    /// Whose doors lead to validation.
    pub apps: Vec<App>,
    /// How it is ordered.
    pub acme: Acme,
    /// Why now.
    pub urgency: Urgency,
}

/// Why an attempt is made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Its time has come: all that the schedule says is obeyed.
    Due {
        /// What would be due within this time goes along.
        ahead: time::Duration,
    },
    /// Somebody asks for it: our own pauses don't hold, but what CAs ask for and their limits do.
    Asked,
    /// Somebody insists: it is tried, and what is still good is replaced.
    Insisted,
}

impl Urgency {
    /// Of what somebody asks for.
    pub fn asked(force: bool) -> Self {
        if force { Self::Insisted } else { Self::Asked }
    }

    /// Of what is looked after.
    pub fn due(force: bool) -> Self {
        match force {
            true => Self::Insisted,
            false => Self::Due {
                ahead: time::Duration::ZERO,
            },
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issued {
    /// A new certificate is live.
    New {
        /// Its number in the archive.
        version: Version,
        /// When it ends.
        not_after: OffsetDateTime,
        /// How nginx took it.
        deployed: Deployed,
    },
    /// The one that is live is still good.
    StillGood(Summary),
}

/// Gets one certificate and puts it live. However it ends, and also if the future is dropped, its doors are closed.
/// `seat` is its place among those that share their reloads.
pub async fn issue(
    parts: &Parts,
    config: &Config,
    job: &Job,
    seat: Seat,
    progress: &Progress,
) -> Result<Issued, IssueError> {
    let before = parts.store.live_version(&job.name)?;
    let _lock = parts.store.lock_lineage(&job.name, LOCK_LIMIT).await?;
    let issuance = Issuance {
        parts,
        config,
        job,
        seat,
        progress,
    };
    let issued = timeout(LIMIT, issuance.run(before)).await;
    let issued = issued.unwrap_or(Err(IssueError::Hung(LIMIT)));
    if let Err(problem) = issuance.remember(&issued) {
        tracing::warn!(certificate = %job.name, error = %problem, "how it ended can't be written down");
    }
    issued
}

/// Notes that the process or task that was to issue it has died, so that its next attempt keeps its distance.
pub fn remember_death(
    parts: &Parts,
    config: &Config,
    job: &Job,
    reason: String,
) -> Result<(), StoreError> {
    let Some(_lock) = parts.store.try_lock_lineage(&job.name)? else {
        return Ok(());
    };
    let mut agenda = Agenda::read(&parts.store, job)?;
    let died = IssueError::Died(reason);
    let now = OffsetDateTime::now_utc();
    agenda.fail(died.event(), Some(died.report(config)), now);
    agenda.save(&parts.store, job)
}

struct Issuance<'a> {
    parts: &'a Parts,
    config: &'a Config,
    job: &'a Job,
    seat: Seat,
    progress: &'a Progress,
}

impl Issuance<'_> {
    /// Has the schedule take in how it ended.
    fn remember(&self, issued: &Result<Issued, IssueError>) -> Result<(), StoreError> {
        let Self {
            parts, config, job, ..
        } = self;
        let now = OffsetDateTime::now_utc();
        // What the schedule says of these has been saved before.
        if let Ok(Issued::StillGood(_)) | Err(IssueError::NotYet(_) | IssueError::Withdrawn(_)) =
            issued
        {
            return Ok(());
        }
        let mut agenda = Agenda::read(&parts.store, job)?;
        match issued {
            Ok(_) => agenda.succeed(now),
            Err(error) => {
                let report = (!error.is_too_early()).then(|| error.report(config));
                agenda.fail(error.event(), report, now);
            }
        }
        agenda.save(&parts.store, job)
    }

    async fn run(&self, before: Option<Version>) -> Result<Issued, IssueError> {
        let Self { job, progress, .. } = self;
        let store = &self.parts.store;
        store.probe_writable(&job.name)?;
        for done in mend(store, &job.name)? {
            progress.notice(done);
        }
        if ensure_placeholder(store, &job.name, &job.identifiers)? {
            progress.notice(format!(
                "a self-signed placeholder stands in {} until the certificate is there",
                store.live_link(&job.name).display()
            ));
        }
        let plan = match self.timing(before).await? {
            Timing::StillGood(summary) => {
                if let Some(pair) = read_pair(store, &job.name, summary.version)? {
                    self.handover().resume(&pair).await;
                }
                return Ok(Issued::StillGood(summary));
            }
            Timing::PutLive(pair) => {
                self.seat.pass(Halt::Door);
                return self.put_live(pair, Vec::new()).await;
            }
            Timing::Order(plan) => plan,
        };
        progress.reached(Step::Begun, "the state is writable, the name is locked");
        let mut errors = Vec::new();
        for directory in &job.acme.directories {
            match self.order_from(directory, &plan).await {
                Ok((pair, doors)) => return self.put_live(pair, doors).await,
                Err(error) if error.is_the_cas() => {
                    if job.acme.directories.len() > 1 {
                        progress.notice(format!("{directory} failed: {error}"));
                    }
                    errors.push((directory.clone(), error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(IssueError::of_all(errors))
    }

    fn handover(&self) -> Handover<'_> {
        let Self {
            parts,
            config,
            job,
            progress,
            ..
        } = self;
        let wanted = &job.acme.handover;
        Handover::new(&parts.store, config, wanted, &job.name, progress)
    }

    /// Puts a saved pair live and closes the doors, by one reload.
    async fn put_live(&self, pair: Pair, doors: Vec<Arc<OpenDoor>>) -> Result<Issued, IssueError> {
        let Self {
            parts,
            config,
            job,
            progress,
            ..
        } = self;
        let deployment = Deployment {
            store: &parts.store,
            control: &parts.control,
            seat: &self.seat,
            surveyor: &parts.surveyor,
            config,
            apps: &job.apps,
            name: &job.name,
            progress,
        };
        let before = parts.store.live_version(&job.name)?;
        let handover = self.handover();
        handover.announce(pair.version)?;
        // Asked for in one breath, they share a reload; and with whoever else is ready.
        let (deployed, ()) = tokio::join!(deployment.deploy(&pair), self.close(doors));
        let deployed = deployed?;
        handover.complete(&pair, before).await;
        Ok(Issued::New {
            version: pair.version,
            not_after: pair.chain.not_after(),
            deployed,
        })
    }
}
