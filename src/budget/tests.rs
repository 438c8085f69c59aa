use std::collections::BTreeMap;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

fn lets_encrypt() -> Limits {
    Limits::of("https://acme-v02.api.letsencrypt.org/directory")
}

fn names(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// How many orders go through before the first is refused, and why that one is.
fn until_refused(
    kind: Kind,
    outcome: Outcome<'_>,
    mut of: impl FnMut(usize) -> Vec<Identifier>,
) -> (usize, Exhausted) {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    for count in 0..2_000 {
        match budget.charge(&limits, &of(count), kind, NOW, false) {
            Ok(charge) => budget.settle(&limits, &charge, outcome, NOW),
            Err(exhausted) => return (count, exhausted),
        }
        // A restart in between changes nothing.
        budget = serde_json::from_str(&serde_json::to_string(&budget).unwrap()).unwrap();
    }
    panic!("nothing was refused");
}

#[test]
fn what_is_left_is_what_is_not_refused() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let left = |budget: &Budget, limit| {
        let left = budget.left(&limits, NOW).into_iter();
        left.filter(|left| left.limit == limit).collect::<Vec<_>>()
    };
    assert_eq!(left(&budget, Limit::Orders)[0].orders, 299);
    assert_eq!(left(&budget, Limit::Set), []);
    let name = names(&["a.example.com"]);
    for orders in (0..4).rev() {
        assert_eq!(budget.allows(&limits, &name, Kind::New, NOW), Ok(()));
        let charge = budget.charge(&limits, &name, Kind::New, NOW, false);
        budget.settle(&limits, &charge.unwrap(), Outcome::Issued, NOW);
        let of = "a.example.com".to_owned();
        let limit = Limit::Set;
        assert_eq!(left(&budget, limit), [Left { limit, of, orders }]);
    }
    assert!(budget.allows(&limits, &name, Kind::New, NOW).is_err());
    assert_eq!(left(&budget, Limit::Orders)[0].orders, 295);
    assert_eq!(left(&budget, Limit::Failures), []);
    let json = serde_json::to_value(Limit::ALL).unwrap();
    assert_eq!(json, serde_json::json!(Limit::ALL.map(Limit::as_str)));
}

#[test]
fn each_limit_ends_what_it_counts() {
    let one = |_| names(&["a.example.com"]);
    let (count, exhausted) = until_refused(Kind::Renewal, Outcome::Issued, one);
    assert_eq!((count, exhausted.limit), (4, Limit::Set));
    // The last one only when the CA has certainly counted the first as long ago as we have.
    assert_eq!(exhausted.until, NOW + BEHIND);
    assert_eq!(
        exhausted.to_string(),
        "the CA's limit of certificates for exactly a.example.com is used up until then"
    );
    let (count, exhausted) = until_refused(Kind::New, Outcome::Issued, |count| {
        names(&[&format!("n{count}.example.com")])
    });
    assert_eq!((count, exhausted.limit), (49, Limit::Domain));
    assert_eq!(exhausted.of, "example.com");
    let (count, exhausted) = until_refused(Kind::New, Outcome::Failed, |count| {
        names(&[&format!("n{count}.example.com")])
    });
    assert_eq!((count, exhausted.limit), (299, Limit::Orders));
    let failed = names(&["a.example.com"]);
    let (count, exhausted) = until_refused(Kind::New, Outcome::Invalid(&failed), |_| {
        names(&["a.example.com", "b.example.com"])
    });
    assert_eq!((count, exhausted.limit), (4, Limit::Failures));
    assert_eq!(exhausted.of, "a.example.com");
}

#[test]
fn what_the_ca_exempts_is_exempt_but_for_failures() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let one = names(&["a.example.com"]);
    for _ in 0..1_000 {
        let charge = budget
            .charge(&limits, &one, Kind::Suggested, NOW, false)
            .unwrap();
        budget.settle(&limits, &charge, Outcome::Issued, NOW);
    }
    for _ in 0..4 {
        let charge = budget
            .charge(&limits, &one, Kind::Suggested, NOW, false)
            .unwrap();
        budget.settle(&limits, &charge, Outcome::Invalid(&one), NOW);
    }
    let refused = budget.charge(&limits, &one, Kind::Suggested, NOW, false);
    assert_eq!(refused.unwrap_err().limit, Limit::Failures);
}

#[test]
fn a_crash_gets_nothing_for_free() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let one = names(&["a.example.com"]);
    // Charged and saved, and then nothing was heard of it any more.
    for _ in 0..4 {
        budget.charge(&limits, &one, Kind::New, NOW, false).unwrap();
    }
    let refused = budget.charge(&limits, &one, Kind::New, NOW, false);
    assert_eq!(refused.unwrap_err().limit, Limit::Set);
    let later = NOW + Duration::HOUR;
    assert!(budget.allows(&limits, &one, Kind::New, later).is_ok());
}

#[test]
fn an_order_that_waits_for_us_is_paid_for_once_and_never_counts_as_a_failure() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let one = names(&["a.example.com"]);
    let mut kind = Kind::New;
    for _ in 0..50 {
        let charge = budget.charge(&limits, &one, kind, NOW, false).unwrap();
        budget.settle(&limits, &charge, Outcome::Waiting, NOW);
        kind = Kind::Resumed;
    }
    // What it will end as is paid for: three more of the four at once are left.
    for _ in 0..3 {
        let charge = budget.charge(&limits, &one, Kind::New, NOW, false).unwrap();
        budget.settle(&limits, &charge, Outcome::Issued, NOW);
    }
    let refused = budget.charge(&limits, &one, Kind::New, NOW, false);
    assert_eq!(refused.unwrap_err().limit, Limit::Set);
}

#[test]
fn force_is_charged_all_the_same() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let one = names(&["a.example.com"]);
    for _ in 0..20 {
        assert!(budget.charge(&limits, &one, Kind::New, NOW, true).is_ok());
    }
    let refused = budget.charge(&limits, &one, Kind::New, NOW, false);
    let until = refused.unwrap_err().until;
    // However much was forced, no more is missing than there is.
    assert!(until - NOW <= Duration::hours(35), "{until}");
}

#[test]
fn a_clock_that_went_back_locks_nobody_out() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    let one = names(&["a.example.com"]);
    let future = NOW + Duration::days(4_000);
    for _ in 0..4 {
        budget
            .charge(&limits, &one, Kind::New, future, false)
            .unwrap();
    }
    let refused = budget.charge(&limits, &one, Kind::New, NOW, false);
    assert!(refused.unwrap_err().until - NOW <= Duration::hours(35));
}

#[test]
fn nothing_is_kept_of_what_is_full_again() {
    let limits = lets_encrypt();
    let mut budget = Budget::default();
    for count in 0..200 {
        let one = names(&[&format!("a.example{count}.com")]);
        let charge = budget.charge(&limits, &one, Kind::New, NOW, false).unwrap();
        budget.settle(&limits, &charge, Outcome::Issued, NOW);
    }
    assert!(serde_json::to_string(&budget).unwrap().len() > 10_000);
    let charge = budget
        .charge(
            &limits,
            &names(&["b.example"]),
            Kind::Renewal,
            NOW + Duration::WEEK,
            false,
        )
        .unwrap();
    budget.settle(&limits, &charge, Outcome::NotPlaced, NOW + Duration::WEEK);
    budget.tidy(NOW + Duration::WEEK);
    assert_eq!(serde_json::to_string(&budget).unwrap(), "{}");
}

/// What a CA counts, in the plainest way: everything that was ever spent, and when.
#[derive(Default)]
struct Ledger(BTreeMap<(Limit, String), Vec<OffsetDateTime>>);

impl Ledger {
    /// Refilled continuously: whatever span one looks at, no more than the burst and what came back in it may have been spent.
    fn is_within(&self, limits: &Limits) -> bool {
        self.0.iter().all(|((limit, _), spent)| {
            let rate = limits.rate(*limit).unwrap();
            let burst = (rate.whole() / rate.interval()).round() as usize;
            spent.iter().enumerate().all(|(first, from)| {
                spent[first..].iter().enumerate().all(|(more, to)| {
                    let back = (*to - *from) / rate.interval();
                    more < burst + back.floor() as usize
                })
            })
        })
    }
}

proptest! {
    #[test]
    fn no_bucket_is_ever_overdrawn_however_it_ends_and_however_late_the_ca_counts(
        orders in proptest::collection::vec((0..4_u8, 0..6_u8, 0..40_000_i64, 0..900_i64), 1..250),
    ) {
        let limits = lets_encrypt();
        let mut budget = Budget::default();
        let mut ledger = Ledger::default();
        let mut now = NOW;
        for (who, end, pause, late) in orders {
            now += Duration::seconds(pause / 10 * i64::from(pause % 3 == 0));
            let one = names(&[&format!("n{who}.example.com"), "example.com"]);
            let Ok(charge) = budget.charge(&limits, &one, Kind::New, now, false) else { continue };
            let seen = now + Duration::seconds(late);
            let failed = names(&["example.com"]);
            let outcome = match end {
                0 => Outcome::NotPlaced,
                1 => Outcome::Invalid(&failed),
                2 => Outcome::Failed,
                _ => Outcome::Issued,
            };
            let spent = charge.items.iter().filter(|(limit, of)| match (limit, outcome) {
                (_, Outcome::NotPlaced) => false,
                (Limit::Orders, _) => true,
                (Limit::Domain | Limit::Set, outcome) => outcome == Outcome::Issued,
                (Limit::Failures, Outcome::Invalid(_)) => of == "example.com",
                _ => false,
            });
            for (limit, of) in spent {
                // An order is counted when it is placed, which is at once.
                let at = if *limit == Limit::Orders { now } else { seen };
                let log = ledger.0.entry((*limit, of.clone())).or_default();
                log.push(at);
                log.sort();
            }
            if end < 5 {
                budget.settle(&limits, &charge, outcome, seen);
            }
            prop_assert!(ledger.is_within(&limits));
        }
    }
}
