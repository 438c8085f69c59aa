//! Looks after the certificates while the sidecar runs: one loop that sleeps until the earliest is due; each that is due
//! then has a task of its own, so that one's failure never delays another's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{App, Config};
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance::read_pair;
use crate::operations;
use crate::schedule::{self, Standing};
use crate::store::StoreError;

/// So many are issued at a time; what each mostly does is wait.
const AT_ONCE: usize = 16;
/// The clock may be set, and the disk may be changed by others; so we look again at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Runs until told to stop; what is being issued then is let go, which closes its doors.
pub async fn run(engine: Arc<Engine>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut busy = HashSet::new();
    loop {
        let changed = engine.changed();
        let config = engine.config();
        let now = OffsetDateTime::now_utc();
        let mut next = now + LOOK_AGAIN;
        for app in config.apps.iter().filter(|app| app.enabled) {
            if busy.contains(&app.name) {
                continue;
            }
            let due = due(&engine, &config, app, now);
            if due > now {
                next = next.min(due);
                continue;
            }
            busy.insert(app.name.clone());
            tasks.spawn(one(
                Arc::clone(&engine),
                Arc::clone(&places),
                app.name.clone(),
            ));
        }
        let pause = (next - now).try_into().unwrap_or(LOOK_AGAIN);
        tokio::select! {
            () = stop.cancelled() => break,
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
            Some(ended) = tasks.join_next() => match ended {
                Ok(name) => {
                    busy.remove(&name);
                }
                // A task that has died can't say whose it was; all others that are busy are still in the set.
                Err(error) => {
                    tracing::error!(%error, "an issuance has died; it is tried again");
                    busy.clear();
                    busy.extend(engine.in_flight.iter().map(|entry| entry.key().clone()));
                }
            },
        }
    }
    tasks.shutdown().await;
}

/// One certificate; how it ends is written down and logged where it is done.
async fn one(engine: Arc<Engine>, places: Arc<Semaphore>, name: AppName) -> AppName {
    let _place = places.acquire().await;
    let _ = operations::issue_app(&engine, &name, Arc::new(|_| {})).await;
    name
}

/// When an app's certificate is to be issued; at once if that can't be told, since the issuance says why.
fn due(engine: &Engine, config: &Config, app: &App, now: OffsetDateTime) -> OffsetDateTime {
    standing(engine, config, app).map_or(now, |standing| schedule::next_attempt(&standing, now))
}

fn standing(engine: &Engine, config: &Config, app: &App) -> Result<Standing, StoreError> {
    let store = &engine.parts.store;
    let lineage = store.lineage(&app.name)?;
    let live = store.live_version(&app.name)?;
    let pair = live
        .map(|version| read_pair(store, &app.name, version))
        .transpose()?
        .flatten();
    let renew_before = app.acme.renew_before.or(config.acme.renew_before);
    let good = pair.filter(|pair| pair.is_for(&app.domains) && lineage.deployed == live);
    Ok(Standing {
        due: good.map(|pair| {
            schedule::due_at(
                pair.chain.not_before(),
                pair.chain.not_after(),
                renew_before,
            )
        }),
        failure: lineage
            .failure
            .map(|failure| (failure.at, failure.attempts)),
    })
}
