//! One lineage's schedule and what it goes by, read from the store and written back there. Decides nothing: that is [`schedule`]'s.

use std::fmt::Write;

use aws_lc_rs::digest;
use time::{Duration, OffsetDateTime};

use crate::config::Config;
use crate::identifier::{AppName, Identifier};
use crate::issuance::{Job, Pair, Urgency, is_for_same, read_pair};
use crate::jobs;
use crate::random;
use crate::report::Report;
use crate::schedule::{self, Action, Attempt, Event, Facts, Issue, Next, Why};
use crate::store::{Failure, Lineage, Store, StoreError, Summary, Version};

/// What is known of a lineage at a moment. Changed and saved only by whoever holds the lineage's lock.
pub struct Agenda {
    /// What is remembered of it.
    pub lineage: Lineage,
    /// The version that is live.
    pub live: Option<Version>,
    /// What that says of itself, if it is a CA's.
    pub summary: Option<Summary>,
    /// A newer one that is good, too, and only has to go live.
    pub saved: Option<Pair>,
    certificate: Option<schedule::Certificate>,
    is_wanted: bool,
    is_revoked: bool,
    renew_before: Option<std::time::Duration>,
    directory: String,
    fingerprint: String,
}

/// When a lineage is to be looked at, as far as can be told without changing anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// When there is something to be done for it: an attempt, or a question for the CA.
    pub at: OffsetDateTime,
    /// The next attempt.
    pub attempt: Attempt,
    /// From when on that may be made together with others'.
    pub along_from: Option<OffsetDateTime>,
}

impl Outlook {
    /// Of a lineage that is looked after; nothing where no app has its names any more, or it was revoked for good. At once if it can't be told, since the attempt says why.
    pub fn of(store: &Store, config: &Config, name: &AppName, now: OffsetDateTime) -> Option<Self> {
        let job = jobs::of_lineage(store, config, name, Urgency::due(false)).ok()?;
        let unreadable = || Self {
            at: now,
            attempt: Attempt {
                at: now,
                why: Why::Missing,
            },
            along_from: None,
        };
        match Agenda::read(store, &job) {
            Ok(agenda) if agenda.lineage.is_withdrawn() => None,
            Ok(agenda) => Some(agenda.outlook(now)),
            Err(_) => Some(unreadable()),
        }
    }

    /// Whether its attempt may be made now, since others' are, and its own would be within this time anyway.
    pub fn may_go_along(&self, now: OffsetDateTime, ahead: Duration) -> bool {
        let is_near = self.attempt.at - now <= ahead;
        is_near && self.along_from.is_some_and(|from| from <= now)
    }
}

impl Agenda {
    /// Reads it. The files of the certificate are read only where what was written down is of another version.
    pub fn read(store: &Store, job: &Job) -> Result<Self, StoreError> {
        let lineage = store.lineage(&job.name)?;
        let live = store.live_version(&job.name)?;
        let known = lineage.summary.clone();
        let summary = match (live, known) {
            (Some(live), Some(known))
                if known.version == live && store.has_version(&job.name, live) =>
            {
                Some(known)
            }
            (Some(live), _) => summary_of(store, job, live)?,
            (None, _) => None,
        };
        let first = job.acme.directories.first();
        let directory = first.map_or_else(String::new, |first| first.url().to_owned());
        let is_theirs = lineage.directory.as_ref() == Some(&directory);
        let is_revoked = live.is_some_and(|live| lineage.is_revoked(live));
        let is_wanted = summary
            .as_ref()
            .is_some_and(|summary| is_for_same(&summary.identifiers, &job.identifiers));
        let saved = saved_but_not_live(store, job, &lineage, live)?;
        let certificate = summary.as_ref().map(|summary| schedule::Certificate {
            id: summary.id.clone().filter(|_| is_theirs),
            not_before: summary.not_before,
            not_after: summary.not_after,
        });
        Ok(Self {
            lineage,
            live,
            summary,
            saved,
            certificate,
            is_wanted: is_wanted && !is_revoked,
            is_revoked,
            renew_before: job.acme.renew_before,
            directory,
            fingerprint: fingerprint(job),
        })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            certificate: self.certificate.as_ref(),
            is_wanted: self.is_wanted,
            is_revoked: self.is_revoked,
            is_served: self.is_served(),
            renew_before: self.renew_before,
            directory: &self.directory,
            fingerprint: &self.fingerprint,
        }
    }

    /// When it is to be looked at. At once where its schedule has to take something in first.
    pub fn outlook(&self, now: OffsetDateTime) -> Outlook {
        let mut schedule = self.lineage.schedule.clone();
        let Next { action, attempt } = schedule.step(Event::Woken, &self.facts(), now, 0);
        let at = match action {
            Action::Wait { until }
                if schedule == self.lineage.schedule && !self.has_errands_left() =>
            {
                until
            }
            _ => now,
        };
        Outlook {
            at,
            along_from: schedule.along_from(&self.facts(), now),
            attempt,
        }
    }

    /// Has the schedule take in what has happened. What it remembers has to be saved then.
    pub fn step(&mut self, event: Event, now: OffsetDateTime) -> Next {
        let mut schedule = std::mem::take(&mut self.lineage.schedule);
        let next = schedule.step(event, &self.facts(), now, random::number());
        self.lineage.schedule = schedule;
        next
    }

    /// A new certificate is live.
    pub fn succeed(&mut self, now: OffsetDateTime) {
        self.step(Event::Issued, now);
        self.lineage.failure = None;
    }

    /// There is none; `report` is what has gone wrong, if anything has.
    pub fn fail(&mut self, event: Event, report: Option<Report>, now: OffsetDateTime) {
        self.step(event, now);
        if let Some(Report { what, next_step }) = report {
            self.lineage.failure = Some(Failure {
                at: now,
                what,
                next_step,
                attempts: self.lineage.schedule.failures.attempts,
            });
        }
    }

    /// Writes down what it remembers.
    pub fn save(&self, store: &Store, job: &Job) -> Result<(), StoreError> {
        store.save_lineage(&job.name, &self.lineage)
    }

    /// How an order is placed now.
    pub fn issue(&self, now: OffsetDateTime) -> Issue {
        self.lineage.schedule.issue(&self.facts(), now)
    }

    /// The next attempt.
    pub fn attempt(&self, now: OffsetDateTime) -> Attempt {
        self.lineage.schedule.attempt(&self.facts(), now)
    }

    /// Whether somebody is still to be told of what is live.
    fn has_errands_left(&self) -> bool {
        let wanted = self.wanted();
        wanted.is_some_and(|summary| !self.lineage.is_handed_over(summary.version))
    }

    fn is_served(&self) -> bool {
        self.lineage.deployed == self.live && self.saved.is_none()
    }

    /// What is live, if it is what is wanted and served.
    pub fn wanted(&self) -> Option<&Summary> {
        let summary = self.summary.as_ref();
        summary.filter(|_| self.is_wanted && self.is_served())
    }

    /// What is live, if it is what is wanted and needs no successor yet, whatever has come in between.
    pub fn good(&self, now: OffsetDateTime) -> Option<&Summary> {
        let due = self.lineage.schedule.due(&self.facts(), now);
        self.wanted().filter(|_| due.at > now)
    }

    /// Whether what is live came from this CA, for just these names.
    pub fn renews_at(&self, directory_url: &str, identifiers: &[Identifier]) -> bool {
        let is_theirs = self.lineage.directory.as_deref() == Some(directory_url);
        let summary = self.summary.as_ref().filter(|_| is_theirs);
        summary.is_some_and(|summary| is_for_same(&summary.identifiers, identifiers))
    }
}

/// A good version that is newer than the live one: its process ended before it could put it live, or nginx would not have it.
fn saved_but_not_live(
    store: &Store,
    job: &Job,
    lineage: &Lineage,
    live: Option<Version>,
) -> Result<Option<Pair>, StoreError> {
    // Numbers are given out one after the other.
    let next = live.map_or(1, |live| live + 1);
    if !store.has_version(&job.name, next) {
        return Ok(None);
    }
    let newest = store.versions(&job.name)?.pop();
    good_pair(store, job, lineage, newest)
}

/// The version, if it is for the right names, most of its lifetime is not over, and its CA stands by it.
pub fn good_pair(
    store: &Store,
    job: &Job,
    lineage: &Lineage,
    version: Option<Version>,
) -> Result<Option<Pair>, StoreError> {
    let read = version.map(|version| read_pair(store, &job.name, version));
    let now = OffsetDateTime::now_utc();
    Ok(read.transpose()?.flatten().filter(|pair| {
        pair.is_for(&job.identifiers)
            && !lineage.is_revoked(pair.version)
            && now < pair.due_at_the_latest(job.acme.renew_before)
    }))
}

/// What a version says of itself; nothing of a placeholder, or where key and certificate don't belong together.
fn summary_of(store: &Store, job: &Job, version: Version) -> Result<Option<Summary>, StoreError> {
    let pair = read_pair(store, &job.name, version)?;
    let real = pair.filter(|pair| !pair.chain.is_placeholder());
    Ok(real.map(|pair| pair.summary()))
}

/// Stands for all that an attempt depends on: when it changes, what has failed is tried again.
fn fingerprint(job: &Job) -> String {
    let Job {
        identifiers,
        apps,
        acme,
        ..
    } = job;
    let mut text = format!("{identifiers:?}");
    for app in apps {
        let _ = write!(text, "{:?}{:?}", app.door, app.upstreams);
    }
    // When it is renewed is no reason why it would fail, nor is a wish.
    let crate::config::Acme {
        renew_before: _,
        preferred_chain: _,
        staging: _,
        handover: _,
        directories,
        contact,
        accept_terms,
        ca_file,
        key,
        reuse_key,
        profile,
        eab,
    } = acme;
    let _ = write!(
        text,
        "{directories:?}{contact:?}{accept_terms}{ca_file:?}{key:?}{reuse_key}{profile:?}{eab:?}"
    );
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref()[..8]
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
