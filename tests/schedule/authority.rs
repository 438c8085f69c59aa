//! A certificate authority that counts for itself: outages, windows, limits.

use std::collections::{HashMap, HashSet};

use sidedoor::budget::registered_domain;
use sidedoor::identifier::Identifier;
use sidedoor::schedule::{Certificate, Window};
use time::{Duration, OffsetDateTime};

/// What came of an order.
pub(crate) enum Answer {
    Issued,
    Invalid(Vec<Identifier>),
    ReplacesRefused,
    Away { retry_after: Option<OffsetDateTime> },
    RateLimited,
}

#[derive(Default)]
pub(crate) struct Authority {
    /// From, until, and whether it says so with Retry-After.
    outages: Vec<(OffsetDateTime, OffsetDateTime, bool)>,
    full_at: HashMap<String, OffsetDateTime>,
    sets: HashSet<String>,
    replaced: HashSet<String>,
    revoked_at: Option<OffsetDateTime>,
    /// Orders that broke a limit, and which.
    pub(crate) overdrawn: Vec<String>,
}

impl Authority {
    pub(crate) fn with_outages(
        outages: Vec<(OffsetDateTime, OffsetDateTime, bool)>,
        revoked_at: Option<OffsetDateTime>,
    ) -> Self {
        Self {
            outages,
            revoked_at,
            ..Self::default()
        }
    }

    pub(crate) fn outage(&self, now: OffsetDateTime) -> Option<(OffsetDateTime, bool)> {
        let next = self.outages.partition_point(|(from, ..)| *from <= now);
        let (_, to, tells) = *self.outages.get(next.checked_sub(1)?)?;
        (now < to).then_some((to, tells))
    }

    /// When it is away.
    pub(crate) fn away(&self) -> impl Iterator<Item = (OffsetDateTime, OffsetDateTime)> {
        self.outages.iter().map(|(from, to, _)| (*from, *to))
    }

    /// What it suggests: a fiftieth of the lifetime before two thirds (half for a short one); at once for what it revokes.
    pub(crate) fn window(&self, certificate: &Certificate, now: OffsetDateTime) -> Window {
        let is_revoked = |at: &OffsetDateTime| certificate.not_before < *at && now >= *at;
        if let Some(at) = self.revoked_at.filter(is_revoked)
            && certificate.id.as_ref().is_some_and(|id| id.ends_with('7'))
        {
            return Window {
                start: at - Duration::DAY,
                end: at - Duration::HOUR,
            };
        }
        let lifetime = certificate.lifetime();
        let end = match lifetime < Duration::days(10) {
            true => certificate.not_before + lifetime / 2,
            false => certificate.not_before + lifetime / 3 * 2,
        };
        Window {
            start: end - lifetime / 25,
            end,
        }
    }

    /// An order; `fails` says whether the validation of its first name does.
    pub(crate) fn order(
        &mut self,
        names: &[Identifier],
        replaces: Option<(&str, &Certificate)>,
        fails: bool,
        now: OffsetDateTime,
    ) -> Answer {
        if let Some((until, tells)) = self.outage(now) {
            // It promises to be back too early.
            let promised = now + (until - now) / 2;
            let retry_after = tells.then_some(promised);
            return Answer::Away { retry_after };
        }
        if replaces.is_some_and(|(id, _)| self.replaced.contains(id)) {
            return Answer::ReplacesRefused;
        }
        let is_exempt = replaces.is_some_and(|(_, certificate)| {
            let window = self.window(certificate, now);
            (window.start..=window.end).contains(&now)
        });
        let set = set(names);
        let is_renewal = self.sets.contains(&set);
        let domains: HashSet<_> = names.iter().map(registered_domain).collect();
        let mut room = self.room(&format!("failures {}", names[0]), 5, Duration::HOUR, now);
        if !is_exempt {
            room &= self.room(&format!("set {set}"), 5, Duration::WEEK, now);
            if !is_renewal {
                room &= self.room("orders", 300, Duration::hours(3), now);
                for domain in &domains {
                    room &= self.room(&format!("domain {domain}"), 50, Duration::WEEK, now);
                }
            }
        }
        if !room {
            return Answer::RateLimited;
        }
        if !is_exempt && !is_renewal {
            self.spend("orders", 300, Duration::hours(3), now);
        }
        if fails {
            self.spend(&format!("failures {}", names[0]), 5, Duration::HOUR, now);
            return Answer::Invalid(vec![names[0].clone()]);
        }
        if !is_exempt {
            self.spend(&format!("set {set}"), 5, Duration::WEEK, now);
            if !is_renewal {
                for domain in &domains {
                    self.spend(&format!("domain {domain}"), 50, Duration::WEEK, now);
                }
            }
        }
        self.sets.insert(set);
        self.replaced.extend(replaces.map(|(id, _)| id.to_owned()));
        Answer::Issued
    }

    fn room(&mut self, key: &str, burst: i32, per: Duration, now: OffsetDateTime) -> bool {
        let full_at = self.full_at.get(key).map_or(now, |at| (*at).max(now));
        let room = full_at + per / burst - now <= per;
        if !room {
            self.overdrawn.push(format!("{key} at {now}"));
        }
        room
    }

    fn spend(&mut self, key: &str, burst: i32, per: Duration, now: OffsetDateTime) {
        let full_at = self.full_at.entry(key.to_owned()).or_insert(now);
        *full_at = (*full_at).max(now) + per / burst;
    }
}

fn set(names: &[Identifier]) -> String {
    let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(",")
}
