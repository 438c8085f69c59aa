//! How many orders an hour holds, beside its fair share.
//!
//! Every certificate has a range in which its renewal is planned: the window that its CA suggests, or else the twelfth of its lifetime
//! that ends at two thirds (half for a short one). The fair share of an hour is what it would hold if each renewal were equally likely at
//! every moment of its own range: the sum, over all certificates, of the part of the range that lies in the hour; or the mean of all hours,
//! where that is more. An hour is crowded if it holds more than twice its share. Where the share is so small (below 36) that chance alone
//! may come to twice of it, it is crowded if it is six standard deviations of chance above it: above 31 where the share is 11.
//!
//! Counted are renewals that happen when they were planned. First certificates, other names, and what comes later because the CA or the
//! sidecar was away, because an attempt failed, or earlier because the CA revoked, are not: they come as soon as they can.

use time::{Duration, OffsetDateTime};

pub(crate) struct Load {
    start: OffsetDateTime,
    share: Vec<f64>,
    planned: Vec<u32>,
    all: Vec<u32>,
}

impl Load {
    pub(crate) fn new(start: OffsetDateTime, span: Duration) -> Self {
        let hours = span.whole_hours() as usize + 1;
        Self {
            start,
            share: vec![0.0; hours],
            planned: vec![0; hours],
            all: vec![0; hours],
        }
    }

    /// A certificate will be renewed somewhere in this range.
    pub(crate) fn plan(&mut self, from: OffsetDateTime, to: OffsetDateTime) {
        let hour = |at: OffsetDateTime| (at - self.start) / Duration::HOUR;
        let (from, to) = (hour(from), hour(to));
        for at in from.floor() as usize..self.share.len().min(to.ceil() as usize) {
            let part = (to.min(at as f64 + 1.0) - from.max(at as f64)) / (to - from);
            self.share[at] += part;
        }
    }

    pub(crate) fn order(&mut self, now: OffsetDateTime, is_planned: bool) {
        let at = (now - self.start).whole_hours() as usize;
        if let (Some(planned), Some(all)) = (self.planned.get_mut(at), self.all.get_mut(at)) {
            *planned += u32::from(is_planned);
            *all += 1;
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.share.iter().sum::<f64>() / self.share.len() as f64
    }

    fn measure(&self) -> impl Iterator<Item = (usize, u32, f64)> {
        let mean = self.mean();
        let share = move |at: usize| self.share[at].max(mean);
        let hours = self.planned.iter().enumerate();
        hours.map(move |(at, planned)| (at, *planned, share(at)))
    }

    /// Which hours are crowded, how many orders they hold, and their share.
    pub(crate) fn crowded(&self) -> Vec<(usize, u32, f64)> {
        let is_crowded = |(_, planned, share): &(_, u32, f64)| {
            f64::from(*planned) > share + share.max(6.0 * share.sqrt())
        };
        self.measure().filter(is_crowded).collect()
    }

    /// The hour that holds the most times its share.
    pub(crate) fn worst(&self) -> f64 {
        let times = self
            .measure()
            .map(|(_, planned, share)| f64::from(planned) / share);
        times.fold(0.0, f64::max)
    }

    /// The most that any hour holds, catching up included.
    pub(crate) fn most(&self) -> u32 {
        self.all.iter().copied().max().unwrap_or_default()
    }
}
