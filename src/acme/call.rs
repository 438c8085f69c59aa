//! One call to a CA: repeated while it refuses our nonces, its last answer kept, and what a failure of it comes down to.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;

use super::problem::{Problem, plain};
use super::transport::TransportError;

/// So often a call is made whose nonce is refused; instant-acme itself tries each three times.
const NONCE_ATTEMPTS: usize = 12;

/// What a failed call to a CA comes down to, whatever it was made for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Too many requests, orders or failures: wait.
    #[error("the CA asks to wait: {problem}")]
    RateLimited {
        /// Until then, if the CA says.
        until: Option<SystemTime>,
        /// The CA's reason.
        problem: Problem,
    },
    /// No answer, or one that says to come again.
    #[error("the CA can't be asked now: {reason}")]
    Unavailable {
        /// Not before then, if the CA says.
        until: Option<SystemTime>,
        /// What happened.
        reason: String,
        /// The failure, where there was no answer.
        #[source]
        source: Option<TransportError>,
    },
    /// The CA understood and said no.
    #[error("the CA refused: {0}")]
    Refused(Problem),
    /// The CA's answer makes no sense.
    #[error("the CA's answer to {what} makes no sense: {reason}")]
    Broken {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl CallError {
    /// Not to be tried again before then, if the CA said so (RFC 8555 6.6).
    pub fn retry_after(&self) -> Option<SystemTime> {
        match self {
            Self::RateLimited { until, .. } | Self::Unavailable { until, .. } => *until,
            Self::Refused(_) | Self::Broken { .. } => None,
        }
    }

    /// Of an answer that is no success.
    pub(super) fn of_problem(
        status: StatusCode,
        until: Option<SystemTime>,
        problem: Problem,
    ) -> Self {
        match (problem.kind.as_str(), status.as_u16()) {
            // Its own words would show the nonce.
            ("badNonce", _) => Self::Unavailable {
                until,
                reason: "it refused one fresh nonce after another".to_owned(),
                source: None,
            },
            // Boulder also says so with 503 when it is overloaded.
            ("rateLimited", _) | (_, 429) => Self::RateLimited { until, problem },
            ("serverInternal", _) | (_, 408 | 500..) => Self::Unavailable {
                until,
                reason: problem.to_string(),
                source: None,
            },
            _ => Self::Refused(problem),
        }
    }

    /// Of no answer at all, or none that could be taken.
    pub(super) fn of_transport(what: &'static str, error: TransportError) -> Self {
        match error {
            TransportError::Address { .. } | TransportError::TooLarge { .. } => Self::Broken {
                what,
                reason: error.to_string(),
            },
            error => Self::Unavailable {
                until: None,
                reason: error.to_string(),
                source: Some(error),
            },
        }
    }

    fn of(what: &'static str, error: Option<instant_acme::Error>, answer: Option<Answer>) -> Self {
        let error = match error {
            Some(instant_acme::Error::Other(other)) => match other.downcast::<TransportError>() {
                Ok(error) => return Self::of_transport(what, *error),
                Err(other) => Some(instant_acme::Error::Other(other)),
            },
            error => error,
        };
        // The answer knows best: instant-acme tells some failures by what it missed in them.
        if let Some(Answer {
            status,
            retry_after,
            problem: Some(problem),
            ..
        }) = answer
        {
            return Self::of_problem(status, retry_after, problem);
        }
        match error {
            Some(instant_acme::Error::Api(problem)) => Self::Refused(Problem::from(&problem)),
            error => Self::Broken {
                what,
                reason: error.map_or_else(String::new, |error| plain(&error.to_string(), 300)),
            },
        }
    }
}

/// What is kept of the last answer to a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When to come again, if the CA says so and it is not over yet (RFC 9110 10.2.3).
    pub(super) retry_after: Option<SystemTime>,
    pub(super) location: Option<String>,
    /// Other chains for the same certificate (RFC 8555 7.4.2).
    pub(super) alternates: Vec<String>,
    pub(super) problem: Option<Problem>,
    pub(super) body: Bytes,
}

impl Answer {
    /// Unless it is a refusal.
    pub(super) fn success(self) -> Result<Self, CallError> {
        match self.problem {
            Some(problem) => Err(CallError::of_problem(
                self.status,
                self.retry_after,
                problem,
            )),
            None => Ok(self),
        }
    }

    /// Whether it says to try again with another nonce (RFC 8555 6.5).
    pub(super) fn refuses_nonce(&self) -> bool {
        let problem = self.problem.as_ref();
        problem.is_some_and(|problem| problem.kind == "badNonce")
    }
}

tokio::task_local! {
    /// Where the requests of the call under way leave their answers. Calls side by side on one account each have their own.
    pub(super) static LAST_ANSWER: Arc<Mutex<Option<Answer>>>;
}

/// Makes a call, repeats it while the CA refuses our nonces, and says what a failure comes down to: the value and the last answer,
/// or a [`CallError`]. `$what` completes "the answer to …"; `$future` is written out anew for each attempt. A macro, because a future that
/// holds an async closure is not known to be `Send`.
macro_rules! call {
    ($what:expr, $future:expr) => {{
        let mut attempts = $crate::acme::call::Attempts::new($what);
        loop {
            let outcome = $crate::acme::call::recorded($future).await;
            if let std::ops::ControlFlow::Break(result) = attempts.judge(outcome) {
                break result;
            }
        }
    }};
}
pub(super) use call;

type Outcome<T> = (Result<T, instant_acme::Error>, Option<Answer>);

/// Runs one attempt, and keeps the last answer of it.
pub(super) async fn recorded<T>(
    attempt: impl Future<Output = Result<T, instant_acme::Error>>,
) -> Outcome<T> {
    let slot = Arc::new(Mutex::new(None));
    let result = LAST_ANSWER.scope(Arc::clone(&slot), attempt).await;
    let answer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    (result, answer)
}

/// The attempts of one call.
pub(super) struct Attempts {
    what: &'static str,
    left: usize,
}

impl Attempts {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            left: NONCE_ATTEMPTS,
        }
    }

    /// Whether the call is done, or needs another attempt.
    pub(super) fn judge<T>(
        &mut self,
        (result, answer): Outcome<T>,
    ) -> ControlFlow<Result<(T, Answer), CallError>> {
        let problem = answer.as_ref().and_then(|answer| answer.problem.as_ref());
        let error = match (result, problem) {
            (Ok(value), None) => {
                return ControlFlow::Break(Ok((value, answer.unwrap_or_default())));
            }
            // instant-acme doesn't look at what became of a deactivation.
            (Ok(_), Some(_)) => None,
            (Err(error), _) => Some(error),
        };
        self.left -= 1;
        if self.left > 0 && problem.is_some_and(|problem| problem.kind == "badNonce") {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Err(CallError::of(self.what, error, answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_and_type_of_a_problem_say_what_to_do() {
        let of = |status: u16, kind: &str| {
            let problem = Problem {
                kind: kind.to_owned(),
                detail: "detail".to_owned(),
                status: None,
                parts: Vec::new(),
            };
            CallError::of_problem(StatusCode::from_u16(status).unwrap(), None, problem)
        };
        assert!(matches!(
            of(429, "rateLimited"),
            CallError::RateLimited { .. }
        ));
        assert!(matches!(
            of(503, "rateLimited"),
            CallError::RateLimited { .. }
        ));
        assert!(matches!(
            of(429, "about:blank"),
            CallError::RateLimited { .. }
        ));
        assert!(matches!(
            of(500, "serverInternal"),
            CallError::Unavailable { .. }
        ));
        assert!(matches!(
            of(502, "about:blank"),
            CallError::Unavailable { .. }
        ));
        assert!(matches!(of(400, "badNonce"), CallError::Unavailable { .. }));
        assert!(matches!(of(403, "unauthorized"), CallError::Refused(_)));
        assert!(matches!(of(404, "about:blank"), CallError::Refused(_)));
    }
}
