//! The schedule and the budget over simulated years: the time is an argument, so three of them take seconds.

// A test that unwraps says where it broke; clippy only knows that of functions marked as tests.
#![allow(clippy::unwrap_used)]

mod authority;
mod load;
mod world;

use time::Duration;

use world::{Outcome, Scenario, World};

const YEAR: Duration = Duration::days(365);

fn run(scenario: Scenario) -> Outcome {
    let outcome = World::new(scenario).run();
    println!("{outcome}");
    // None ever ends, unless the CA was away, or the sidecar stopped, for longer than a third of its life.
    assert!(outcome.expired.is_empty(), "{:?}", outcome.expired);
    // The CA has never had to say no: it counts by itself, and later than we do.
    assert_eq!(outcome.overdrawn, Vec::<String>::new());
    assert!(outcome.crowded.is_empty(), "{:?}", outcome.crowded);
    outcome
}

/// Every lifetime, with and without renewal information, failures, crashes, restarts, outages of hours and of weeks, a revocation.
#[test]
fn ten_thousand_certificates_look_after_themselves_for_three_years() {
    let outcome = run(Scenario {
        certificates: 10_000,
        span: YEAR * 3,
        lifetimes: &[45, 45, 45, 45, 45, 45, 90, 90, 90, 6],
        suggested: 1,
        outages: true,
        seed: 2_026,
    });
    assert!(outcome.issued > 250_000, "{}", outcome.issued);
    assert!(outcome.suggested > 30_000, "{}", outcome.suggested);
    assert!(outcome.excused > 0, "no outage was long enough to matter");
    assert!(outcome.restarts > 20 && outcome.crashes > 100);
}

/// Without a CA's windows and without trouble, a year of what was all begun on one day.
#[test]
fn what_was_begun_on_one_day_is_renewed_over_many() {
    let outcome = run(Scenario {
        certificates: 10_000,
        span: YEAR,
        lifetimes: &[45],
        suggested: 0,
        outages: false,
        seed: 7,
    });
    assert_eq!((outcome.excused, outcome.late), (0, 0));
}
