//! What has failed since the last success, and until when it is therefore left alone.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::chance::Chance;

/// The pause after the first, second and third failure in a row; after more it is a day.
const PAUSES: [Duration; 3] = [
    Duration::minutes(1),
    Duration::minutes(10),
    Duration::minutes(100),
];
/// However near the end is, attempts are so far apart.
const SHORTEST: Duration = Duration::minutes(1);
/// A CA that asks to wait is obeyed for so long at most: no limit of any CA takes longer to go by, but clocks may be wrong.
const LONGEST_WAIT: Duration = Duration::days(31);

/// How an attempt failed, as far as the next one's time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// What it was due to.
    pub cause: Cause,
    /// Not to be tried again before then, as the CA says (RFC 8555 6.6).
    pub retry_after: Option<OffsetDateTime>,
}

/// What a failure was due to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something that may be different the next time: what the CA saw, nginx, the disk.
    Passing,
    /// The CA could not be asked.
    Unavailable,
    /// Trying again is pointless until somebody changes something.
    Lasting,
}

/// What has failed since the last success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// How many attempts in a row.
    pub attempts: u32,
    /// Until when our own back-off lasts.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) until: Option<OffsetDateTime>,
    /// Until when the CA has asked to wait.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) asked_until: Option<OffsetDateTime>,
}

impl Failures {
    /// Another one. `expiry` is when the certificate that serves meanwhile ends.
    pub(super) fn add(
        &mut self,
        failed: Failed,
        expiry: Option<OffsetDateTime>,
        now: OffsetDateTime,
        chance: &mut Chance,
    ) {
        self.attempts = self.attempts.saturating_add(1);
        let left = expiry
            .map(|expiry| expiry - now)
            .filter(|left| left.is_positive());
        self.until = Some(now + chance.about(pause(self.attempts, failed.cause, left)));
        // A little later for each, or all that were asked at once would come back at once.
        self.asked_until = failed
            .retry_after
            .filter(|until| *until > now)
            .map(|until| {
                let wait = (until - now).min(LONGEST_WAIT);
                now + wait + chance.within(Duration::HOUR.min(wait / 10))
            });
    }

    /// Begins anew, but what the CA has asked for still holds.
    pub(super) fn forgive(&mut self) {
        self.attempts = 0;
        self.until = None;
    }
}

/// 1, 10, 100 minutes, then a day; but never so long that what serves meanwhile would end before the next attempt.
fn pause(attempts: u32, cause: Cause, left: Option<Duration>) -> Duration {
    let early = PAUSES.get(attempts.saturating_sub(1) as usize).copied();
    let usual = match (cause, early, left) {
        (Cause::Lasting, ..) => Duration::DAY,
        (_, Some(early), _) => early,
        // Nothing serves, and it is not our doing: as soon as the CA is back, it is wanted.
        (Cause::Unavailable, None, None) => PAUSES[2],
        (_, None, _) => Duration::DAY,
    };
    match left {
        Some(left) => usual.min(SHORTEST.max(left / 3)),
        None => usual,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn minutes(attempts: u32, cause: Cause, left: Option<i64>) -> i64 {
        pause(attempts, cause, left.map(Duration::minutes)).whole_minutes()
    }

    #[test]
    fn waits_longer_each_time_up_to_a_day() {
        for (attempts, expected) in [(1, 1), (2, 10), (3, 100), (4, 1_440), (1_000, 1_440)] {
            assert_eq!(minutes(attempts, Cause::Passing, None), expected);
        }
        assert_eq!(minutes(1, Cause::Lasting, None), 1_440);
    }

    #[test]
    fn comes_back_more_often_the_nearer_the_end() {
        assert_eq!(minutes(9, Cause::Passing, Some(100_000)), 1_440);
        assert_eq!(minutes(9, Cause::Passing, Some(300)), 100);
        assert_eq!(minutes(9, Cause::Lasting, Some(300)), 100);
        assert_eq!(minutes(9, Cause::Passing, Some(1)), 1);
    }

    #[test]
    fn a_ca_that_is_away_while_nothing_serves_is_asked_every_hundred_minutes() {
        assert_eq!(minutes(9, Cause::Unavailable, None), 100);
        assert_eq!(minutes(9, Cause::Unavailable, Some(100_000)), 1_440);
    }

    #[test]
    fn what_the_ca_asks_for_is_obeyed_within_reason() {
        let asked = |wait: Duration| {
            let failed = Failed {
                cause: Cause::Passing,
                retry_after: Some(NOW + wait),
            };
            let mut failures = Failures::default();
            failures.add(failed, None, NOW, &mut Chance::new(7));
            failures.asked_until.map(|until| until - NOW)
        };
        assert_eq!(asked(-Duration::HOUR), None);
        for wait in [Duration::MINUTE, Duration::days(2), Duration::days(7)] {
            let obeyed = asked(wait).unwrap();
            assert!(obeyed >= wait && obeyed <= wait + Duration::HOUR);
        }
        assert!(asked(Duration::days(40_000)).unwrap() <= Duration::days(32));
    }
}
