//! Looks after the certificates while the sidecar runs: one loop that sleeps until the earliest is due; each that is due
//! then has a task of its own, so that one's failure never delays another's. What is due together shares its reloads.

use std::collections::HashMap;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::agenda::Outlook;
use crate::convoy::Seat;
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance::Urgency;
use crate::jobs;
use crate::operations;
use crate::supervisor::SignsOfLife;

/// The clock may be set, and the disk may be changed by others; so we look again at least so often.
const LOOK_AGAIN: Duration = Duration::HOUR;
/// After an attempt that has left everything as it was, its failure included, there is a rest.
const REST: Duration = Duration::MINUTE;

/// Renewals are brought forward to share a reload: so many times as long as nginx takes for one, and half a day at most. A small site's
/// are hardly moved; where a reload takes seconds, as with a thousand hosts, a handful of them do for a day.
const AHEAD_PER_RELOAD: i32 = 10_000;
const AHEAD_AT_MOST: Duration = Duration::hours(12);

/// What is known of each certificate, and which are being worked on.
#[derive(Default)]
struct Agendas {
    outlooks: HashMap<AppName, Outlook>,
    under_way: HashMap<Id, AppName>,
}

impl Agendas {
    fn is_under_way(&self, name: &AppName) -> bool {
        self.under_way.values().any(|busy| busy == name)
    }

    /// Those whose time has come, and those that go along with them.
    fn due(&self, now: OffsetDateTime, ahead: Duration) -> Vec<AppName> {
        let idle = || {
            let all = self.outlooks.iter();
            all.filter(|(name, _)| !self.is_under_way(name))
        };
        let is_due = |outlook: &Outlook| outlook.at <= now;
        let any_attempt = idle().any(|(_, outlook)| is_due(outlook) && outlook.attempt.at <= now);
        let goes = |outlook: &Outlook| {
            is_due(outlook) || (any_attempt && outlook.may_go_along(now, ahead))
        };
        idle()
            .filter(|(_, outlook)| goes(outlook))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// When the next one's time comes.
    fn next(&self, now: OffsetDateTime) -> OffsetDateTime {
        let idle = self
            .outlooks
            .iter()
            .filter(|(name, _)| !self.is_under_way(name));
        let times = idle.map(|(_, outlook)| outlook.at);
        times.fold(now + LOOK_AGAIN, OffsetDateTime::min)
    }

    /// Notes how a certificate stands after an attempt.
    fn ended(&mut self, name: AppName, outlook: Option<Outlook>, now: OffsetDateTime) {
        match outlook {
            Some(mut outlook) => {
                if outlook.at <= now {
                    outlook.at = now + REST;
                }
                self.outlooks.insert(name, outlook);
            }
            None => {
                self.outlooks.remove(&name);
            }
        }
    }
}

/// Runs until told to stop; what is being issued then is let go, which closes its doors. While it is well it gives `signs` of that.
pub async fn run(engine: Arc<Engine>, mut signs: SignsOfLife, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut agendas = Agendas::default();
    let mut look_at = OffsetDateTime::UNIX_EPOCH;
    loop {
        let changed = engine.changed();
        let now = OffsetDateTime::now_utc();
        if look_at <= now {
            agendas.outlooks = look(&engine).await;
            look_at = now + LOOK_AGAIN;
        }
        let ahead = (engine.reload_took() * AHEAD_PER_RELOAD).min(AHEAD_AT_MOST);
        let due = agendas.due(now, ahead);
        let working = match due.is_empty() {
            true => None,
            // All at once, since those of one convoy wait for each other.
            false => tokio::select! {
                working = engine.work() => Some(Arc::new(working)),
                never = signs.give() => match never {},
                () = stop.cancelled() => break,
            },
        };
        for (name, seat) in due.iter().zip(Seat::convoy(due.len())) {
            let attempt = one(Arc::clone(&engine), name.clone(), seat, ahead);
            let working = working.clone();
            let task = tasks.spawn(async move {
                attempt.await;
                drop(working);
            });
            agendas.under_way.insert(task.id(), name.clone());
        }
        let pause = (agendas.next(now).min(look_at) - now).max(Duration::ZERO);
        tokio::select! {
            () = stop.cancelled() => break,
            () = changed => look_at = OffsetDateTime::UNIX_EPOCH,
            () = tokio::time::sleep(pause.unsigned_abs()) => {}
            never = signs.give() => match never {},
            Some(ended) = tasks.join_next_with_id() => {
                let task = ended.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
                let Some(name) = agendas.under_way.remove(&task) else {
                    continue;
                };
                if let Err(error) = ended {
                    tracing::error!(certificate = %name, %error, "an issuance has died; it is tried again");
                    operations::remember_death(&engine, &name, &error);
                }
                let now = OffsetDateTime::now_utc();
                let outlook = Outlook::of(&engine.parts.store, &engine.config(), &name, now);
                agendas.ended(name, outlook, now);
            }
        }
    }
    tasks.shutdown().await;
}

/// Looks at all of them: files, but no network.
async fn look(engine: &Arc<Engine>) -> HashMap<AppName, Outlook> {
    let engine = Arc::clone(engine);
    let looking = tokio::task::spawn_blocking(move || {
        let (store, config) = (&engine.parts.store, engine.config());
        let now = OffsetDateTime::now_utc();
        let names = jobs::every_name(store, &config).unwrap_or_else(|error| {
            tracing::error!(%error, "the certificates of no app can't be listed; the apps' are looked after");
            let enabled = config.apps.iter().filter(|app| app.enabled);
            enabled.map(|app| app.name.clone()).collect()
        });
        let outlooks = names.into_iter().filter_map(|name| {
            let outlook = Outlook::of(store, &config, &name, now)?;
            Some((name, outlook))
        });
        outlooks.collect()
    });
    looking.await.unwrap_or_else(|error| {
        tracing::error!(%error, "looking for what is due has died; it is tried again");
        HashMap::new()
    })
}

/// One certificate; how it ends is written down and logged where it is done.
async fn one(engine: Arc<Engine>, name: AppName, seat: Seat, ahead: Duration) {
    let urgency = Urgency::Due { ahead };
    let _ = operations::issue_lineage(&engine, &name, urgency, seat).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Attempt, Why};

    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);

    fn outlook(at: Duration, attempt: Duration, along: Option<Duration>) -> Outlook {
        Outlook {
            at: NOW + at,
            attempt: Attempt {
                at: NOW + attempt,
                why: Why::Window,
            },
            along_from: along.map(|along| NOW + along),
        }
    }

    fn agendas(outlooks: &[(&str, Outlook)]) -> Agendas {
        let named = |(name, outlook): &(&str, Outlook)| (name.parse().unwrap(), outlook.clone());
        Agendas {
            outlooks: outlooks.iter().map(named).collect(),
            ..Agendas::default()
        }
    }

    fn due(agendas: &Agendas, ahead: Duration) -> Vec<String> {
        let due = agendas.due(NOW, ahead);
        let mut names: Vec<_> = due.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_would_be_due_soon_goes_along_but_never_before_the_ca_s_window() {
        let (past, soon, late) = (-Duration::MINUTE, Duration::hours(3), Duration::hours(9));
        let with_a_due_one = [
            ("due", outlook(past, past, None)),
            ("soon", outlook(soon, soon, Some(past))),
            ("early", outlook(soon, soon, Some(Duration::HOUR))),
            ("late", outlook(late, late, Some(past))),
            ("hindered", outlook(soon, soon, None)),
        ];
        let ahead = Duration::hours(6);
        assert_eq!(due(&agendas(&with_a_due_one), ahead), ["due", "soon"]);
        assert_eq!(due(&agendas(&with_a_due_one), Duration::ZERO), ["due"]);
        assert_eq!(due(&agendas(&with_a_due_one[1..]), ahead), [""; 0]);
    }

    #[test]
    fn a_question_for_the_ca_takes_nobody_along() {
        let (past, soon) = (-Duration::MINUTE, Duration::hours(3));
        let asking = [
            ("asks", outlook(past, soon, Some(past))),
            ("soon", outlook(soon, soon, Some(past))),
        ];
        assert_eq!(due(&agendas(&asking), Duration::hours(6)), ["asks"]);
    }

    #[test]
    fn one_rests_after_an_attempt_that_has_left_everything_as_it_was() {
        let shop: AppName = "shop".parse().unwrap();
        let mut agendas = Agendas::default();
        let unchanged = outlook(Duration::ZERO, Duration::ZERO, None);
        agendas.ended(shop.clone(), Some(unchanged), NOW);
        assert_eq!(due(&agendas, Duration::ZERO), [""; 0]);
        assert_eq!(agendas.next(NOW), NOW + REST);
        let waiting = outlook(Duration::seconds(5), Duration::seconds(5), None);
        agendas.ended(shop.clone(), Some(waiting), NOW);
        assert_eq!(agendas.next(NOW), NOW + Duration::seconds(5));
        agendas.ended(shop, None, NOW);
        assert_eq!(agendas.next(NOW), NOW + LOOK_AGAIN);
    }

    #[tokio::test]
    async fn what_is_worked_on_is_not_begun_again() {
        let mut agendas = agendas(&[("shop", outlook(Duration::ZERO, Duration::ZERO, None))]);
        let mut tasks = JoinSet::new();
        let task = tasks.spawn(async {}).id();
        agendas.under_way.insert(task, "shop".parse().unwrap());
        assert_eq!(due(&agendas, Duration::ZERO), [""; 0]);
        assert_eq!(agendas.next(NOW), NOW + LOOK_AGAIN);
    }
}
