//! What the supervisor that has started us is told (sd_notify(3)): that we are ready, reload or stop, and that we are alive.
//! Where the environment names nobody (`NOTIFY_SOCKET`), nobody is told.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Requests and commands are taken.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`tell_ready`] says when that is over.
pub fn tell_reloading() {
    // systemd wants to know since when, to tell this reload from an earlier one.
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(error) => tracing::warn!(%error, "the supervisor is not told of the reload"),
    }
}

/// The end has begun.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor can't be told how we are");
    }
}

/// The signs of life that a watchdog waits for, of one loop. Only where that loop waits for something to do are they given, so that
/// they stop when it hangs, dies or never comes back to waiting.
#[derive(Debug)]
pub struct SignsOfLife {
    ticks: Option<Interval>,
}

impl SignsOfLife {
    /// As often as the environment wants them (`WATCHDOG_USEC`, `WATCHDOG_PID`), and as often again, should one be late. Within a runtime.
    pub fn wanted() -> Self {
        Self::for_watchdog(sd_notify::watchdog_enabled())
    }

    fn for_watchdog(limit: Option<Duration>) -> Self {
        let every = limit.map(|limit| limit / 2);
        let ticks = every.filter(|every| !every.is_zero()).map(|every| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks }
    }

    /// Gives them for as long as this is waited for; it may be dropped and waited for anew at any time.
    pub async fn give(&mut self) -> Infallible {
        match &mut self.ticks {
            None => std::future::pending().await,
            Some(ticks) => loop {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signs_are_given_twice_in_a_watchdog_s_time_and_never_without_one() {
        let limit = Duration::from_secs(60);
        let wanted = SignsOfLife::for_watchdog(Some(limit)).ticks.unwrap();
        assert_eq!(wanted.period(), limit / 2);
        for none in [None, Some(Duration::ZERO)] {
            let mut signs = SignsOfLife::for_watchdog(none);
            let giving = tokio::time::timeout(limit, signs.give());
            assert!(giving.await.is_err());
        }
    }
}
