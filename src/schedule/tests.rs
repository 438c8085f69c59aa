mod along;
mod anything;

use time::macros::datetime;

use super::*;
use crate::budget::Limit;

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
const ID: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

fn certificate(days: i64) -> Certificate {
    Certificate {
        id: Some(ID.to_owned()),
        not_before: NOW,
        not_after: NOW + Duration::days(days),
    }
}

fn facts(certificate: Option<&Certificate>) -> Facts<'_> {
    Facts {
        certificate,
        is_wanted: certificate.is_some(),
        is_revoked: false,
        is_served: true,
        renew_before: None,
        directory: "https://ca.example/dir",
        fingerprint: "first",
    }
}

fn suggestion(from: Duration, to: Duration) -> Event {
    Event::Suggested(Suggestion {
        window: Window {
            start: NOW + from,
            end: NOW + to,
        },
        explanation: None,
        retry_after: None,
    })
}

fn failed(retry_after: Option<OffsetDateTime>) -> Event {
    Event::Failed(Failed {
        cause: Cause::Passing,
        retry_after,
    })
}

fn exhausted(until: OffsetDateTime) -> Event {
    Event::Withheld(Exhausted {
        limit: Limit::Orders,
        of: String::new(),
        until,
    })
}

fn days(days: i64) -> Duration {
    Duration::days(days)
}

fn reread(state: &State) -> State {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

#[test]
fn what_is_missing_or_has_other_names_is_ordered_at_once() {
    let mut state = State::default();
    let next = state.step(Event::Woken, &facts(None), NOW, 1);
    assert_eq!(next.attempt.why, Why::Missing);
    let first = Issue {
        replaces: None,
        is_exempt: false,
        resolve_first: true,
    };
    assert_eq!(next.action, Action::Issue(first));
    let live = certificate(90);
    let other = Facts {
        is_wanted: false,
        is_served: true,
        ..facts(Some(&live))
    };
    let next = state.step(Event::Woken, &other, NOW, 1);
    assert_eq!(next.attempt.why, Why::OtherNames);
    let revoked = Facts {
        is_revoked: true,
        ..facts(Some(&live))
    };
    let due = state.due(&revoked, NOW);
    assert_eq!((due.at, due.why), (NOW, Why::Revoked));
    assert!(
        matches!(next.action, Action::Issue(Issue { replaces: Some(id), is_exempt: false, .. }) if id == ID)
    );
}

#[test]
fn the_ca_is_asked_first_and_its_window_decides() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    let mut state = State::default();
    let next = state.step(Event::Woken, &facts, NOW, 1);
    assert_eq!(next.action, Action::AskRenewalInfo { id: ID.to_owned() });
    let next = state.step(suggestion(days(60), days(62)), &facts, NOW, 2);
    assert_eq!(next.attempt.why, Why::Window);
    assert!(next.attempt.at > NOW + days(60) && next.attempt.at < NOW + days(62));
    let Action::Wait { until } = next.action else {
        panic!("{next:?}");
    };
    let span = until - NOW;
    assert!(
        span >= Duration::hours(6) && span < Duration::hours(7),
        "{span}"
    );
}

#[test]
fn a_window_that_stays_keeps_its_moment_over_restarts_and_another_window_gets_another() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    let mut state = State::default();
    let drawn = state
        .step(suggestion(days(60), days(62)), &facts, NOW, 2)
        .attempt
        .at;
    let mut state = reread(&state);
    for random in 0..50 {
        let again = state.step(suggestion(days(60), days(62)), &facts, NOW, random);
        assert_eq!(again.attempt.at, drawn);
    }
    let moved = state.step(suggestion(days(65), days(67)), &facts, NOW, 2);
    assert!(moved.attempt.at > NOW + days(65) && moved.attempt.at < NOW + days(67));
}

#[test]
fn the_order_names_what_it_replaces_and_is_exempt_only_inside_the_window() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    let mut state = State::default();
    let at = state
        .step(suggestion(days(60), days(62)), &facts, NOW, 2)
        .attempt
        .at;
    let issue = |state: &mut State, now| {
        // The old answer is asked for once more before the order; without a new one it still holds.
        let _ = state.step(Event::NotAnswered { retry_after: None }, &facts, now, 3);
        match state.step(Event::Woken, &facts, now, 3).action {
            Action::Issue(issue) => issue,
            other => panic!("{other:?}"),
        }
    };
    let inside = issue(&mut state, at);
    assert_eq!(
        (inside.replaces.as_deref(), inside.is_exempt),
        (Some(ID), true)
    );
    let late = issue(&mut state, NOW + days(63));
    assert_eq!(
        (late.replaces.as_deref(), late.is_exempt),
        (Some(ID), false)
    );
    let refused = Event::ReplacesRefused { id: ID.to_owned() };
    let _ = state.step(refused, &facts, at, 3);
    let without = issue(&mut reread(&state), at);
    assert_eq!((without.replaces, without.is_exempt), (None, false));
}

#[test]
fn a_window_in_the_past_means_now_but_not_again_and_again() {
    let live = certificate(90);
    let over = || suggestion(days(-3), days(-2));
    let mut state = State::default();
    let next = state.step(over(), &facts(Some(&live)), NOW, 1);
    assert_eq!(next.attempt.why, Why::Alarm { explanation: None });
    assert!(matches!(next.action, Action::Issue(_)), "{next:?}");
    let second = Certificate {
        id: Some("other.id".to_owned()),
        not_before: NOW + Duration::HOUR,
        ..live
    };
    let mut state = reread(&state);
    let facts = facts(Some(&second));
    let _ = state.step(Event::Issued, &facts, NOW, 2);
    let next = state.step(over(), &facts, NOW, 3);
    assert_eq!(next.attempt.at, NOW + BETWEEN_ALARMS);
}

#[test]
fn windows_that_make_no_sense_are_ignored_with_a_reason() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    for (from, to, reason) in [
        (60, 59, Ignored::UpsideDown),
        (60, 60, Ignored::UpsideDown),
        (85, 89, Ignored::TooLate),
        (36_500, 36_501, Ignored::TooLate),
    ] {
        let mut state = State::default();
        let next = state.step(suggestion(days(from), days(to)), &facts, NOW, 1);
        let ignored = Some(reason);
        assert_eq!(next.attempt.why, Why::Lifetime { ignored });
        assert!(next.attempt.why.to_string().contains("since the window"));
        assert!(next.attempt.at <= NOW + days(60));
    }
    // One that only ends too late is cut.
    for random in 0..100 {
        let mut state = State::default();
        let next = state.step(suggestion(days(80), days(300)), &facts, NOW, random);
        assert!(next.attempt.at < NOW + Duration::hours(1_981), "{next:?}");
    }
}

#[test]
fn the_next_question_comes_when_the_ca_says_within_bounds() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    for (retry_after, from, to) in [
        (Some(Duration::ZERO), Duration::MINUTE, Duration::minutes(2)),
        (Some(Duration::HOUR), Duration::HOUR, Duration::minutes(66)),
        (Some(days(400)), Duration::DAY, Duration::hours(27)),
        (None, Duration::hours(6), Duration::hours(7)),
    ] {
        let event = Event::Suggested(Suggestion {
            window: Window {
                start: NOW + days(60),
                end: NOW + days(62),
            },
            explanation: None,
            retry_after: retry_after.map(|after| NOW + after),
        });
        let next = State::default().step(event, &facts, NOW, 9);
        let Action::Wait { until } = next.action else {
            panic!("{next:?}");
        };
        assert!(
            until - NOW >= from && until - NOW <= to,
            "{retry_after:?}: {until}"
        );
    }
}

#[test]
fn a_ca_that_does_not_answer_is_asked_again_and_the_lifetime_decides() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    let mut state = State::default();
    let mut now = NOW;
    for minutes in [1, 10, 100, 360, 360] {
        let unanswered = Event::NotAnswered { retry_after: None };
        let next = state.step(unanswered, &facts, now, 4);
        assert_eq!(next.attempt.why, Why::Lifetime { ignored: None });
        let Action::Wait { until } = next.action else {
            panic!("{next:?}");
        };
        let pause = until - now;
        assert!(
            pause >= Duration::minutes(minutes) && pause <= Duration::minutes(minutes) * 11 / 10
        );
        now = until;
        state = reread(&state);
    }
    // When it is due, a CA that does not answer is not waited for.
    let due = state.attempt(&facts, now).at;
    assert!(matches!(
        state.step(Event::Woken, &facts, due, 4).action,
        Action::Issue(_)
    ));
}

#[test]
fn the_operator_overrides_the_window_but_not_an_alarm() {
    let live = certificate(90);
    let facts = Facts {
        renew_before: Some(Span::from_secs(10 * 86_400)),
        ..facts(Some(&live))
    };
    let mut state = State::default();
    let next = state.step(suggestion(days(60), days(62)), &facts, NOW, 2);
    assert_eq!(next.attempt.why, Why::RenewBefore);
    assert!(next.attempt.at >= NOW + days(79) && next.attempt.at <= NOW + days(80));
    // The usual window goes by; then the CA revokes, and moves it back.
    let later = NOW + days(70);
    let next = state.step(suggestion(days(60), days(62)), &facts, later, 2);
    assert_eq!(next.attempt.why, Why::RenewBefore);
    let next = state.step(suggestion(days(58), days(59)), &facts, later, 2);
    assert_eq!(next.attempt.why, Why::Alarm { explanation: None });
    assert_eq!(next.attempt.at, later);
}

#[test]
fn failures_wait_longer_each_time_over_restarts_until_something_changes() {
    let mut state = State::default();
    let mut now = NOW;
    for (attempts, minutes) in [(1, 1), (2, 10), (3, 100), (4, 1_440), (5, 1_440)] {
        let next = state.step(failed(None), &facts(None), now, attempts.into());
        assert_eq!(next.attempt.why, Why::BackOff { attempts });
        let pause = next.attempt.at - now;
        let expected = Duration::minutes(minutes);
        assert!(pause >= expected * 9 / 10 && pause <= expected * 11 / 10);
        now = next.attempt.at;
        state = reread(&state);
    }
    let changed = Facts {
        fingerprint: "second",
        ..facts(None)
    };
    let mut other = state.clone();
    let _ = other.step(failed(None), &facts(None), now, 1);
    let next = other.step(Event::Woken, &changed, now, 1);
    assert!(matches!(next.action, Action::Issue(_)), "{next:?}");
    let _ = state.step(Event::Issued, &facts(None), now, 1);
    assert_eq!(state.failures, Failures::default());
}

#[test]
fn what_a_ca_has_asked_for_outlives_a_changed_configuration_but_binds_no_other_ca() {
    let mut state = State::default();
    let until = NOW + days(3);
    let next = state.step(failed(Some(until)), &facts(None), NOW, 1);
    assert_eq!(next.attempt.why, Why::AskedToWait);
    let changed = Facts {
        fingerprint: "second",
        ..facts(None)
    };
    let next = state.step(Event::Woken, &changed, NOW, 1);
    assert!(next.attempt.at >= until);
    let moved = Facts {
        directory: "https://other.example/dir",
        ..changed
    };
    let next = state.step(Event::Woken, &moved, NOW, 1);
    assert!(matches!(next.action, Action::Issue(_)), "{next:?}");
}

#[test]
fn a_limit_is_waited_for_without_counting_a_failure() {
    let mut state = State::default();
    let until = NOW + Duration::hours(2);
    let next = state.step(exhausted(until), &facts(None), NOW, 1);
    assert_eq!(next.action, Action::Wait { until });
    assert!(matches!(next.attempt.why, Why::Budget { .. }));
    assert_eq!(state.failures.attempts, 0);
    // Whoever is told so again and again comes back ever later, so that thousands don't ask at once.
    let mut latest = Duration::ZERO;
    for random in 0..20 {
        let later = NOW + days(1);
        let next = state
            .clone()
            .step(exhausted(later), &facts(None), later, random);
        latest = latest.max(next.attempt.at - later);
    }
    assert!(
        latest > Duration::hours(4) && latest <= BEHIND_THE_LIMIT,
        "{latest}"
    );
}

#[test]
fn names_that_do_not_resolve_are_waited_for_and_tried_nevertheless_once_a_day() {
    let mut state = State::default();
    let names: Vec<Identifier> = vec!["new.example".parse().unwrap()];
    let mut now = NOW;
    let mut looks = 0;
    loop {
        let next = state.step(Event::Woken, &facts(None), now, looks);
        let Action::Issue(issue) = next.action else {
            panic!("{next:?}");
        };
        if !issue.resolve_first {
            break;
        }
        let next = state.step(Event::Unresolved(names.clone()), &facts(None), now, looks);
        assert_eq!(
            next.attempt.why.to_string(),
            "new.example does not resolve yet"
        );
        assert_eq!(state.failures.attempts, 0);
        now = next.attempt.at;
        looks += 1;
        state = reread(&state);
    }
    assert!(
        now - NOW >= days(1) && now - NOW < Duration::hours(25),
        "{}",
        now - NOW
    );
    assert!(looks > 100 && looks < 250, "{looks}");
    let next = state.step(failed(None), &facts(None), now, 1);
    let next = state.step(Event::Woken, &facts(None), next.attempt.at, 1);
    assert!(matches!(
        next.action,
        Action::Issue(Issue {
            resolve_first: true,
            ..
        })
    ));
}

#[test]
fn an_older_or_empty_file_is_a_state() {
    assert_eq!(
        serde_json::from_str::<State>("{}").unwrap(),
        State::default()
    );
}
