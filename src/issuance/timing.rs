//! Whether anything is to be done now: what an earlier run has left, what the schedule says, what the CA suggests, whether names resolve.

use time::OffsetDateTime;

use super::{Issuance, IssueError, Pair, Urgency};
use crate::acme::RenewalInfo;
use crate::agenda::{Agenda, good_pair};
use crate::resolver::resolution;
use crate::schedule::{Action, Event, Issue, Resolution, Suggestion, Window};
use crate::store::{StoreError, Summary, Version};

/// What is to be done now.
pub(super) enum Timing {
    /// Nothing: the one that is live needs no successor yet.
    StillGood(Summary),
    /// One is there, and only has to go live.
    PutLive(Pair),
    /// An order is to be placed.
    Order(Issue),
}

impl Issuance<'_> {
    /// What is to be done. `before` was live before we waited for the lock.
    pub(super) async fn timing(&self, before: Option<Version>) -> Result<Timing, IssueError> {
        let Self { parts, job, .. } = self;
        let mut agenda = Agenda::read(&parts.store, job)?;
        if agenda.lineage.is_withdrawn() {
            return Err(IssueError::Withdrawn(job.name.clone()));
        }
        let is_new = agenda.live != before;
        if let Some(done) = agenda.wanted().filter(|_| is_new) {
            return Ok(Timing::StillGood(done.clone()));
        }
        let waits = self.wake(&mut agenda).await?;
        let now = OffsetDateTime::now_utc();
        if job.urgency != Urgency::Insisted
            && let Some(good) = agenda
                .good(now)
                .filter(|_| waits || job.urgency == Urgency::Asked)
        {
            return Ok(Timing::StillGood(good.clone()));
        }
        if waits {
            return Err(IssueError::NotYet(agenda.attempt(now)));
        }
        let plan = agenda.issue(now);
        if let Some(pair) = self.left_by_an_earlier_run(agenda)? {
            return Ok(Timing::PutLive(pair));
        }
        if plan.resolve_first && job.urgency != Urgency::Insisted {
            self.look_up().await?;
        }
        Ok(Timing::Order(plan))
    }

    /// Has the schedule look at the time, and asks the CA what it wants to know. Whether it is to be waited for.
    async fn wake(&self, agenda: &mut Agenda) -> Result<bool, IssueError> {
        let Self { parts, job, .. } = self;
        let mut now = OffsetDateTime::now_utc();
        let known = agenda.lineage.schedule.clone();
        let mut next = agenda.step(Event::Woken, now);
        let waits = match job.urgency {
            Urgency::Insisted => false,
            Urgency::Asked => agenda
                .lineage
                .schedule
                .asked_to_wait()
                .is_some_and(|until| until > now),
            Urgency::Due { ahead } => {
                if let Action::AskRenewalInfo { id } = &next.action {
                    let answer = self.ask_renewal_info(id).await;
                    // What is due at once is due by this clock, not by the one before the question.
                    now = OffsetDateTime::now_utc();
                    next = agenda.step(answer, now);
                }
                next.attempt.at > now && !agenda.outlook(now).may_go_along(now, ahead)
            }
        };
        if agenda.lineage.schedule != known {
            agenda.save(&parts.store, job)?;
        }
        Ok(waits)
    }

    async fn ask_renewal_info(&self, id: &str) -> Event {
        let Self { parts, job, .. } = self;
        let Some(directory) = job.acme.directories.first() else {
            return Event::NotAnswered { retry_after: None };
        };
        let _turn = parts.turns.at(directory.url()).await;
        let ca = match parts.accounts.ca(directory, &job.acme) {
            Ok(ca) => ca,
            Err(error) => return self.not_answered(&error, None),
        };
        match ca.renewal_info(id).await {
            Ok(Some(info)) => Event::Suggested(info.into()),
            Ok(None) => Event::NothingSuggested,
            Err(error) => self.not_answered(&error, error.retry_after()),
        }
    }

    fn not_answered(
        &self,
        error: &dyn std::error::Error,
        retry_after: Option<std::time::SystemTime>,
    ) -> Event {
        tracing::info!(certificate = %self.job.name, %error, "the CA does not say when it is to be renewed");
        Event::NotAnswered {
            retry_after: retry_after.map(OffsetDateTime::from),
        }
    }

    async fn look_up(&self) -> Result<(), IssueError> {
        match resolution(&self.config.resolver, &self.job.identifiers).await {
            Resolution::Go => Ok(()),
            Resolution::NotYet(names) => Err(IssueError::Unresolved(names)),
        }
    }

    /// A good certificate that nginx has not been seen to serve yet: another order would only use up the CA's limits. Whoever insists gets
    /// another one nevertheless, unless this one was only broken off.
    fn left_by_an_earlier_run(&self, agenda: Agenda) -> Result<Option<Pair>, StoreError> {
        let Self {
            parts,
            job,
            progress,
            ..
        } = self;
        let Agenda {
            lineage,
            live,
            saved,
            ..
        } = agenda;
        let insists = job.urgency == Urgency::Insisted;
        if let Some(pair) = saved
            && !(insists && lineage.rejected == Some(pair.version))
        {
            progress.notice("a certificate that an earlier run has saved is put live");
            self.note_what_is_saved()?;
            return Ok(Some(pair));
        }
        if insists || lineage.deployed == live {
            return Ok(None);
        }
        let pair = good_pair(&parts.store, job, &lineage, live)?;
        if pair.is_some() {
            progress
                .notice("an earlier run has put a certificate live, but not seen nginx serve it");
        }
        Ok(pair)
    }

    /// What an earlier run has saved may have outrun its note, whose order is over then.
    fn note_what_is_saved(&self) -> Result<(), StoreError> {
        let (store, name) = (&self.parts.store, &self.job.name);
        let mut lineage = store.lineage(name)?;
        lineage.identifiers.clone_from(&self.job.identifiers);
        lineage.order = None;
        store.save_lineage(name, &lineage)?;
        store.forget_next_key(name)
    }
}

impl From<RenewalInfo> for Suggestion {
    fn from(info: RenewalInfo) -> Self {
        Self {
            window: Window {
                start: info.start,
                end: info.end,
            },
            explanation: info.explanation_url,
            retry_after: info.retry_after.map(OffsetDateTime::from),
        }
    }
}
