//! What the dates of a certificate alone say. This is what the sidecar goes by: it neither asks for renewal information nor
//! keeps a budget yet, which [`State`](super::State) and [`budget`](crate::budget) decide about.

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
