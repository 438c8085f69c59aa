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
    fn the_operator_may_say_how_long_before_the_end() {
        assert_eq!(due_after(90, Some(30)), time::Duration::days(60));
        assert_eq!(due_after(90, Some(10)), time::Duration::days(80));
        assert_eq!(due_after(6, Some(30)), time::Duration::days(3));
    }
}
