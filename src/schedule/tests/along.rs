//! What is brought forward to share a reload, and what is waited for before anything is placed.

use super::*;

#[test]
fn a_renewal_goes_along_with_others_half_a_day_early_at_most_and_never_before_the_ca_s_window() {
    let live = certificate(90);
    let facts = facts(Some(&live));
    let mut state = State::default();
    let planned = state.step(Event::NothingSuggested, &facts, NOW, 1).attempt;
    let along = state.along_from(&facts, NOW).unwrap();
    assert_eq!(planned.at - along, Duration::hours(12));
    let window = suggestion(days(50), days(52));
    let planned = state.step(window, &facts, NOW, 1).attempt;
    assert_eq!(planned.why, Why::Window);
    assert_eq!(state.along_from(&facts, NOW), Some(NOW + days(50)));
}

#[test]
fn what_is_hindered_missing_or_not_wanted_goes_along_with_nobody() {
    let live = certificate(90);
    let all = facts(Some(&live));
    let other = Facts {
        is_wanted: false,
        ..all
    };
    for facts in [facts(None), other] {
        assert_eq!(State::default().along_from(&facts, NOW), None);
    }
    for event in [failed(None), exhausted(NOW + days(80))] {
        let mut state = State::default();
        // Late enough for what hinders it to be what decides.
        let now = NOW + days(70);
        state.step(event, &all, now, 1);
        assert_eq!(state.along_from(&all, now), None);
    }
}

#[test]
fn what_nginx_was_not_seen_to_serve_is_tried_at_once() {
    let live = certificate(90);
    let facts = Facts {
        is_served: false,
        ..facts(Some(&live))
    };
    let next = State::default().step(Event::Woken, &facts, NOW, 1);
    assert_eq!(next.attempt.why, Why::NotLive);
    assert!(matches!(next.action, Action::Issue(_)));
}

#[test]
fn until_when_the_ca_has_asked_to_wait_is_known_until_another_ca_is_asked() {
    let mut state = State::default();
    let until = NOW + Duration::HOUR;
    state.step(failed(Some(until)), &facts(None), NOW, 1);
    assert!(state.asked_to_wait().is_some_and(|asked| asked >= until));
    let elsewhere = Facts {
        directory: "https://another.example/dir",
        ..facts(None)
    };
    state.step(Event::Woken, &elsewhere, NOW, 1);
    assert_eq!(state.asked_to_wait(), None);
}
