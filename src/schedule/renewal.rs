//! What the CA has suggested for one certificate (RFC 9773), and the moment that was drawn from it.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::Certificate;
use super::chance::Chance;

/// When to ask again where the CA doesn't say (RFC 9773 4.3.1), and the bounds of what it may say (4.3.2).
const ASK_AGAIN: Duration = Duration::hours(6);
const SOONEST: Duration = Duration::MINUTE;
const LATEST: Duration = Duration::DAY;
/// When to ask again after the first, second, … question that got no answer; after more it is the usual time.
const AFTER_MISSES: [Duration; 3] = [
    Duration::minutes(1),
    Duration::minutes(10),
    Duration::minutes(100),
];

/// A CA's answer to the question when to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The window.
    pub window: Window,
    /// Where the CA explains an unusual window.
    pub explanation: Option<String>,
    /// When to ask again, if the CA says so.
    pub retry_after: Option<OffsetDateTime>,
}

/// When the CA would like a renewal (RFC 9773 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From then on.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// Until then.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
}

impl Window {
    pub(super) fn contains(&self, time: OffsetDateTime) -> bool {
        (self.start..self.end).contains(&time)
    }
}

/// A suggestion that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The CA's window.
    pub window: Window,
    /// The moment that was drawn from it.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether it is so much earlier than usual that something must have happened, such as a revocation.
    pub alarm: bool,
    /// Where the CA explains an unusual window.
    pub explanation: Option<String>,
}

/// Why a suggestion was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Ignored {
    /// It ends before it begins.
    #[error("the window that the CA suggests ends before it begins")]
    UpsideDown,
    /// It leaves too little time before the certificate's end.
    #[error("the window that the CA suggests begins when the certificate is about to end")]
    TooLate,
}

/// What is known of the CA's wishes for one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renewal {
    /// The certificate's id (RFC 9773 4.1); nothing before the first answer.
    certificate: Option<String>,
    /// What was taken of it.
    plan: Option<Plan>,
    /// Why the last suggestion was not taken.
    ignored: Option<Ignored>,
    /// When to ask again.
    #[serde(with = "time::serde::rfc3339::option")]
    ask_at: Option<OffsetDateTime>,
    /// How many questions in a row got no answer.
    misses: u32,
}

impl Renewal {
    /// The plan for this certificate.
    pub fn plan(&self, id: Option<&str>) -> Option<&Plan> {
        self.plan.as_ref().filter(|_| self.is_of(id))
    }

    /// Why the CA's suggestion for this certificate is not followed.
    pub fn ignored(&self, id: Option<&str>) -> Option<Ignored> {
        self.ignored.filter(|_| self.is_of(id))
    }

    /// When to ask; at once where nothing is known yet.
    pub(super) fn ask_at(&self, id: &str, now: OffsetDateTime) -> OffsetDateTime {
        self.ask_at.filter(|_| self.is_of(Some(id))).unwrap_or(now)
    }

    /// Whether the last question got an answer, or none was asked yet.
    pub(super) fn is_answering(&self, id: &str) -> bool {
        self.misses == 0 || !self.is_of(Some(id))
    }

    /// Whether the CA has asked for a renewal out of turn.
    pub(super) fn is_alarm(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.alarm)
    }

    fn is_of(&self, id: Option<&str>) -> bool {
        id.is_some() && self.certificate.as_deref() == id
    }

    /// Everything known of another certificate is forgotten.
    fn turn_to(&mut self, id: &str) {
        if !self.is_of(Some(id)) {
            *self = Self {
                certificate: Some(id.to_owned()),
                ..Self::default()
            };
        }
    }

    /// The CA has answered. A window that has not changed keeps its moment; another one gets another.
    pub(super) fn suggested(
        &mut self,
        certificate: &Certificate,
        id: &str,
        suggestion: Suggestion,
        now: OffsetDateTime,
        chance: &mut Chance,
    ) {
        self.turn_to(id);
        self.ask_again(suggestion.retry_after.map(|until| until - now), now, chance);
        let window = suggestion.window;
        if let Some(plan) = self.plan.as_mut().filter(|plan| plan.window == window) {
            plan.explanation = suggestion.explanation;
            self.ignored = None;
            return;
        }
        match drawn(certificate, window, now, chance) {
            Ok(at) => {
                // Ever earlier than what was known, or earlier than any CA's usual window.
                let alarm = self.plan.as_ref().is_some_and(|plan| {
                    window.end <= plan.window.start || (plan.alarm && window.start < now)
                }) || window.end
                    <= certificate.not_before + certificate.lifetime() / 12 * 5;
                self.ignored = None;
                self.plan = Some(Plan {
                    window,
                    at,
                    alarm,
                    explanation: suggestion.explanation,
                });
            }
            Err(reason) => self.ignored = Some(reason),
        }
    }

    /// The CA suggests nothing, or nothing any more.
    pub(super) fn nothing_suggested(&mut self, id: &str, now: OffsetDateTime, chance: &mut Chance) {
        self.turn_to(id);
        self.plan = None;
        self.ignored = None;
        self.ask_again(Some(LATEST), now, chance);
    }

    /// There was no answer. What was known still holds (RFC 9773 4.3.3).
    pub(super) fn missed(
        &mut self,
        id: &str,
        retry_after: Option<OffsetDateTime>,
        now: OffsetDateTime,
        chance: &mut Chance,
    ) {
        self.turn_to(id);
        let misses = self.misses.saturating_add(1);
        let pause = AFTER_MISSES
            .get(self.misses as usize)
            .copied()
            .unwrap_or(ASK_AGAIN);
        let asked = retry_after.map_or(Duration::ZERO, |until| until - now);
        self.ask_again(Some(pause.max(asked)), now, chance);
        self.misses = misses;
    }

    fn ask_again(&mut self, pause: Option<Duration>, now: OffsetDateTime, chance: &mut Chance) {
        let pause = pause.unwrap_or(ASK_AGAIN).clamp(SOONEST, LATEST);
        self.ask_at = Some(now + pause + chance.within(pause / 10));
        self.misses = 0;
    }
}

/// A moment inside what is left of the window; now if it is over (RFC 9773 4.2). The last twelfth of the lifetime is never waited for.
fn drawn(
    certificate: &Certificate,
    window: Window,
    now: OffsetDateTime,
    chance: &mut Chance,
) -> Result<OffsetDateTime, Ignored> {
    let last = certificate.not_after - certificate.lifetime() / 12;
    let (start, end) = (window.start.max(now), window.end.min(last));
    match () {
        () if window.end <= window.start => Err(Ignored::UpsideDown),
        () if window.start >= last => Err(Ignored::TooLate),
        () if end <= start => Ok(now),
        () => Ok(start + chance.within(end - start)),
    }
}
