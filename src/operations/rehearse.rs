//! Certificates tried out at a CA's staging: nothing changes but what is seen.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::Listener;
use super::pass::{Ended, Pass};
use crate::admin::protocol::{Rehearsal, Reply};
use crate::convoy::Seat;
use crate::engine::Engine;
use crate::identifier::{AppName, Identifier};
use crate::issuance::{self, Job, Urgency};
use crate::jobs::{every_name, job, of_lineage};
use crate::progress::Progress;
use crate::report::Report;

/// What `issue` would do.
pub(super) async fn one(
    engine: &Arc<Engine>,
    app: Option<&AppName>,
    names: Vec<Identifier>,
    listener: &Listener,
) -> Result<Reply, Report> {
    let job = job(&engine.config(), app, names, Urgency::Insisted)?;
    let certificates = vec![rehearse(engine, &job, Seat::alone(), listener).await];
    Ok(Reply::Rehearsed { certificates })
}

/// What `renew --force` would do with these lineages, or with all.
pub(super) async fn several(
    engine: &Arc<Engine>,
    names: Vec<AppName>,
    listener: &Listener,
) -> Result<Reply, Report> {
    let (config, store) = (engine.config(), &engine.parts.store);
    let names: Vec<_> = match names.is_empty() {
        false => names,
        true => {
            let all = every_name(store, &config);
            let all = all.map_err(|error| Report::new(&error, error.next_step()))?;
            // Nobody wants those that were revoked for good.
            let wanted = |name: &AppName| {
                let lineage = store.lineage(name);
                !lineage.is_ok_and(|lineage| lineage.is_withdrawn())
            };
            all.into_iter().filter(wanted).collect()
        }
    };
    // All at once, so that their doors share a reload.
    let seats = Seat::convoy(names.len());
    let pass = Pass::over(names.len());
    let rehearsals = names.into_iter().zip(seats).map(|(name, seat)| {
        let job = of_lineage(store, &config, &name, Urgency::Insisted);
        let (pass, listener) = (Arc::clone(&pass), pass.listener(&name, listener));
        async move {
            let rehearsal = match job {
                Ok(job) => rehearse(engine, &job, seat, &listener).await,
                Err(report) => Rehearsal::Failed { name, report },
            };
            pass.count(match rehearsal {
                Rehearsal::Done { .. } => Ended::Done,
                Rehearsal::Failed { .. } => Ended::Failed,
            });
            rehearsal
        }
        .boxed()
    });
    let certificates = join_all(rehearsals).await;
    Ok(Reply::Rehearsed { certificates })
}

async fn rehearse(engine: &Arc<Engine>, job: &Job, seat: Seat, listener: &Listener) -> Rehearsal {
    let config = engine.config();
    let progress = Progress::new(job.name.clone(), Arc::clone(listener));
    let name = job.name.clone();
    match issuance::rehearse(&engine.parts, &config, job, seat, &progress).await {
        Ok(rehearsed) => Rehearsal::Done {
            name,
            directory: rehearsed.directory.to_string(),
            issuer: rehearsed.issuer,
            validated: rehearsed.validated,
        },
        Err(error) => Rehearsal::Failed {
            name,
            report: error.report(&config),
        },
    }
}
