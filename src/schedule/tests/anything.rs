//! Whatever happens, in whatever order.

use proptest::prelude::*;

use super::*;

fn anything() -> impl Strategy<Value = (u8, i64, i64, i64)> {
    (0..9_u8, -200..200_i64, -200..200_i64, 0..100_000_i64)
}

fn event((kind, a, b, minutes): (u8, i64, i64, i64), now: OffsetDateTime) -> Event {
    let retry_after = (minutes % 3 == 0).then(|| now + Duration::minutes(minutes));
    match kind {
        0 => Event::Suggested(Suggestion {
            window: Window {
                start: now + days(a),
                end: now + days(b),
            },
            explanation: None,
            retry_after,
        }),
        1 => Event::NothingSuggested,
        2 => Event::NotAnswered { retry_after },
        3 => Event::Issued,
        4 => failed(retry_after),
        5 => exhausted(now + Duration::minutes(minutes)),
        6 => Event::Unresolved(Vec::new()),
        7 => Event::ReplacesRefused { id: ID.to_owned() },
        _ => Event::Woken,
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_step_moves_on(
        lifetime in 1..120_i64,
        renew_before in proptest::option::of(0..200_u64),
        wanted: bool,
        random: u64,
        events in proptest::collection::vec(anything(), 1..60),
    ) {
        let live = certificate(lifetime);
        let facts = Facts {
            is_wanted: wanted,
            is_served: true,
            renew_before: renew_before.map(|days| Span::from_secs(days * 86_400)),
            ..facts(Some(&live))
        };
        let mut state = State::default();
        let mut now = NOW;
        for what in events {
            let random = random.wrapping_add(what.3 as u64);
            let next = state.step(event(what, now), &facts, now, random);
            prop_assert_eq!(&reread(&state), &state);
            // The same again leads to the same.
            prop_assert_eq!(&state.clone().step(Event::Woken, &facts, now, random), &next);
            match next.action {
                Action::Wait { until } => {
                    prop_assert!(until > now && until <= next.attempt.at);
                    now = until;
                }
                // An answer of any kind ends the question.
                Action::AskRenewalInfo { .. } => {
                    let answer = Event::NotAnswered { retry_after: None };
                    let after = state.step(answer, &facts, now, random);
                    let asks = matches!(after.action, Action::AskRenewalInfo { .. });
                    prop_assert!(!asks);
                }
                // An end of any kind ends the order.
                Action::Issue(_) => {
                    prop_assert!(next.attempt.at <= now);
                    let after = state.step(failed(None), &facts, now, random);
                    let issues = matches!(after.action, Action::Issue(_));
                    prop_assert!(!issues);
                }
            }
        }
    }

    #[test]
    fn what_fails_is_always_tried_again_before_it_ends(
        lifetime in 1..120_i64,
        random: u64,
        lasting: bool,
    ) {
        let live = certificate(lifetime);
        let facts = facts(Some(&live));
        let mut state = State::default();
        let mut now = due_between(&live, None).1;
        let cause = if lasting { Cause::Lasting } else { Cause::Unavailable };
        let mut attempts = 0;
        loop {
            let end = Event::Failed(Failed { cause, retry_after: None });
            let next = state.step(end, &facts, now, random.wrapping_add(attempts));
            if live.not_after - now <= Duration::minutes(3) {
                break;
            }
            prop_assert!(next.attempt.at > now && next.attempt.at < live.not_after);
            now = next.attempt.at;
            attempts += 1;
        }
        prop_assert!(attempts < 100);
    }
}
