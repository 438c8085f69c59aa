//! When a certificate is due for renewal. Pure: the time is an argument.

use std::time::Duration;

use time::OffsetDateTime;

/// Below this lifetime a certificate is renewed at half of it, else at two thirds.
const SHORT: time::Duration = time::Duration::days(10);

/// When a certificate with these dates is due, unless its CA says otherwise. `renew_before` is how long before its end.
pub fn due_at(
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    renew_before: Option<Duration>,
) -> OffsetDateTime {
    let lifetime = not_after - not_before;
    match renew_before.map(time::Duration::try_from) {
        // Longer than the lifetime itself would mean "always".
        Some(Ok(before)) if before < lifetime => not_after - before,
        _ if lifetime < SHORT => not_before + lifetime / 2,
        _ => not_before + lifetime * 2 / 3,
    }
}

/// How a certificate stands, as far as the schedule is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// When it is due; nothing where there is none, or not the one that is wanted.
    pub due: Option<OffsetDateTime>,
    /// When the last attempt failed, and how many have since the last success.
    pub failure: Option<(OffsetDateTime, u32)>,
}

/// When to try next: when it is due, but after failures not before 1, 10, 100 minutes, then a day, have passed.
pub fn next_attempt(standing: &Standing, now: OffsetDateTime) -> OffsetDateTime {
    let due = standing.due.unwrap_or(now);
    match standing.failure {
        Some((at, attempts)) => due.max(at + pause_after(attempts)),
        None => due,
    }
}

fn pause_after(attempts: u32) -> time::Duration {
    match attempts {
        0 | 1 => time::Duration::minutes(1),
        2 => time::Duration::minutes(10),
        3 => time::Duration::minutes(100),
        _ => time::Duration::DAY,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn due_after(days: i64, renew_before: Option<u64>) -> time::Duration {
        let before = renew_before.map(|days| Duration::from_secs(days * 86_400));
        due_at(START, START + time::Duration::days(days), before) - START
    }

    #[test]
    fn is_due_after_two_thirds_of_the_lifetime_or_half_of_a_short_one() {
        assert_eq!(due_after(90, None), time::Duration::days(60));
        assert_eq!(due_after(45, None), time::Duration::days(30));
        assert_eq!(due_after(6, None), time::Duration::days(3));
    }

    #[test]
    fn what_is_missing_is_due_at_once_and_what_has_failed_waits_longer_each_time() {
        let now = START + time::Duration::days(1);
        assert_eq!(
            next_attempt(
                &Standing {
                    due: None,
                    failure: None
                },
                now
            ),
            now
        );
        assert_eq!(
            next_attempt(
                &Standing {
                    due: Some(START),
                    failure: None
                },
                now
            ),
            START
        );
        for (attempts, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1440), (100, 1440)] {
            let failed = Standing {
                due: None,
                failure: Some((now, attempts)),
            };
            assert_eq!(
                next_attempt(&failed, now) - now,
                time::Duration::minutes(minutes)
            );
        }
        let later = now + time::Duration::days(9);
        let failed = Standing {
            due: Some(later),
            failure: Some((now, 1)),
        };
        assert_eq!(next_attempt(&failed, now), later);
    }

    #[test]
    fn the_operator_may_say_how_long_before_the_end() {
        assert_eq!(due_after(90, Some(30)), time::Duration::days(60));
        assert_eq!(due_after(90, Some(10)), time::Duration::days(80));
        assert_eq!(due_after(6, Some(30)), time::Duration::days(3));
    }
}
