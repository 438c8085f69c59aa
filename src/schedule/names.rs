//! Names that don't resolve yet: an order for them would fail, so it waits for DNS, which costs nothing.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::chance::Chance;
use crate::identifier::Identifier;

/// The first questions are so far apart, and the last ones.
const SOONEST: Duration = Duration::seconds(5);
const LATEST: Duration = Duration::minutes(10);
/// After so long the order is placed nevertheless: the CA may see more of DNS than we do.
const PATIENCE: Duration = Duration::DAY;

/// What a resolver says of the names of a certificate. Whoever asks it decides whether it is asked at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Each has an address, or nobody could tell: a check that can't be made stands in nobody's way.
    Go,
    /// These certainly have none.
    NotYet(Vec<Identifier>),
}

/// Names that were waited for when last looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Which.
    pub(super) names: Vec<Identifier>,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    /// When they are looked for again.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) until: OffsetDateTime,
}

impl Unresolved {
    /// Looked for, and not there: every five seconds at first, then ever more rarely, every ten minutes in the end.
    pub(super) fn again(
        before: Option<Self>,
        names: Vec<Identifier>,
        now: OffsetDateTime,
        chance: &mut Chance,
    ) -> Self {
        let since = before.map_or(now, |before| before.since.min(now));
        let pause = LATEST.min((now - since) / 10).max(SOONEST);
        Self {
            names,
            since,
            until: now + chance.about(pause),
        }
    }

    /// Whether the order is placed although they don't resolve. `expiry` is when the certificate that serves meanwhile ends.
    pub(super) fn is_patience_over(
        &self,
        expiry: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> bool {
        let left = expiry.map(|expiry| expiry - self.since);
        let third = left.filter(|left| left.is_positive()).map(|left| left / 3);
        now - self.since >= third.map_or(PATIENCE, |third| PATIENCE.min(third))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    #[test]
    fn is_looked_for_every_few_seconds_at_first_and_every_few_minutes_later() {
        let mut chance = Chance::new(1);
        let mut now = NOW;
        let mut waiting = None;
        let mut looks = Vec::new();
        while now < NOW + PATIENCE {
            let next = Unresolved::again(waiting, Vec::new(), now, &mut chance);
            assert!(next.until > now && next.until - now <= LATEST + LATEST / 10);
            assert!(!next.is_patience_over(None, now));
            now = next.until;
            looks.push(now - NOW);
            waiting = Some(next);
        }
        assert!(waiting.unwrap().is_patience_over(None, now));
        let within = |span| looks.iter().filter(|look| **look < span).count();
        assert!((9..=13).contains(&within(Duration::MINUTE)));
        assert!(
            (40..=65).contains(&within(Duration::HOUR)),
            "{}",
            within(Duration::HOUR)
        );
        assert!(looks.len() < 220, "{}", looks.len());
    }

    #[test]
    fn patience_is_shorter_when_what_serves_is_about_to_end() {
        let waiting = Unresolved::again(None, Vec::new(), NOW, &mut Chance::new(1));
        let expiry = Some(NOW + Duration::hours(3));
        assert!(!waiting.is_patience_over(expiry, NOW + Duration::minutes(59)));
        assert!(waiting.is_patience_over(expiry, NOW + Duration::HOUR));
    }
}
