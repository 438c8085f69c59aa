//! What we see of a CA's validation: its visits to our tokens, which tell when to ask for its verdict, and what to say if it is bad.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::{Mutex, watch};

use crate::acme::{Pending, Presenter};
use crate::challenge::KeyAuthorization;
use crate::identifier::Identifier;
use crate::progress::{Progress, Step};
use crate::proxy::challenges::{Challenges, Presented, Visit};

/// The tokens of one order, answered for as long as this lives.
pub(super) struct Visits {
    presented: Vec<(Identifier, Presented)>,
    counts: Mutex<Vec<watch::Receiver<usize>>>,
    progress: Progress,
}

impl Visits {
    /// Answers the tokens of these challenges from now on.
    pub(super) fn await_for(
        challenges: &Arc<Challenges>,
        pending: &[Pending],
        progress: &Progress,
    ) -> Self {
        let presented: Vec<_> = pending
            .iter()
            .map(|one| {
                (
                    one.identifier.clone(),
                    challenges.present(&one.key_authorization),
                )
            })
            .collect();
        let counts = presented
            .iter()
            .map(|(_, presented)| presented.count())
            .collect();
        Self {
            presented,
            counts: Mutex::new(counts),
            progress: progress.clone(),
        }
    }

    /// What we saw, as the end of a sentence about a failure.
    pub(super) fn summary(&self) -> String {
        let lines: Vec<_> = self
            .presented
            .iter()
            .map(|(identifier, presented)| {
                format!(
                    "for {identifier} the CA reached us {}",
                    described(*presented.count().borrow(), &presented.visits())
                )
            })
            .collect();
        lines.join(", ")
    }
}

fn described(count: usize, visits: &[Visit]) -> String {
    let times = match count {
        1 => "1 time".to_owned(),
        count => format!("{count} times"),
    };
    if visits.is_empty() {
        return times;
    }
    let schemes: BTreeSet<_> = visits
        .iter()
        .map(|visit| if visit.https { "https" } else { "http" })
        .collect();
    let hosts: BTreeSet<_> = visits.iter().map(|visit| visit.host.as_str()).collect();
    let list = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(" and ");
    format!("{times}, over {}, Host {}", list(schemes), list(hosts))
}

impl Presenter for Visits {
    /// The tokens have been answered since [`Visits::await_for`].
    async fn present(&self, identifier: &Identifier, key_authorization: &KeyAuthorization) {
        debug_assert!(
            self.presented.iter().any(|(of, presented)| of == identifier
                && presented.token() == key_authorization.token())
        );
    }

    async fn visited(&self) {
        let mut counts = self.counts.lock().await;
        if counts.is_empty() {
            return std::future::pending().await;
        }
        let changes = counts.iter_mut().map(|count| Box::pin(count.changed()));
        let (_, which, _) = select_all(changes).await;
        if let Some((identifier, presented)) = self.presented.get(which) {
            let client = presented.visits().last().and_then(|visit| visit.client);
            let from = client
                .map(|client| format!(" from {client}"))
                .unwrap_or_default();
            self.progress.reached(
                Step::Visited,
                format!("the CA asked for {identifier}{from}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(https: bool, host: &str) -> Visit {
        Visit {
            client: None,
            https,
            host: host.into(),
            user_agent: String::new(),
        }
    }

    #[test]
    fn says_how_often_and_how_the_ca_came() {
        assert_eq!(described(0, &[]), "0 times");
        assert_eq!(
            described(1, &[visit(false, "a.example")]),
            "1 time, over http, Host a.example"
        );
        let visits = [
            visit(false, "a.example"),
            visit(true, "www.a.example"),
            visit(true, "www.a.example"),
        ];
        assert_eq!(
            described(3, &visits),
            "3 times, over http and https, Host a.example and www.a.example"
        );
    }
}
