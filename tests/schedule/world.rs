//! Many certificates, one CA, one sidecar that is restarted and crashes, and a clock that runs as fast as it can.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

use sidedoor::budget::{Budget, Kind, Limits, Outcome as Ended};
use sidedoor::identifier::Identifier;
use sidedoor::schedule::{
    Action, Cause, Certificate, Event, Facts, Failed, Issue, Next, State, Suggestion, Why,
    due_between,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::authority::{Answer, Authority};
use crate::load::Load;

const START: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// What happens so soon after its planned moment is on time.
const ON_TIME: Duration = Duration::minutes(2);

pub(crate) struct Scenario {
    pub(crate) certificates: usize,
    pub(crate) span: Duration,
    /// In days, dealt out one after the other.
    pub(crate) lifetimes: &'static [i64],
    /// How many in ten get suggestions. One in fifty is told that there are none; the others have no id, so nobody is asked.
    pub(crate) suggested: usize,
    pub(crate) outages: bool,
    pub(crate) seed: u64,
}

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) issued: usize,
    pub(crate) suggested: usize,
    pub(crate) failed: usize,
    pub(crate) withheld: usize,
    pub(crate) late: usize,
    pub(crate) restarts: usize,
    pub(crate) crashes: usize,
    pub(crate) expired: Vec<String>,
    pub(crate) excused: usize,
    pub(crate) overdrawn: Vec<String>,
    pub(crate) crowded: Vec<(usize, u32, f64)>,
    worst: f64,
    mean: f64,
    most: u32,
    steps: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} certificates ({} by ARI, free of limits), {} steps, {} failures, {} waits for a limit, {} restarts, {} crashes; \
             {} ended although CA or sidecar were away for less than a third of their life, {} when longer; {} renewals were late; \
             an hour's mean share {:.1}, the worst hour {:.2} times its share, the fullest {} while catching up",
            self.issued,
            self.suggested,
            self.steps,
            self.failed,
            self.withheld,
            self.restarts,
            self.crashes,
            self.expired.len(),
            self.excused,
            self.late,
            self.mean,
            self.worst,
            self.most,
        )
    }
}

struct Site {
    names: Vec<Identifier>,
    lifetime: Duration,
    has_id: bool,
    gets_suggestions: bool,
    live: Option<Certificate>,
    is_wanted: bool,
    /// Whether exactly these names were in a certificate of ours before.
    is_known: bool,
    fingerprint: String,
    state: State,
}

impl Site {
    fn step(&mut self, event: Event, now: OffsetDateTime, random: u64) -> Next {
        let facts = Facts {
            certificate: self.live.as_ref(),
            is_wanted: self.is_wanted,
            is_revoked: false,
            is_served: true,
            renew_before: None,
            directory: DIRECTORY,
            fingerprint: &self.fingerprint,
        };
        self.state.step(event, &facts, now, random)
    }
}

pub(crate) struct World {
    scenario: Scenario,
    sites: Vec<Site>,
    authority: Authority,
    budget: Budget,
    limits: Limits,
    load: Load,
    /// When the sidecar stops, and when it is back.
    restarts: Vec<(OffsetDateTime, OffsetDateTime)>,
    stopped: Vec<(OffsetDateTime, OffsetDateTime)>,
    /// In nanoseconds: comparing them is most of the work.
    queue: BinaryHeap<Reverse<(i128, usize)>>,
    random: u64,
    serial: usize,
    outcome: Outcome,
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut world = Self {
            load: Load::new(START, scenario.span),
            random: scenario.seed,
            scenario,
            sites: Vec::new(),
            authority: Authority::default(),
            budget: Budget::default(),
            limits: Limits::of(DIRECTORY),
            restarts: Vec::new(),
            stopped: Vec::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            outcome: Outcome::default(),
        };
        for index in 0..world.scenario.certificates {
            let site = world.site(index);
            world.sites.push(site);
            // Most are there at the beginning, the others come over two months.
            let day = if index % 5 < 3 {
                0
            } else {
                world.below(60) as i64
            };
            let begins =
                START + Duration::days(day) + Duration::seconds(world.below(86_400) as i64);
            world.call(begins, index);
        }
        if world.scenario.outages {
            world.trouble();
        }
        world
    }

    /// Six in ten have a domain of their own, three share one with 24 others, and every tenth is under the same one.
    fn site(&mut self, index: usize) -> Site {
        let name = match index % 10 {
            0..6 => format!("site{index}.com"),
            6..9 => format!("site{index}.group{}.co.uk", index / 83),
            _ => format!("site{index}.big.net"),
        };
        let days = self.scenario.lifetimes[(index / 10) % self.scenario.lifetimes.len()];
        let kind = (index / 7) % 10;
        Site {
            names: vec![name.parse().unwrap()],
            lifetime: Duration::days(days),
            has_id: kind < self.scenario.suggested || index % 50 == 49,
            gets_suggestions: kind < self.scenario.suggested,
            live: None,
            is_wanted: false,
            is_known: false,
            fingerprint: "0".to_owned(),
            state: State::default(),
        }
    }

    /// An outage of hours about every month, three of weeks, one of which is longer than a third of 45 days; restarts about every
    /// six weeks that take up to twelve hours; a revocation.
    fn trouble(&mut self) {
        let mut outages = Vec::new();
        let mut at = START + Duration::days(5);
        while at < START + self.scenario.span {
            let length = Duration::minutes(30 + self.below(40 * 60) as i64);
            outages.push((at, at + length, self.below(2) == 0));
            at += length + Duration::minutes(self.below(60 * 24 * 60) as i64);
        }
        for (day, days) in [(300, 10), (520, 14), (800, 17)] {
            let from = START + Duration::days(day);
            let to = from + Duration::days(days);
            outages.retain(|(begin, end, _)| *end < from || *begin > to);
            outages.push((from, to, day == 520));
        }
        outages.sort();
        let revoked_at = START + Duration::days(430);
        self.authority = Authority::with_outages(outages, Some(revoked_at));
        let mut at = START + Duration::days(1);
        while at < START + self.scenario.span {
            let length = Duration::minutes(1 + self.below(12 * 60) as i64);
            self.restarts.push((at, at + length));
            at += length + Duration::minutes(self.below(80 * 24 * 60) as i64);
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        let end = START + self.scenario.span;
        let mut restarts = std::mem::take(&mut self.restarts).into_iter().peekable();
        while let Some(Reverse((nanos, index))) = self.queue.pop() {
            let now = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
            if now > end {
                break;
            }
            if let Some((_, back)) = restarts.next_if(|(stops, _)| *stops <= now) {
                self.call(now, index);
                self.restart(now, back);
                continue;
            }
            let next = self.wake(index, now);
            self.call(next, index);
        }
        for index in 0..self.sites.len() {
            self.note_expiry(index, end);
        }
        Outcome {
            overdrawn: self.authority.overdrawn,
            crowded: self.load.crowded(),
            worst: self.load.worst(),
            mean: self.load.mean(),
            most: self.load.most(),
            ..self.outcome
        }
    }

    /// All that is left is what was written down.
    fn restart(&mut self, now: OffsetDateTime, back: OffsetDateTime) {
        self.outcome.restarts += 1;
        self.stopped.push((now, back));
        for site in &mut self.sites {
            let written = serde_json::to_vec(&site.state).unwrap();
            site.state = serde_json::from_slice(&written).unwrap();
        }
        self.budget.tidy(back);
        self.budget = serde_json::from_slice(&serde_json::to_vec(&self.budget).unwrap()).unwrap();
        let events = std::mem::take(&mut self.queue).into_iter();
        let back = back.unix_timestamp_nanos();
        let later = events.map(|Reverse((at, index))| Reverse((at.max(back), index)));
        self.queue = later.collect();
    }

    /// Looks at a site at this time.
    fn call(&mut self, at: OffsetDateTime, index: usize) {
        self.queue.push(Reverse((at.unix_timestamp_nanos(), index)));
    }

    /// Does what is to be done for one site, and says when to look again.
    fn wake(&mut self, index: usize, now: OffsetDateTime) -> OffsetDateTime {
        let mut event = Event::Woken;
        // Not those of the domain that a thousand share: its limit makes new names wait for months, and old ones end meanwhile.
        let may_change = self.scenario.outages && index % 10 != 9 && self.sites[index].is_wanted;
        if may_change && self.below(3_000) == 0 {
            self.change_names(index);
        }
        loop {
            self.outcome.steps += 1;
            let random = self.draw();
            let next = self.sites[index].step(event, now, random);
            match next.action {
                Action::Wait { until } => return until,
                Action::AskRenewalInfo { .. } => event = self.ask(index, now),
                Action::Issue(issue) => {
                    let is_planned = now - next.attempt.at < ON_TIME
                        && matches!(next.attempt.why, Why::Window | Why::Lifetime { .. });
                    match self.issue(index, &issue, is_planned, now) {
                        Some(end) => event = end,
                        // Crashed, and started again by whoever looks after it.
                        None => return now + Duration::minutes(1),
                    }
                }
            }
        }
    }

    fn change_names(&mut self, index: usize) {
        let site = &mut self.sites[index];
        let more = format!("www{}.{}", site.names.len(), site.names[0]);
        site.names.push(more.parse().unwrap());
        site.fingerprint = site.names.len().to_string();
        site.is_wanted = false;
        site.is_known = false;
    }

    fn ask(&mut self, index: usize, now: OffsetDateTime) -> Event {
        let hours = if self.below(20) == 0 { 6 } else { 24 };
        let site = &self.sites[index];
        if let Some((until, tells)) = self.authority.outage(now) {
            let retry_after = tells.then_some(until);
            return Event::NotAnswered { retry_after };
        }
        match &site.live {
            Some(live) if site.gets_suggestions => Event::Suggested(Suggestion {
                window: self.authority.window(live, now),
                explanation: None,
                retry_after: (hours != 6).then(|| now + Duration::hours(hours)),
            }),
            _ => Event::NothingSuggested,
        }
    }

    /// One order, as the sidecar places it; nothing if it crashes meanwhile.
    fn issue(
        &mut self,
        index: usize,
        issue: &Issue,
        is_planned: bool,
        now: OffsetDateTime,
    ) -> Option<Event> {
        let names = self.sites[index].names.clone();
        let kind = match (issue.is_exempt, self.sites[index].is_known) {
            (true, _) => Kind::Suggested,
            (false, true) => Kind::Renewal,
            (false, false) => Kind::New,
        };
        let charged = self.budget.charge(&self.limits, &names, kind, now, false);
        let charge = match charged {
            Ok(charge) => charge,
            Err(exhausted) => {
                self.outcome.withheld += 1;
                return Some(Event::Withheld(exhausted));
            }
        };
        let crashes = self.scenario.outages && self.below(500) == 0;
        let fails = self.scenario.outages && self.below(300) == 0;
        // The CA hears of it a little later.
        let heard = now + Duration::seconds(self.below(30) as i64);
        let live = self.sites[index].live.clone();
        let replaces = issue.replaces.as_deref().zip(live.as_ref());
        let mut answer = self.authority.order(&names, replaces, fails, heard);
        if crashes {
            self.outcome.crashes += 1;
            return None;
        }
        let mut event = None;
        if let (Answer::ReplacesRefused, Some((id, _))) = (&answer, replaces) {
            // Once more without, charged as what it is then.
            self.budget
                .settle(&self.limits, &charge, Ended::NotPlaced, now);
            let random = self.draw();
            let refused = Event::ReplacesRefused { id: id.to_owned() };
            let _ = self.sites[index].step(refused, now, random);
            let kind = match self.sites[index].is_known {
                true => Kind::Renewal,
                false => Kind::New,
            };
            match self.budget.charge(&self.limits, &names, kind, now, false) {
                Ok(again) => {
                    answer = self.authority.order(&names, None, fails, heard);
                    event = Some(self.end(index, &again, answer, kind, is_planned, now));
                }
                Err(exhausted) => event = Some(Event::Withheld(exhausted)),
            }
            return event;
        }
        event.or_else(|| Some(self.end(index, &charge, answer, kind, is_planned, now)))
    }

    fn end(
        &mut self,
        index: usize,
        charge: &sidedoor::budget::Charge,
        answer: Answer,
        kind: Kind,
        is_planned: bool,
        now: OffsetDateTime,
    ) -> Event {
        let failed = |cause, retry_after| Event::Failed(Failed { cause, retry_after });
        let (ended, event) = match &answer {
            Answer::Issued => (Ended::Issued, Event::Issued),
            Answer::Invalid(names) => (Ended::Invalid(names), failed(Cause::Passing, None)),
            Answer::Away { retry_after } => {
                (Ended::NotPlaced, failed(Cause::Unavailable, *retry_after))
            }
            Answer::ReplacesRefused | Answer::RateLimited => {
                (Ended::NotPlaced, failed(Cause::Passing, None))
            }
        };
        self.budget.settle(&self.limits, charge, ended, now);
        if event != Event::Issued {
            self.outcome.failed += 1;
            return event;
        }
        self.note_expiry(index, now);
        self.outcome.issued += 1;
        self.outcome.suggested += usize::from(kind == Kind::Suggested);
        self.outcome.late += usize::from(kind == Kind::Renewal && !is_planned);
        self.load.order(now, is_planned);
        self.serial += 1;
        let site = &mut self.sites[index];
        let live = Certificate {
            id: site.has_id.then(|| format!("authority.{}", self.serial)),
            not_before: now,
            not_after: now + site.lifetime,
        };
        let (from, to) = match site.gets_suggestions {
            true => {
                let window = self.authority.window(&live, now);
                (window.start, window.end)
            }
            false => due_between(&live, None),
        };
        self.load.plan(from, to);
        site.live = Some(live);
        site.is_wanted = true;
        site.is_known = true;
        event
    }

    fn note_expiry(&mut self, index: usize, now: OffsetDateTime) {
        let Some(live) = self.sites[index]
            .live
            .as_ref()
            .filter(|live| live.not_after < now)
        else {
            return;
        };
        let stopped = self.stopped.iter().copied();
        let away = self.authority.away().chain(stopped);
        let in_life = away.map(|(from, to)| to.min(live.not_after) - from.max(live.not_before));
        let away: Duration = in_life.filter(|span| span.is_positive()).sum();
        match away > live.lifetime() / 3 {
            true => self.outcome.excused += 1,
            false => self.outcome.expired.push(format!(
                "site {index}, from {} to {}, now {now}: {:?}",
                live.not_before, live.not_after, self.sites[index].state
            )),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.draw() >> 33) as usize % limit
    }

    /// splitmix64
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
