//! What may still be asked of a CA before it says no: its published limits, counted on our side too, so that no loop, restart or crash
//! of ours runs a user into them. Pure: the time is an argument, and whoever asks keeps the [`Budget`] as JSON.
//!
//! An order is [charged](Budget::charge), and the budget saved, BEFORE it is placed: a crash doesn't get it for free. What it turns out
//! not to have cost is [given back](Budget::settle) afterwards. Every limit is a token bucket that is refilled continuously, as the CA's
//! are; all that is kept of one is when it will be full again, and of a full one nothing.

mod domain;
mod limits;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::identifier::Identifier;

pub use domain::registered_domain;
pub use limits::{Limits, Rate};

/// The CA counts an order, a failure or a certificate up to so much later than we do; its bucket is refilled that much later too.
const BEHIND: Duration = Duration::minutes(15);

/// A limit that CAs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// New orders of an account.
    Orders,
    /// Failed validations of a name by an account.
    Failures,
    /// Failed validations of a name in a row, after which the CA pauses it.
    FailuresInARow,
    /// Certificates with names under a registered domain.
    Domain,
    /// Certificates for exactly the same names.
    Set,
}

impl Limit {
    /// All of them.
    const ALL: [Self; 5] = [
        Self::Orders,
        Self::Failures,
        Self::FailuresInARow,
        Self::Domain,
        Self::Set,
    ];

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Failures => "failures",
            Self::FailuresInARow => "failures-in-a-row",
            Self::Domain => "domain",
            Self::Set => "set",
        }
    }
}

/// How much is left of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Which limit.
    pub limit: Limit,
    /// What it is counted for; nothing for an account's.
    pub of: String,
    /// How many more orders it allows at once.
    pub orders: u32,
}

/// An order that would be one too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// The limit that takes longest.
    pub limit: Limit,
    /// What it is counted for: a name, a domain, a set of names; nothing for an account's.
    pub of: String,
    /// When there is room again.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.of;
        match self.limit {
            Limit::Orders => f.write_str("the CA's limit of new orders is used up until then"),
            Limit::Failures => {
                write!(
                    f,
                    "validation of {of} has failed too often for the CA's limit"
                )
            }
            Limit::FailuresInARow => write!(
                f,
                "validation of {of} has failed so often in a row that the CA is about to pause it"
            ),
            Limit::Domain => write!(
                f,
                "the CA's limit of certificates for {of} and its subdomains is used up until then"
            ),
            Limit::Set => write!(
                f,
                "the CA's limit of certificates for exactly {of} is used up until then"
            ),
        }
    }
}

/// What an order is to its CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Names that were in no certificate together before.
    New,
    /// Exactly the names of an earlier certificate: not counted for the account and the registered domain.
    Renewal,
    /// The same, and with `replaces` inside the window that the CA suggests (RFC 9773 5): no limit counts it.
    Suggested,
    /// An order that was placed and charged before is taken up again: only its validations can cost anything.
    Resumed,
}

impl Kind {
    /// The limits that count an order of this kind. Failures are counted for every kind: a loop of ours has to end somewhere.
    fn limits(self) -> &'static [Limit] {
        match self {
            Self::New => &[
                Limit::Failures,
                Limit::FailuresInARow,
                Limit::Orders,
                Limit::Domain,
                Limit::Set,
            ],
            Self::Renewal => &[Limit::Failures, Limit::FailuresInARow, Limit::Set],
            Self::Suggested | Self::Resumed => &[Limit::Failures, Limit::FailuresInARow],
        }
    }
}

/// How an order that was charged has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// With a certificate.
    Issued,
    /// The CA did not take it.
    NotPlaced,
    /// These names could not be validated, and there is no certificate.
    Invalid(&'a [Identifier]),
    /// There is no certificate, for other reasons.
    Failed,
    /// It may still be taken up, and the CA has not been told to look: no validation can have failed.
    Waiting,
    /// It may still come to its end, and the CA may have looked: nothing is given back.
    Open,
}

/// What an order was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    at: OffsetDateTime,
    items: Vec<(Limit, String)>,
}

/// What has been used up at one CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget {
    /// When each bucket that is not full will be.
    full_at: BTreeMap<Limit, BTreeMap<String, Moment>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Moment(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

impl Budget {
    /// Charges an order for these names, or says until when to wait. With `force` it is charged whatever is left.
    /// The budget has to be saved before the order is placed.
    pub fn charge(
        &mut self,
        limits: &Limits,
        names: &[Identifier],
        kind: Kind,
        now: OffsetDateTime,
        force: bool,
    ) -> Result<Charge, Exhausted> {
        let items = items(limits, names, kind);
        if !force && let Some(exhausted) = self.exhausted(limits, &items, now) {
            return Err(exhausted);
        }
        for (limit, of) in &items {
            if let Some(rate) = limits.rate(*limit) {
                let full_at = self.full_at(rate, *limit, of, now) + rate.interval();
                // By force no more is used than there ever is.
                let full_at = full_at.min(now + rate.whole());
                let buckets = self.full_at.entry(*limit).or_default();
                buckets.insert(of.clone(), Moment(full_at));
            }
        }
        Ok(Charge { at: now, items })
    }

    /// Whether there is room for such an order, without charging it.
    pub fn allows(
        &self,
        limits: &Limits,
        names: &[Identifier],
        kind: Kind,
        now: OffsetDateTime,
    ) -> Result<(), Exhausted> {
        match self.exhausted(limits, &items(limits, names, kind), now) {
            Some(exhausted) => Err(exhausted),
            None => Ok(()),
        }
    }

    /// What is left: of the account's limits always, of others where they are not full.
    pub fn left(&self, limits: &Limits, now: OffsetDateTime) -> Vec<Left> {
        let mut left = Vec::new();
        for limit in Limit::ALL {
            let Some(rate) = limits.rate(limit) else {
                continue;
            };
            let known = self.full_at.get(&limit).into_iter().flatten();
            let used = known.filter(|(_, full_at)| full_at.0 > now);
            let mut of: Vec<_> = used.map(|(of, _)| of.clone()).collect();
            if limit == Limit::Orders {
                of = vec![String::new()];
            }
            left.extend(of.into_iter().map(|of| Left {
                limit,
                orders: self.orders_left(rate, limit, &of, now),
                of,
            }));
        }
        left
    }

    /// How many more orders are allowed at once, see [`Budget::charge`].
    fn orders_left(&self, rate: Rate, limit: Limit, of: &str, now: OffsetDateTime) -> u32 {
        let used = self.full_at(rate, limit, of, now) - now;
        let room = usable(rate) - used;
        let orders = room.whole_nanoseconds() / rate.interval().whole_nanoseconds();
        u32::try_from(orders).unwrap_or(0)
    }

    /// Gives back what an order has not cost.
    pub fn settle(
        &mut self,
        limits: &Limits,
        charge: &Charge,
        outcome: Outcome<'_>,
        now: OffsetDateTime,
    ) {
        for (limit, of) in &charge.items {
            let is_spent = match (limit, outcome) {
                (_, Outcome::Open) => true,
                (Limit::Orders, outcome) => outcome != Outcome::NotPlaced,
                (Limit::Domain | Limit::Set, outcome) => {
                    matches!(outcome, Outcome::Issued | Outcome::Waiting)
                }
                (Limit::Failures | Limit::FailuresInARow, Outcome::Invalid(failed)) => {
                    failed.iter().any(|name| name.to_string() == *of)
                }
                (Limit::FailuresInARow, Outcome::Issued) => {
                    self.forget(*limit, of);
                    continue;
                }
                (Limit::Failures | Limit::FailuresInARow, _) => false,
            };
            if let Some(rate) = limits.rate(*limit).filter(|_| !is_spent) {
                self.give_back(rate, *limit, of, charge.at, now);
            }
        }
    }

    /// Forgets what is full again. To be called before it is saved, so that what is saved stays small.
    pub fn tidy(&mut self, now: OffsetDateTime) {
        for buckets in self.full_at.values_mut() {
            buckets.retain(|_, full_at| full_at.0 > now);
        }
        self.full_at.retain(|_, buckets| !buckets.is_empty());
    }

    /// One token, unless time has given it back already: then the bucket may have been full meanwhile, and would get one too many.
    fn give_back(
        &mut self,
        rate: Rate,
        limit: Limit,
        of: &str,
        charged: OffsetDateTime,
        now: OffsetDateTime,
    ) {
        let buckets = self.full_at.get_mut(&limit);
        if let Some(full_at) = buckets.and_then(|buckets| buckets.get_mut(of))
            && now < charged + rate.interval()
        {
            full_at.0 -= rate.interval();
        }
    }

    fn exhausted(
        &self,
        limits: &Limits,
        items: &[(Limit, String)],
        now: OffsetDateTime,
    ) -> Option<Exhausted> {
        let waits = items.iter().filter_map(|(limit, of)| {
            let rate = limits.rate(*limit)?;
            let used = self.full_at(rate, *limit, of, now) + rate.interval() - now;
            let until = now + (used - usable(rate));
            (until > now).then(|| Exhausted {
                limit: *limit,
                of: of.clone(),
                until,
            })
        });
        waits.max_by_key(|exhausted| exhausted.until)
    }

    /// When the bucket is full again; not later than an empty one would be, whatever the clock was when it was charged.
    fn full_at(&self, rate: Rate, limit: Limit, of: &str, now: OffsetDateTime) -> OffsetDateTime {
        let known = self.full_at.get(&limit).and_then(|buckets| buckets.get(of));
        known.map_or(now, |full_at| full_at.0.clamp(now, now + rate.whole()))
    }

    fn forget(&mut self, limit: Limit, of: &str) {
        if let Some(buckets) = self.full_at.get_mut(&limit) {
            buckets.remove(of);
        }
    }
}

/// How much of a bucket we use: not what the CA may not have refilled yet.
fn usable(rate: Rate) -> Duration {
    rate.whole() - rate.interval().min(BEHIND)
}

/// What an order is charged.
fn items(limits: &Limits, names: &[Identifier], kind: Kind) -> Vec<(Limit, String)> {
    let mut items = Vec::new();
    let counted = kind.limits().iter().copied();
    for limit in counted.filter(|limit| limits.rate(*limit).is_some()) {
        let of: BTreeSet<String> = match limit {
            Limit::Orders => [String::new()].into(),
            Limit::Failures | Limit::FailuresInARow => {
                names.iter().map(ToString::to_string).collect()
            }
            Limit::Domain => names.iter().map(registered_domain).collect(),
            Limit::Set => [set(names)].into(),
        };
        items.extend(of.into_iter().map(|of| (limit, of)));
    }
    items
}

fn set(names: &[Identifier]) -> String {
    let names: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
