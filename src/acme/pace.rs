//! When to ask a CA again. Pure: instants come as arguments.
//!
//! Without any sign of life the intervals grow from a quarter of a second to ten, and are never shorter than the CA's own
//! Retry-After (RFC 8555 7.5.1). A visit of the CA to our responder is such a sign: the answer is then moments away, and a few
//! quick questions are worth more to both sides than a long wait.

use std::time::{Duration, Instant};

/// The first interval and the longest.
const REGULAR: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// After a visit: so long until the first, second and third question.
const AFTER_VISIT: [Duration; 3] = [
    Duration::from_millis(2),
    Duration::from_millis(8),
    Duration::from_millis(32),
];
/// No more questions than these are ever asked ahead of time.
const EARLY: usize = 8;

/// The rhythm of one wait.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    deadline: Instant,
    interval: Duration,
    regular: Instant,
    early: Option<Instant>,
    early_left: usize,
    /// Which of [`AFTER_VISIT`] comes next.
    step: usize,
}

impl Pace {
    /// Begins a wait that ends at the latest after `limit`; the CA may have said already when to come.
    pub(super) fn new(now: Instant, limit: Duration, retry_after: Option<Duration>) -> Self {
        Self {
            deadline: now + limit,
            interval: REGULAR.0,
            regular: now + REGULAR.0.max(retry_after.unwrap_or_default()),
            early: None,
            early_left: EARLY,
            step: 0,
        }
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Instant {
        let next = self
            .early
            .map_or(self.regular, |early| early.min(self.regular));
        next.min(self.deadline)
    }

    /// Whether the wait has lasted as long as it may.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Whether the wait would be over before the CA wants to be asked.
    pub(super) fn ends_before(&self, now: Instant, wait: Duration) -> bool {
        now + wait > self.deadline
    }

    /// The CA has given a sign of life.
    pub(super) fn visited(&mut self, now: Instant) {
        self.step = 0;
        if self.early_left > 0 {
            let soon = now + AFTER_VISIT[0];
            self.early = Some(self.early.map_or(soon, |early| early.min(soon)));
        }
    }

    /// The question could not be answered. A CA that asks for patience by an error is not asked ahead of time again.
    pub(super) fn failed(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.asked(now, retry_after);
        self.early = None;
        if retry_after.is_some() {
            self.be_patient();
        }
    }

    /// No question is asked ahead of time any more.
    pub(super) fn be_patient(&mut self) {
        self.early = None;
        self.early_left = 0;
    }

    /// The question was asked, and the answer is still open.
    pub(super) fn asked(&mut self, now: Instant, retry_after: Option<Duration>) {
        if let Some(early) = self.early.take()
            && early <= now
        {
            self.early_left -= 1;
            self.step += 1;
        }
        if self.step > 0 && self.early_left > 0 {
            self.early = AFTER_VISIT.get(self.step).map(|delay| now + *delay);
        }
        if now >= self.regular {
            self.interval = self.interval.mul_f32(1.6).min(REGULAR.1);
        }
        self.regular = now + self.interval.max(retry_after.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The moments of all questions in a wait, in milliseconds from its beginning.
    fn questions(visits: &[u64], retry_after: Option<Duration>, limit: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut visits = visits
            .iter()
            .map(|at| start + Duration::from_millis(*at))
            .peekable();
        let mut pace = Pace::new(start, limit, retry_after);
        let mut asked = Vec::new();
        loop {
            while let Some(visit) = visits.next_if(|visit| *visit <= pace.next()) {
                pace.visited(visit);
            }
            let now = pace.next();
            asked.push((now - start).as_millis() as u64);
            if pace.is_over(now) {
                return asked;
            }
            pace.asked(now, retry_after);
        }
    }

    #[test]
    fn without_visits_the_intervals_grow_to_ten_seconds() {
        let asked = questions(&[], None, 5 * MINUTE);
        assert_eq!(asked[..3], [250, 650, 1290]);
        let last = asked[asked.len() - 2] - asked[asked.len() - 3];
        assert_eq!(last, 10_000);
        assert_eq!(asked.last(), Some(&300_000), "asked once more at the end");
        assert!(asked.len() < 45, "{}", asked.len());
    }

    #[test]
    fn without_visits_retry_after_is_never_undercut() {
        let asked = questions(&[], Some(Duration::from_secs(3)), MINUTE);
        let gaps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(asked[0], 3000);
        assert!(
            gaps[..gaps.len() - 1].iter().all(|gap| *gap >= 3000),
            "{gaps:?}"
        );
    }

    #[test]
    fn a_visit_is_followed_by_three_quick_questions() {
        let asked = questions(&[10], Some(Duration::from_secs(3)), MINUTE);
        assert_eq!(asked[..4], [12, 20, 52, 3052]);
    }

    #[test]
    fn however_many_visits_come_only_a_handful_of_questions_is_early() {
        let visits: Vec<u64> = (0..2000).map(|n| n * 5).collect();
        let asked = questions(&visits, Some(Duration::from_secs(20)), MINUTE);
        let early = asked.iter().filter(|at| **at < 20_000).count();
        assert_eq!(early, EARLY);
    }

    #[test]
    fn visits_do_not_excuse_asking_a_ca_that_refused_for_now() {
        let start = Instant::now();
        let wait = Duration::from_secs(5);
        let mut pace = Pace::new(start, MINUTE, None);
        pace.visited(start);
        let now = pace.next();
        pace.failed(now, Some(wait));
        pace.visited(now);
        assert_eq!(pace.next(), now + wait);
    }

    #[test]
    fn visits_cannot_keep_a_wait_from_ending() {
        let visits: Vec<u64> = (0..60_000).collect();
        assert_eq!(questions(&visits, None, MINUTE).last(), Some(&60_000));
    }
}
