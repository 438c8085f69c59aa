//! When a certificate is due by its lifetime alone: where the CA suggests nothing, or the operator has said how long before its end.

use std::time::Duration as Span;

use time::{Duration, OffsetDateTime};

use super::Certificate;
use super::chance::part_of;

/// Below this lifetime a certificate is renewed at half of it, else at two thirds.
const SHORT: Duration = Duration::days(10);
/// What the operator has said is kept to within this.
const NEAR: Duration = Duration::DAY;

/// The range in which a certificate is due: it ends at two thirds of the lifetime (half of a short one), and begins a twelfth of the
/// lifetime earlier, so that what was made on one day comes due over a week (90 days) or half a day (6 days).
/// `renew_before`, unless it is longer than the lifetime and so would mean "always", sets the end instead, and the range is a day at most.
pub fn due_between(
    certificate: &Certificate,
    renew_before: Option<Span>,
) -> (OffsetDateTime, OffsetDateTime) {
    let lifetime = certificate.lifetime();
    let twelfth: Duration = lifetime / 12;
    let (end, width) = match renew_before.map(Duration::try_from) {
        Some(Ok(before)) if before < lifetime => {
            (certificate.not_after - before, twelfth.min(NEAR))
        }
        _ if lifetime < SHORT => (certificate.not_before + lifetime / 2, twelfth),
        _ => (certificate.not_before + twelfth * 8, twelfth),
    };
    ((end - width).max(certificate.not_before), end)
}

/// When exactly, by a number that was drawn for this certificate.
pub(super) fn due_at(
    certificate: &Certificate,
    renew_before: Option<Span>,
    share: u32,
) -> OffsetDateTime {
    let (from, to) = due_between(certificate, renew_before);
    from + part_of(to - from, share)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn due_after(lifetime: Duration, renew_before: Option<u64>) -> (Duration, Duration) {
        let certificate = Certificate {
            id: None,
            not_before: START,
            not_after: START + lifetime,
        };
        let before = renew_before.map(|days| Span::from_secs(days * 86_400));
        let (from, to) = due_between(&certificate, before);
        assert_eq!(due_at(&certificate, before, 0), from);
        assert_eq!(due_at(&certificate, before, u32::MAX), to);
        (from - START, to - START)
    }

    #[test]
    fn is_due_in_the_twelfth_before_two_thirds_of_the_lifetime_or_half_of_a_short_one() {
        for (lifetime, from, to) in [
            (90 * 24, 1_260, 60 * 24),
            (45 * 24, 630, 30 * 24),
            (144, 60, 72),
        ] {
            let due = due_after(Duration::hours(lifetime), None);
            assert_eq!(due, (Duration::hours(from), Duration::hours(to)));
        }
    }

    #[test]
    fn the_operator_may_say_how_long_before_the_end() {
        for (lifetime, before, from, to) in [
            (90, 30, 59 * 24, 60 * 24),
            (90, 10, 79 * 24, 80 * 24),
            (6, 1, 108, 120),
            (6, 5, 12, 24),
            // Longer than it lives: as if nothing had been said.
            (6, 30, 60, 72),
        ] {
            let due = due_after(Duration::days(lifetime), Some(before));
            assert_eq!(due, (Duration::hours(from), Duration::hours(to)));
        }
    }
}
