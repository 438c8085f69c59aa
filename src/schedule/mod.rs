//! When each certificate is attempted next, and why then. Pure: what is known, the time and a random number are arguments; nothing is
//! read, written, asked or slept for here.
//!
//! Of every lineage a [`State`] is remembered. Whenever something has happened to it, or its time has come, [`State::step`] is told which
//! [`Event`] it was and how the certificate stands ([`Facts`]), and says what to do: [`Action`]. Whoever does it reports back with the
//! next event, and saves the state before and after.
//!
//! 1. The CA's renewal information decides (RFC 9773): a moment drawn once from its window, and drawn anew if the window changes.
//! 2. Else the lifetime decides: the twelfth of it that ends at two thirds, or at half if it is below ten days. `renew_before` overrides
//!    both, but for a window so early that it must be an alarm.
//! 3. What has failed is left alone for 1, 10, 100 minutes, then a day at a time, though never past the end of what still serves.
//! 4. Later than all of these, if the CA has asked to wait, a limit is used up ([`crate::budget`]), or names don't resolve yet.

mod chance;
mod failures;
mod lifetime;
mod names;
mod renewal;
mod why;

#[cfg(test)]
mod tests;

use std::time::Duration as Span;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::budget::Exhausted;
use crate::identifier::Identifier;
use chance::Chance;

pub use failures::{Cause, Failed, Failures};
pub use lifetime::due_between;
pub use names::{Resolution, Unresolved};
pub use renewal::{Ignored, Plan, Renewal, Suggestion, Window};
pub use why::Why;

/// A CA that raises one alarm after the other is followed so often at most.
const BETWEEN_ALARMS: Duration = Duration::days(2);
/// Whoever has waited long for a limit comes back this much later than it allows, at most: others wait for the same.
const BEHIND_THE_LIMIT: Duration = Duration::hours(6);
/// A renewal may be so much earlier than planned, if that spares nginx a reload.
const EARLIER: Duration = Duration::hours(12);

/// A certificate as far as the schedule is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its id for renewal information (RFC 9773 4.1); nothing where the CA is not to be asked about it.
    pub id: Option<String>,
    /// When it begins.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

impl Certificate {
    /// From its beginning to its end.
    pub fn lifetime(&self) -> Duration {
        self.not_after - self.not_before
    }
}

/// How a lineage stands: what is on disk, and what is written in the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The certificate that is live, if it is a CA's.
    pub certificate: Option<&'a Certificate>,
    /// Whether it is what the configuration wants.
    pub is_wanted: bool,
    /// Whether its CA has revoked it.
    pub is_revoked: bool,
    /// Whether there is nothing that nginx has not been seen to serve yet.
    pub is_served: bool,
    /// How long before its end the operator wants it to be renewed.
    pub renew_before: Option<Span>,
    /// The CA that is asked first, by its directory: what another one has asked for binds nobody.
    pub directory: &'a str,
    /// Stands for all of the configuration that an attempt depends on: when it changes, what has failed is tried again.
    pub fingerprint: &'a str,
}

impl<'a> Facts<'a> {
    fn wanted(&self) -> Option<&'a Certificate> {
        self.certificate
            .filter(|_| self.is_wanted && self.is_served && !self.is_revoked)
    }

    fn wanted_id(&self) -> Option<&'a str> {
        self.wanted()?.id.as_deref()
    }

    fn expiry(&self) -> Option<OffsetDateTime> {
        self.certificate.map(|certificate| certificate.not_after)
    }
}

/// What has happened to a lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing; its time has come, or somebody wants to know.
    Woken,
    /// The CA has said when to renew.
    Suggested(Suggestion),
    /// The CA suggests nothing for this certificate.
    NothingSuggested,
    /// The CA did not answer the question when to renew.
    NotAnswered {
        /// Not to be asked again before then.
        retry_after: Option<OffsetDateTime>,
    },
    /// There is a new certificate, and it is live.
    Issued,
    /// There is none.
    Failed(Failed),
    /// The CA took the order only without `replaces` (RFC 9773 5).
    ReplacesRefused {
        /// The id that was refused.
        id: String,
    },
    /// No order was placed, since a limit would be broken.
    Withheld(Exhausted),
    /// No order was placed, since these names don't resolve yet.
    Unresolved(Vec<Identifier>),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing before then.
    Wait {
        /// When to step again; not later than the next attempt.
        until: OffsetDateTime,
    },
    /// Ask the CA when to renew the certificate with this id.
    AskRenewalInfo {
        /// The id.
        id: String,
    },
    /// Place an order.
    Issue(Issue),
}

/// How to place an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The certificate that the new one replaces (RFC 9773 5).
    pub replaces: Option<String>,
    /// Whether the CA counts it for no limit: the same names, `replaces` sent, inside the window.
    pub is_exempt: bool,
    /// Whether names that don't resolve are waited for; no longer, when they have been waited for long enough.
    pub resolve_first: bool,
}

/// The next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it is.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Why then.
    pub why: Why,
}

impl Attempt {
    fn later(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }
}

/// What a step leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// What is to be done now.
    pub action: Action,
    /// The next attempt, as far as is known now.
    pub attempt: Attempt,
}

/// What is remembered of a lineage. Fields that an older version didn't write have defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The configuration that the rest belongs to, and its CA.
    fingerprint: String,
    directory: String,
    /// The beginning of the certificate that the share was drawn for.
    #[serde(with = "time::serde::rfc3339::option")]
    drawn_for: Option<OffsetDateTime>,
    /// Which moment of the range that its lifetime leaves it.
    share: u32,
    /// What the CA has suggested.
    pub renewal: Renewal,
    /// A certificate that can't be named as the one which is replaced.
    not_replaceable: Option<String>,
    /// When an alarm of the CA was last followed.
    #[serde(with = "time::serde::rfc3339::option")]
    alarmed: Option<OffsetDateTime>,
    /// What has failed since the last success.
    pub failures: Failures,
    /// The limit that stands in the way.
    withheld: Option<Withheld>,
    /// The names that are waited for.
    unresolved: Option<Unresolved>,
}

/// A limit that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Withheld {
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
    exhausted: Exhausted,
}

impl State {
    /// Takes in what has happened, and says what is to be done. `random` is any number; the same one leads to the same end.
    pub fn step(
        &mut self,
        event: Event,
        facts: &Facts<'_>,
        now: OffsetDateTime,
        random: u64,
    ) -> Next {
        let mut chance = Chance::new(random);
        self.notice(facts, &mut chance);
        match event {
            Event::Woken => {}
            Event::Suggested(_) | Event::NothingSuggested | Event::NotAnswered { .. } => {
                self.hear(event, facts, now, &mut chance);
            }
            Event::Issued => self.succeed(now),
            Event::Failed(failed) => {
                self.withheld = None;
                self.unresolved = None;
                self.failures.add(failed, facts.expiry(), now, &mut chance);
            }
            Event::ReplacesRefused { id } => self.not_replaceable = Some(id),
            Event::Withheld(exhausted) => self.withhold(exhausted, now, &mut chance),
            Event::Unresolved(names) => {
                let before = self.unresolved.take();
                self.unresolved = Some(Unresolved::again(before, names, now, &mut chance));
            }
        }
        self.next(facts, now)
    }

    /// Another configuration is tried at once, and another certificate has another moment of its own.
    fn notice(&mut self, facts: &Facts<'_>, chance: &mut Chance) {
        if self.fingerprint != facts.fingerprint {
            self.fingerprint = facts.fingerprint.to_owned();
            self.failures.forgive();
            self.withheld = None;
            self.unresolved = None;
        }
        if self.directory != facts.directory {
            self.directory = facts.directory.to_owned();
            self.failures.asked_until = None;
        }
        let begins = facts.certificate.map(|certificate| certificate.not_before);
        if begins.is_some() && begins != self.drawn_for {
            self.drawn_for = begins;
            self.share = (chance.draw() >> 32) as u32;
        }
    }

    fn hear(&mut self, answer: Event, facts: &Facts<'_>, now: OffsetDateTime, chance: &mut Chance) {
        // An answer that comes when another certificate is live already is nobody's.
        let Some((certificate, id)) = facts.wanted().zip(facts.wanted_id()) else {
            return;
        };
        match answer {
            Event::Suggested(suggestion) => {
                self.renewal
                    .suggested(certificate, id, suggestion, now, chance);
            }
            Event::NotAnswered { retry_after } => {
                self.renewal.missed(id, retry_after, now, chance);
            }
            _ => self.renewal.nothing_suggested(id, now, chance),
        }
    }

    fn succeed(&mut self, now: OffsetDateTime) {
        if self.renewal.is_alarm() {
            self.alarmed = Some(now);
        }
        self.renewal = Renewal::default();
        self.failures = Failures::default();
        self.not_replaceable = None;
        self.withheld = None;
        self.unresolved = None;
    }

    fn withhold(&mut self, exhausted: Exhausted, now: OffsetDateTime, chance: &mut Chance) {
        let since = self.withheld.as_ref().map_or(now, |before| before.since);
        let behind = BEHIND_THE_LIMIT.min((now - since) / 2).max(Duration::ZERO);
        self.withheld = Some(Withheld {
            since: since.min(now),
            until: exhausted.until + chance.within(behind),
            exhausted,
        });
    }

    fn next(&self, facts: &Facts<'_>, now: OffsetDateTime) -> Next {
        let attempt = self.attempt(facts, now);
        let question = facts.wanted_id();
        let ask_at = question.map(|id| self.renewal.ask_at(id, now));
        // What is due is asked about first if the answer is old, since an order inside the window is free; but only once.
        let ask = question.filter(|id| {
            let is_first = attempt.at > now || self.renewal.is_answering(id);
            is_first && ask_at.is_some_and(|at| at <= now)
        });
        let action = match ask {
            Some(id) => Action::AskRenewalInfo { id: id.to_owned() },
            None if attempt.at <= now => Action::Issue(self.issue(facts, now)),
            None => Action::Wait {
                until: ask_at.map_or(attempt.at, |at| at.min(attempt.at)),
            },
        };
        Next { action, attempt }
    }

    /// When the next attempt is, and why then, as far as is known now. What is due already is due now.
    pub fn attempt(&self, facts: &Facts<'_>, now: OffsetDateTime) -> Attempt {
        let failures = &self.failures;
        let back_off = failures.until.map(|until| Attempt {
            at: until,
            why: Why::BackOff {
                attempts: failures.attempts,
            },
        });
        let asked = failures.asked_until.map(|until| Attempt {
            at: until,
            why: Why::AskedToWait,
        });
        let withheld = self.withheld.as_ref().map(|withheld| Attempt {
            at: withheld.until,
            why: Why::Budget {
                exhausted: withheld.exhausted.clone(),
            },
        });
        let unresolved = self.unresolved.as_ref().map(|unresolved| Attempt {
            at: unresolved.until,
            why: Why::Unresolved {
                names: unresolved.names.clone(),
            },
        });
        let hindrances = [back_off, asked, withheld, unresolved];
        hindrances
            .into_iter()
            .flatten()
            .fold(self.due(facts, now), Attempt::later)
    }

    /// From when on the next attempt may be made together with others', where nothing is wrong: never before the CA's window.
    pub fn along_from(&self, facts: &Facts<'_>, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let certificate = facts.wanted()?;
        let attempt = self.attempt(facts, now);
        match attempt.why {
            Why::Window => Some(self.renewal.plan(facts.wanted_id())?.window.start),
            Why::Lifetime { .. } | Why::RenewBefore => {
                Some(attempt.at - EARLIER.min(certificate.lifetime() / 12))
            }
            _ => None,
        }
    }

    /// Until when the CA has asked to wait.
    pub fn asked_to_wait(&self) -> Option<OffsetDateTime> {
        self.failures.asked_until
    }

    /// When it would be, had nothing come in between.
    pub fn due(&self, facts: &Facts<'_>, now: OffsetDateTime) -> Attempt {
        let (at, why) = match (facts.wanted(), facts.certificate) {
            (None, None) => (now, Why::Missing),
            (None, Some(_)) if facts.is_revoked => (now, Why::Revoked),
            (None, Some(_)) if facts.is_wanted => (now, Why::NotLive),
            (None, Some(_)) => (now, Why::OtherNames),
            (Some(certificate), _) => self.due_of(certificate, facts),
        };
        Attempt { at, why }
    }

    fn due_of(&self, certificate: &Certificate, facts: &Facts<'_>) -> (OffsetDateTime, Why) {
        let id = certificate.id.as_deref();
        match (self.renewal.plan(id), facts.renew_before) {
            (Some(plan), _) if plan.alarm => {
                let at = match self.alarmed {
                    Some(alarmed) => plan.at.max(alarmed + BETWEEN_ALARMS),
                    None => plan.at,
                };
                let explanation = plan.explanation.clone();
                (at, Why::Alarm { explanation })
            }
            (Some(plan), None) => (plan.at, Why::Window),
            (_, renew_before) => {
                let at = lifetime::due_at(certificate, renew_before, self.share);
                let why = match renew_before {
                    Some(_) => Why::RenewBefore,
                    None => Why::Lifetime {
                        ignored: self.renewal.ignored(id),
                    },
                };
                (at, why)
            }
        }
    }

    /// How an order is placed now, be it due or asked for.
    pub fn issue(&self, facts: &Facts<'_>, now: OffsetDateTime) -> Issue {
        let id = facts.certificate.and_then(|live| live.id.as_deref());
        let replaces = id.filter(|id| self.not_replaceable.as_deref() != Some(*id));
        let plan = self.renewal.plan(facts.wanted_id());
        let waited = self.unresolved.as_ref();
        Issue {
            is_exempt: replaces.is_some() && plan.is_some_and(|plan| plan.window.contains(now)),
            replaces: replaces.map(ToOwned::to_owned),
            resolve_first: !waited
                .is_some_and(|waited| waited.is_patience_over(facts.expiry(), now)),
        }
    }
}
