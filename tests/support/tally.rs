//! What became of a load's requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a request reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Over a connection that is kept for the next one.
    KeptAlive,
    /// Over a connection of its own.
    New,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeptAlive => "kept alive",
            Self::New => "new connections",
        })
    }
}

/// The counts of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests made.
    pub sent: u64,
    /// Those without their right answer.
    pub failed: u64,
    /// Those sent a second time because the server had closed the kept connection (RFC 9112 9.3.1). Unless they count as failed too,
    /// the second time went well.
    pub repeated: u64,
    /// Connections opened.
    pub connections: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.repeated += other.repeated;
        self.connections += other.connections;
    }
}

/// The counts of a whole load, and why what failed has failed.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    counts: BTreeMap<Kind, Counts>,
    reasons: BTreeMap<String, u64>,
    /// From the first request to the last.
    pub took: Duration,
}

impl Tally {
    /// The counts of one kind.
    pub fn of(&self, kind: Kind) -> Counts {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// The counts of all kinds.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.counts.values().for_each(|counts| total.add(*counts));
        total
    }

    /// Why requests have failed, and how many for that reason.
    pub fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.reasons
    }

    /// Panics unless every request got its right answer.
    pub fn assert_nothing_failed(&self) {
        assert_eq!(self.total().failed, 0, "{self}");
    }

    pub(super) fn count(&mut self, kind: Kind) -> &mut Counts {
        self.counts.entry(kind).or_default()
    }

    pub(super) fn failed(&mut self, kind: Kind, reason: String) {
        self.count(kind).failed += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// With another load's counts.
    pub fn add(&mut self, other: &Self) {
        for (kind, counts) in &other.counts {
            self.count(*kind).add(*counts);
        }
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        self.took = self.took.max(other.took);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, failed, .. } = self.total();
        write!(f, "{failed} of {sent} requests failed")?;
        for (kind, counts) in &self.counts {
            write!(
                f,
                "; {kind}: {} sent over {} connections, {} failed, {} repeated",
                counts.sent, counts.connections, counts.failed, counts.repeated
            )?;
        }
        for (reason, count) in &self.reasons {
            write!(f, "; {count} × {reason}")?;
        }
        Ok(())
    }
}
