//! One certificate's journey: lock, door, order, validation, certificate, live, door closed.
//! What is done is written down before the next step, so that whoever comes after a crash goes on from there.

mod error;
mod ordering;
mod pair;
mod validation;

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::accounts::Accounts;
use crate::config::{Acme, App, Config};
use crate::deploy::{Deployed, Deployment};
use crate::doors::{Doors, OpenDoor};
use crate::identifier::{AppName, Identifier};
use crate::nginx::control::Control;
use crate::nginx::survey::Surveyor;
use crate::progress::{Progress, Step};
use crate::proxy::challenges::Challenges;
use crate::report::Report;
use crate::schedule;
use crate::store::{Failure, Store, StoreError, Version};

pub use error::IssueError;
pub use pair::{Pair, ensure_placeholder, read_pair};

/// The order of another process for the same name takes a few minutes at most.
const LOCK_LIMIT: Duration = Duration::from_secs(900);
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
    /// Whether a certificate that is still good is replaced.
    pub force: bool,
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
    StillGood {
        /// Its number in the archive.
        version: Version,
        /// When it ends.
        not_after: OffsetDateTime,
    },
}

/// Gets one certificate and puts it live. However it ends, and also if the future is dropped, its doors are closed.
pub async fn issue(
    parts: &Parts,
    config: &Config,
    job: &Job,
    progress: &Progress,
) -> Result<Issued, IssueError> {
    let before = parts.store.live_version(&job.name)?;
    let _lock = parts.store.lock_lineage(&job.name, LOCK_LIMIT).await?;
    let issued = Issuance {
        parts,
        config,
        job,
        progress,
    }
    .run(before)
    .await;
    if let Err(error) = &issued
        && let Err(problem) = remember_failure(&parts.store, &job.name, error.report(config))
    {
        tracing::warn!(certificate = %job.name, error = %problem, "the failure can't be written down");
    }
    issued
}

fn remember_failure(store: &Store, name: &AppName, report: Report) -> Result<(), StoreError> {
    let mut lineage = store.lineage(name)?;
    let attempts = lineage.failure.map_or(0, |failure| failure.attempts) + 1;
    lineage.failure = Some(Failure {
        at: OffsetDateTime::now_utc(),
        what: report.what,
        next_step: report.next_step,
        attempts,
    });
    store.save_lineage(name, &lineage)
}

struct Issuance<'a> {
    parts: &'a Parts,
    config: &'a Config,
    job: &'a Job,
    progress: &'a Progress,
}

impl Issuance<'_> {
    async fn run(&self, before: Option<Version>) -> Result<Issued, IssueError> {
        let Self { job, progress, .. } = self;
        let store = &self.parts.store;
        store.probe_writable(&job.name)?;
        if ensure_placeholder(store, &job.name, &job.identifiers)? {
            progress.notice(format!(
                "a self-signed placeholder stands in {} until the certificate is there",
                store.live_link(&job.name).display()
            ));
        }
        let live = store.live_version(&job.name)?;
        if let Some(pair) = self.saved_but_not_live(live)? {
            progress.notice("a certificate that an earlier run has saved is put live");
            self.note_what_is_saved()?;
            return self.put_live(pair, Vec::new()).await;
        }
        if let Some(pair) = self.good_pair(live)? {
            let deployed = store.lineage(&job.name)?.deployed == live;
            if !deployed && !job.force {
                progress.notice(
                    "an earlier run has put a certificate live, but not seen nginx serve it",
                );
                return self.put_live(pair, Vec::new()).await;
            }
            let done_meanwhile = live != before;
            if done_meanwhile || !job.force {
                return Ok(Issued::StillGood {
                    version: pair.version,
                    not_after: pair.chain.not_after(),
                });
            }
        }
        progress.reached(Step::Begun, "the state is writable, the name is locked");
        let mut errors = Vec::new();
        for directory in &job.acme.directories {
            match self.order_from(directory).await {
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
        match (errors.pop(), errors.is_empty()) {
            (Some((_, only)), true) => Err(only),
            (last, _) => {
                errors.extend(last);
                Err(IssueError::All(errors))
            }
        }
    }

    /// The version, if it needs no successor yet.
    fn good_pair(&self, version: Option<Version>) -> Result<Option<Pair>, StoreError> {
        let Some(pair) = version
            .map(|version| read_pair(&self.parts.store, &self.job.name, version))
            .transpose()?
            .flatten()
        else {
            return Ok(None);
        };
        let due = schedule::due_at(
            pair.chain.not_before(),
            pair.chain.not_after(),
            self.job.acme.renew_before,
        );
        let good = pair.is_for(&self.job.identifiers) && OffsetDateTime::now_utc() < due;
        Ok(good.then_some(pair))
    }

    /// What an earlier run has saved may have outrun its note, whose order is over then.
    fn note_what_is_saved(&self) -> Result<(), StoreError> {
        let (store, name) = (&self.parts.store, &self.job.name);
        let mut lineage = store.lineage(name)?;
        lineage.identifiers.clone_from(&self.job.identifiers);
        lineage.order = None;
        store.save_lineage(name, &lineage)?;
        store.forget_next_key(name)
    }

    /// A good version that is newer than the live one: its process ended before it could put it live, or nginx would not have it.
    /// What nginx would not have fits its key all the same, so another order would only use up the CA's limits; who insists gets one.
    fn saved_but_not_live(&self, live: Option<Version>) -> Result<Option<Pair>, StoreError> {
        let store = &self.parts.store;
        let newest = store.versions(&self.job.name)?.pop();
        let rejected = store.lineage(&self.job.name)?.rejected;
        if newest <= live || (self.job.force && newest == rejected) {
            return Ok(None);
        }
        self.good_pair(newest)
    }

    /// Puts a saved pair live and closes the doors, by one reload.
    async fn put_live(&self, pair: Pair, doors: Vec<Arc<OpenDoor>>) -> Result<Issued, IssueError> {
        let Self {
            parts,
            config,
            job,
            progress,
        } = self;
        let deployment = Deployment {
            store: &parts.store,
            control: &parts.control,
            surveyor: &parts.surveyor,
            config,
            apps: &job.apps,
            name: &job.name,
            progress,
        };
        // Asked for in one breath, they share a reload.
        let (deployed, ()) = tokio::join!(deployment.deploy(&pair), self.close(doors));
        let deployed = deployed?;
        Ok(Issued::New {
            version: pair.version,
            not_after: pair.chain.not_after(),
            deployed,
        })
    }
}
