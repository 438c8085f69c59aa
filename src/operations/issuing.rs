//! Certificates on request and unasked: one, or all that are due, which then share their reloads.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::task::{JoinError, JoinSet};

use super::Listener;
use super::pass::{Ended, Pass};
use crate::admin::protocol::{Certificate, Fared, Reply};
use crate::agenda::Agenda;
use crate::config::Config;
use crate::convoy::Seat;
use crate::deploy::Deployed;
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance::{self, IssueError, Issued, Job, Urgency};
use crate::jobs::{every_name, of_lineage};
use crate::metrics::Sighting;
use crate::report::Report;
use crate::store::{Store, StoreError, Summary};

/// One certificate, for whoever asks for it.
pub(super) async fn issue(
    engine: &Arc<Engine>,
    job: &Job,
    listener: Listener,
) -> Result<Certificate, Report> {
    let issued = attempt(engine, job, Seat::alone(), listener).await;
    issued.map_err(|error| error.report(&engine.config()))
}

/// The certificate of a lineage, in a task of its own: how it ends is in the log.
pub(crate) async fn issue_lineage(
    engine: &Arc<Engine>,
    name: &AppName,
    urgency: Urgency,
    seat: Seat,
) {
    match of_lineage(&engine.parts.store, &engine.config(), name, urgency) {
        Ok(job) => drop(attempt(engine, &job, seat, Arc::new(|_| {})).await),
        Err(report) => {
            tracing::error!(certificate = %name, error = report.what, next = report.next_step, "no certificate");
        }
    }
}

/// One pass over these lineages, or over every enabled app and every lineage that is no app's.
pub(super) async fn renew(
    engine: &Arc<Engine>,
    names: Vec<AppName>,
    force: bool,
    listener: &Listener,
) -> Result<Reply, Report> {
    let config = engine.config();
    let store = &engine.parts.store;
    let named = !names.is_empty();
    let names = match names.is_empty() {
        true => {
            every_name(store, &config).map_err(|error| Report::new(&error, error.next_step()))?
        }
        false => names,
    };
    let (jobs, mut certificates) = look(engine, &config, names, force).await;
    let seats = Seat::convoy(jobs.len());
    let pass = Pass::over(jobs.len());
    let mut tasks = JoinSet::new();
    let mut names = HashMap::new();
    for (job, seat) in jobs.into_iter().zip(seats) {
        let (engine, pass) = (Arc::clone(engine), Arc::clone(&pass));
        let listener = pass.listener(&job.name, listener);
        let name = job.name.clone();
        let task = tasks.spawn(async move {
            let issued = attempt(&engine, &job, seat, listener).await;
            pass.count(Ended::of(&issued));
            match issued {
                // Nobody has asked for this one.
                Err(IssueError::Withdrawn(_)) if !named => None,
                issued => Some(fared(&engine, &job, issued)),
            }
        });
        names.insert(task.id(), name);
    }
    while let Some(ended) = tasks.join_next().await {
        certificates.extend(ended.unwrap_or_else(|died| {
            let name = names.remove(&died.id())?;
            pass.count(Ended::Failed);
            remember_death(engine, &name, &died);
            let report = IssueError::Died(died.to_string()).report(&config);
            Some(Fared::Failed { name, report })
        }));
    }
    Ok(Reply::Renewed { certificates })
}

/// Which of these there is something to do for, and how the others stand. Files only, so all cores look.
async fn look(
    engine: &Arc<Engine>,
    config: &Arc<Config>,
    names: Vec<AppName>,
    force: bool,
) -> (Vec<Job>, Vec<Fared>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(cores).max(1);
    let mut looks = JoinSet::new();
    for names in names.chunks(share) {
        let (names, store) = (names.to_vec(), engine.parts.store.clone());
        let config = Arc::clone(config);
        looks.spawn_blocking(move || {
            let (mut jobs, mut fared) = (Vec::new(), Vec::new());
            for name in names {
                match of_lineage(&store, &config, &name, Urgency::due(force)) {
                    Ok(job) => match not_due(&store, &job) {
                        Some(good) => fared.push(Fared::Done(still_good(&store, &job, &good))),
                        None => jobs.push(job),
                    },
                    Err(report) => fared.push(Fared::Failed { name, report }),
                }
            }
            (jobs, fared)
        });
    }
    let (mut jobs, mut fared) = (Vec::new(), Vec::new());
    for (more_jobs, more_fared) in looks.join_all().await {
        jobs.extend(more_jobs);
        fared.extend(more_fared);
    }
    (jobs, fared)
}

/// What is live, if there is nothing to be done for it. What can't be read is looked at under its lock, and reported there.
fn not_due(store: &Store, job: &Job) -> Option<Summary> {
    let lies_elsewhere = job.apps.iter().any(|app| !app.install.is_empty());
    if job.urgency == Urgency::Insisted || lies_elsewhere {
        return None;
    }
    let agenda = Agenda::read(store, job).ok()?;
    let now = OffsetDateTime::now_utc();
    let waits = agenda.outlook(now).at > now;
    agenda.good(now).filter(|_| waits).cloned()
}

fn fared(engine: &Engine, job: &Job, issued: Result<Certificate, IssueError>) -> Fared {
    let error = match issued {
        Ok(certificate) => return Fared::Done(certificate),
        Err(error) => error,
    };
    let (name, report) = (job.name.clone(), error.report(&engine.config()));
    match error.is_too_early() {
        true => Fared::Waiting {
            failed: engine
                .parts
                .store
                .lineage(&name)
                .is_ok_and(|lineage| lineage.failure.is_some()),
            name,
            report,
        },
        false => Fared::Failed { name, report },
    }
}

async fn attempt(
    engine: &Arc<Engine>,
    job: &Job,
    seat: Seat,
    listener: Listener,
) -> Result<Certificate, IssueError> {
    let config = engine.config();
    let store = &engine.parts.store;
    let (progress, _in_flight) = engine.progress(&job.name, listener);
    let issued = issuance::issue(&engine.parts, &config, job, seat, &progress).await;
    engine.attempts.count(issued.as_ref());
    let issued = issued.inspect_err(|error| {
        let Report { what, next_step } = error.report(&config);
        match error.is_too_early() || matches!(error, IssueError::Withdrawn(_)) {
            true => tracing::info!(certificate = %job.name, reason = what, "no certificate yet"),
            false => {
                tracing::error!(certificate = %job.name, error = what, next = next_step, "no certificate");
            }
        }
    })?;
    let (version, not_after, deployed) = match issued {
        Issued::New {
            version,
            not_after,
            deployed,
        } => (version, not_after, deployed),
        Issued::StillGood(summary) => return Ok(still_good(store, job, &summary)),
    };
    if let Deployed::Served(_) = deployed {
        let at = OffsetDateTime::now_utc();
        let sightings = &engine.sightings;
        sightings.saw(&job.name, Sighting { not_after, at });
    }
    tracing::info!(certificate = %job.name, version, %not_after, "a new certificate is live");
    Ok(Certificate {
        name: job.name.clone(),
        new: true,
        version,
        not_after,
        path: store.live_link(&job.name).display().to_string(),
        served: match deployed {
            Deployed::Served(handshakes) => Some(handshakes),
            Deployed::NotServedYet => None,
        },
    })
}

fn still_good(store: &Store, job: &Job, summary: &Summary) -> Certificate {
    Certificate {
        name: job.name.clone(),
        new: false,
        version: summary.version,
        not_after: summary.not_after,
        path: store.live_link(&job.name).display().to_string(),
        served: None,
    }
}

/// Notes that the task that was to issue it has died, so that the next attempt keeps its distance.
pub(crate) fn remember_death(engine: &Engine, name: &AppName, died: &JoinError) {
    let error = IssueError::Died(died.to_string());
    engine.attempts.count(Err(&error));
    let (parts, config) = (&engine.parts, engine.config());
    let Ok(job) = of_lineage(&parts.store, &config, name, Urgency::due(false)) else {
        return;
    };
    let remembered: Result<(), StoreError> =
        issuance::remember_death(parts, &config, &job, died.to_string());
    if let Err(error) = remembered {
        tracing::warn!(certificate = %name, %error, "how it ended can't be written down");
    }
}
