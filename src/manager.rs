//! Looks after the certificates while the sidecar runs: one loop that sleeps until the earliest is due; each that is due
//! then has a task of its own, so that one's failure never delays another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance::{Job, read_pair};
use crate::operations;
use crate::schedule::{self, Standing};
use crate::store::{Store, StoreError};

/// So many are issued at a time; what each mostly does is wait.
const AT_ONCE: usize = 16;
/// The clock may be set, and the disk may be changed by others; so we look again at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Between two attempts of one app there is at least this much, also if its failure can't be written down.
const REST: time::Duration = time::Duration::MINUTE;

/// Which apps are being worked on, and until when the others rest.
#[derive(Default)]
struct Attempts {
    under_way: HashMap<Id, AppName>,
    resting: HashMap<AppName, OffsetDateTime>,
}

impl Attempts {
    fn is_under_way(&self, name: &AppName) -> bool {
        self.under_way.values().any(|busy| busy == name)
    }

    /// When an app that is due at `due` is to be worked on.
    fn earliest(&self, name: &AppName, due: OffsetDateTime) -> OffsetDateTime {
        self.resting.get(name).map_or(due, |rest| due.max(*rest))
    }

    /// Returns whose attempt it was.
    fn ended(&mut self, task: Id, now: OffsetDateTime) -> Option<AppName> {
        let name = self.under_way.remove(&task)?;
        self.resting.insert(name.clone(), now + REST);
        Some(name)
    }
}

/// Runs until told to stop; what is being issued then is let go, which closes its doors.
pub async fn run(engine: Arc<Engine>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut attempts = Attempts::default();
    loop {
        let changed = engine.changed();
        let config = engine.config();
        let now = OffsetDateTime::now_utc();
        let mut next = now + LOOK_AGAIN;
        for name in names(&engine, &config) {
            if attempts.is_under_way(&name) {
                continue;
            }
            let Some(due) = due(&engine.parts.store, &config, &name, now) else {
                continue;
            };
            let due = attempts.earliest(&name, due);
            if due > now {
                next = next.min(due);
                continue;
            }
            let task = tasks.spawn(one(Arc::clone(&engine), Arc::clone(&places), name.clone()));
            attempts.under_way.insert(task.id(), name);
        }
        let pause = (next - now).try_into().unwrap_or(LOOK_AGAIN);
        tokio::select! {
            () = stop.cancelled() => break,
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            Some(ended) = tasks.join_next_with_id() => {
                let task = ended.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
                let app = attempts.ended(task, OffsetDateTime::now_utc());
                if let (Err(error), Some(app)) = (ended, app) {
                    tracing::error!(%app, %error, "an issuance has died; it is tried again");
                }
            }
        }
    }
    tasks.shutdown().await;
}

/// One certificate; how it ends is written down and logged where it is done.
async fn one(engine: Arc<Engine>, places: Arc<Semaphore>, name: AppName) {
    let _place = places.acquire().await;
    let _ = operations::issue_lineage(&engine, &name, Arc::new(|_| {})).await;
}

/// Every certificate that is looked after.
fn names(engine: &Engine, config: &Config) -> Vec<AppName> {
    operations::every_name(&engine.parts.store, config).unwrap_or_else(|error| {
        tracing::error!(%error, "the certificates of no app can't be listed; the apps' are looked after");
        let enabled = config.apps.iter().filter(|app| app.enabled);
        enabled.map(|app| app.name.clone()).collect()
    })
}

/// When a certificate is to be issued; at once if that can't be told, since the issuance says why. Nothing where no app has its names any more.
fn due(
    store: &Store,
    config: &Config,
    name: &AppName,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let job = operations::of_lineage(store, config, name, false).ok()?;
    Some(standing(store, &job).map_or(now, |standing| schedule::next_attempt(&standing, now)))
}

fn standing(store: &Store, job: &Job) -> Result<Standing, StoreError> {
    let lineage = store.lineage(&job.name)?;
    let live = store.live_version(&job.name)?;
    let pair = live
        .map(|version| read_pair(store, &job.name, version))
        .transpose()?
        .flatten();
    let good = pair.filter(|pair| pair.is_for(&job.identifiers) && lineage.deployed == live);
    Ok(Standing {
        due: good.map(|pair| {
            schedule::due_at(
                pair.chain.not_before(),
                pair.chain.not_after(),
                job.acme.renew_before,
            )
        }),
        failure: lineage
            .failure
            .map(|failure| (failure.at, failure.attempts)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_app_rests_after_each_attempt_whatever_is_written_down_of_it() {
        let (shop, wiki): (AppName, AppName) = ("shop".parse().unwrap(), "wiki".parse().unwrap());
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut attempts = Attempts::default();
        let mut tasks = JoinSet::new();
        let task = tasks.spawn(async { panic!("as an issuance might") }).id();
        attempts.under_way.insert(task, shop.clone());
        assert!(attempts.is_under_way(&shop) && !attempts.is_under_way(&wiki));
        let died: Result<(Id, ()), JoinError> = tasks.join_next_with_id().await.unwrap();
        assert_eq!(
            attempts.ended(died.unwrap_err().id(), now),
            Some(shop.clone())
        );
        assert!(!attempts.is_under_way(&shop));
        assert_eq!(attempts.earliest(&shop, now), now + REST);
        assert_eq!(attempts.earliest(&shop, now + 2 * REST), now + 2 * REST);
        assert_eq!(attempts.earliest(&wiki, now), now);
    }
}
