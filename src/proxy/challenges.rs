//! The token map: which key authorizations are answered now, and who has asked for them.
//!
//! Reads stand on the data path of every challenge request, so they take no lock: one atomic load of a whole map, which
//! writers replace (benches/README.md compares this with sharded locks). Tokens are few and live for seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::watch;

use crate::challenge::{KeyAuthorization, Token};

/// No CA asks more often for one token; what comes beyond is counted, not kept.
const KEPT_VISITS: usize = 32;

/// One request for a token of ours, as it reached us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Whoever asked: the outermost address a trusted peer reported.
    pub client: Option<IpAddr>,
    /// The scheme in which nginx was asked (`X-Forwarded-Proto`).
    pub https: bool,
    /// `Host` as it was sent.
    pub host: String,
    /// `User-Agent` as it was sent.
    pub user_agent: String,
}

/// What is answered for one token.
#[derive(Debug)]
pub struct Answer {
    body: Bytes,
    visits: Mutex<Vec<Visit>>,
    count: watch::Sender<usize>,
}

impl Answer {
    fn new(key_authorization: &KeyAuthorization) -> Self {
        Self {
            body: Bytes::copy_from_slice(key_authorization.as_str().as_bytes()),
            visits: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    /// The key authorization, to the byte.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Notes that somebody was given the answer.
    pub fn visited(&self, visit: Visit) {
        self.visited_with(|| visit);
    }

    /// The same, for who would rather not put the visit together if it isn't kept.
    pub fn visited_with(&self, visit: impl FnOnce() -> Visit) {
        let mut visits = locked(&self.visits);
        if visits.len() < KEPT_VISITS {
            visits.push(visit());
        }
        drop(visits);
        self.count.send_if_modified(|count| {
            *count += 1;
            // Waking nobody costs as much as the rest of this. Who subscribes from now on sees the new count.
            self.count.receiver_count() > 0
        });
    }
}

/// The tokens that are answered now. Cheap to share; every clone of the `Arc` sees the same tokens.
#[derive(Debug, Default)]
pub struct Challenges {
    answers: ArcSwap<HashMap<Token, Arc<Answer>>>,
    /// Writers one at a time, so that none loses another's token.
    writing: Mutex<()>,
}

impl Challenges {
    /// The answer for a token, without a lock.
    pub fn answer(&self, token: &str) -> Option<Arc<Answer>> {
        self.answers.load().get(token).cloned()
    }

    /// Answers for this token until the returned value is dropped. A token that was there already is answered with the new key authorization.
    pub fn present(self: &Arc<Self>, key_authorization: &KeyAuthorization) -> Presented {
        let answer = Arc::new(Answer::new(key_authorization));
        let token = key_authorization.token().clone();
        self.change(|answers| {
            answers.insert(token.clone(), Arc::clone(&answer));
        });
        Presented {
            key_authorization: key_authorization.clone(),
            answer,
            challenges: Arc::clone(self),
        }
    }

    /// The tokens that are answered now, in order.
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<_> = self.answers.load().keys().cloned().collect();
        tokens.sort();
        tokens
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<Token, Arc<Answer>>)) {
        let _one_at_a_time = locked(&self.writing);
        let mut answers = HashMap::clone(&self.answers.load());
        change(&mut answers);
        self.answers.store(Arc::new(answers));
    }
}

/// A token that is answered for as long as this value lives.
#[derive(Debug)]
#[must_use = "the token is no longer answered once this is dropped"]
pub struct Presented {
    key_authorization: KeyAuthorization,
    answer: Arc<Answer>,
    challenges: Arc<Challenges>,
}

impl Presented {
    /// The token.
    pub fn token(&self) -> &Token {
        self.key_authorization.token()
    }

    /// What it is answered with.
    pub fn key_authorization(&self) -> &KeyAuthorization {
        &self.key_authorization
    }

    /// The visits so far, at most the first few dozen.
    pub fn visits(&self) -> Vec<Visit> {
        locked(&self.answer.visits).clone()
    }

    /// How often the token has been asked for; changes wake the receiver.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.answer.count.subscribe()
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        let token = self.key_authorization.token();
        self.challenges.change(|answers| {
            // Whoever presented the same token after us keeps it.
            if answers
                .get(token)
                .is_some_and(|answer| Arc::ptr_eq(answer, &self.answer))
            {
                answers.remove(token);
            }
        });
    }
}

/// A panic while the lock was held leaves nothing half-done here, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_authorization(token: &str, fill: char) -> KeyAuthorization {
        let text = format!("{token}.{}", String::from(fill).repeat(43));
        KeyAuthorization::new(token.parse().unwrap(), &text).unwrap()
    }

    fn visit() -> Visit {
        Visit {
            client: None,
            https: false,
            host: "a.example".into(),
            user_agent: String::new(),
        }
    }

    #[test]
    fn answers_a_token_for_as_long_as_it_is_presented() {
        let challenges = Arc::new(Challenges::default());
        let presented = challenges.present(&key_authorization("abc", 'x'));
        let body = challenges.answer("abc").unwrap().body();
        assert_eq!(body, format!("abc.{}", "x".repeat(43)));
        assert!(challenges.answer("abd").is_none());
        drop(presented);
        assert!(challenges.answer("abc").is_none());
    }

    #[test]
    fn a_later_presentation_of_the_same_token_outlives_the_earlier() {
        let challenges = Arc::new(Challenges::default());
        let earlier = challenges.present(&key_authorization("abc", 'x'));
        let later = challenges.present(&key_authorization("abc", 'y'));
        drop(earlier);
        assert_eq!(
            challenges.answer("abc").unwrap().body(),
            format!("abc.{}", "y".repeat(43))
        );
        drop(later);
        assert!(challenges.tokens().is_empty());
    }

    #[test]
    fn loses_no_token_when_many_write_at_once() {
        let challenges = Arc::new(Challenges::default());
        let presented: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let challenges = &challenges;
                    scope.spawn(move || {
                        (0..50)
                            .map(|n| {
                                challenges
                                    .present(&key_authorization(&format!("t{writer}-{n}"), 'x'))
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            writers
                .into_iter()
                .flat_map(|writer| writer.join().unwrap())
                .collect()
        });
        assert_eq!(challenges.tokens().len(), 400);
        drop(presented);
        assert!(challenges.tokens().is_empty());
    }

    #[tokio::test]
    async fn wakes_whoever_waits_for_a_visit() {
        let challenges = Arc::new(Challenges::default());
        let presented = challenges.present(&key_authorization("abc", 'x'));
        let mut count = presented.count();
        challenges.answer("abc").unwrap().visited(visit());
        count.changed().await.unwrap();
        assert_eq!(*count.borrow(), 1);
        assert_eq!(presented.visits(), [visit()]);
    }

    #[test]
    fn keeps_the_first_visits_and_counts_the_rest() {
        let challenges = Arc::new(Challenges::default());
        let presented = challenges.present(&key_authorization("abc", 'x'));
        for _ in 0..100 {
            challenges.answer("abc").unwrap().visited(visit());
        }
        assert_eq!(presented.visits().len(), KEPT_VISITS);
        assert_eq!(*presented.count().borrow(), 100);
    }
}
