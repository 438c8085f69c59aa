//! The authorizations of an order: what is open, what failed, and telling the CA to look (RFC 8555 7.1.4, 7.5).
//!
//! One after another over the one connection: side by side they would need a TLS handshake each, which takes longer than
//! the few requests that an order of a few names has.

use std::time::{Duration, Instant};

use instant_acme::{
    AuthorizationStatus, Challenge, ChallengeStatus, ChallengeType, Error, Order as Inner,
};
use tokio::time::sleep;

use super::{Failure, Order, OrderError, OrderStatus, Pending};
use crate::acme::call::{CallError, call};
use crate::acme::problem::{Problem, plain};
use crate::challenge::{KeyAuthorization, Token};
use crate::identifier::Identifier;

/// After one authorization failed, the others get this long to fail too, so that all reasons are told at once.
const OTHERS_MAY_FAIL: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

const QUESTION: &str = "the question for an authorization";

impl Order {
    fn count(&mut self) -> usize {
        self.inner.state().authorizations.len()
    }

    /// Reads those authorizations that were not read yet.
    pub(super) async fn fetch_authorizations(&mut self) -> Result<(), OrderError> {
        for index in 0..self.count() {
            call!(
                QUESTION,
                look(&mut self.inner, index, self.challenge.theirs(), Look::Known)
            )?;
        }
        Ok(())
    }

    /// Reads again those authorizations that were open.
    pub(super) async fn refresh_authorizations(&mut self) -> Result<(), OrderError> {
        for index in 0..self.count() {
            call!(
                QUESTION,
                look(&mut self.inner, index, self.challenge.theirs(), Look::Again)
            )?;
        }
        Ok(())
    }

    /// Tells the CA to look at every open challenge (RFC 8555 7.5.1).
    pub(super) async fn announce(&mut self) -> Result<(), OrderError> {
        for index in 0..self.count() {
            let told = call!(
                "the call to validate",
                look(
                    &mut self.inner,
                    index,
                    self.challenge.theirs(),
                    Look::Announce
                )
            );
            let Err(error) = told else { continue };
            // Perhaps the CA is looking already, or has looked; then the order knows more.
            if matches!(error, CallError::Refused(_)) {
                call!(
                    QUESTION,
                    look(&mut self.inner, index, self.challenge.theirs(), Look::Again)
                )?;
                if !self.is_open(index).await {
                    continue;
                }
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Whether the CA has not begun to look at this one.
    async fn is_open(&mut self, index: usize) -> bool {
        self.known().await.get(index).is_some_and(|known| {
            known.status == AuthorizationStatus::Pending
                && known.proof.as_ref().is_some_and(|(_, open)| *open)
        })
    }

    /// The identifiers that have to be shown something.
    pub(super) async fn pending(&mut self) -> Result<Vec<Pending>, OrderError> {
        let mut pending = Vec::new();
        let mut failures = Vec::new();
        for known in self.known().await {
            let identifier = known.identifier()?;
            match known.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => {
                    let Some((key_authorization, _)) = known.proof else {
                        return Err(OrderError::NoChallenge {
                            identifier,
                            wanted: self.challenge,
                            offered: known.offered,
                        });
                    };
                    let key_authorization = parsed(&key_authorization)?;
                    pending.push(Pending {
                        identifier,
                        key_authorization,
                    });
                }
                _ => failures.push(known.failure(identifier)),
            }
        }
        pending.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        match failures.is_empty() {
            true => Ok(pending),
            false => Err(OrderError::Validation { failures }),
        }
    }

    /// The identifiers whose authorizations failed, as far as is known.
    pub(super) async fn failures(&mut self) -> Vec<Failure> {
        let known = self.known().await;
        let failed = known.into_iter().filter(|known| {
            !matches!(
                known.status,
                AuthorizationStatus::Pending | AuthorizationStatus::Valid
            )
        });
        let mut failures: Vec<Failure> = failed
            .filter_map(|known| known.identifier().ok().map(|name| known.failure(name)))
            .collect();
        // A CA's own order may differ from one reading to the next.
        failures.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        failures
    }

    /// Why the order is invalid: what its authorizations say, or else what it says itself.
    pub(super) async fn failure(&mut self) -> OrderError {
        debug_assert_eq!(self.status, OrderStatus::Invalid);
        let begun = Instant::now();
        while self.refresh_authorizations().await.is_ok() {
            let open = self
                .known()
                .await
                .iter()
                .any(|known| known.status == AuthorizationStatus::Pending);
            if !open || begun.elapsed() > OTHERS_MAY_FAIL.min(self.patience) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
        }
        let failures = self.failures().await;
        if !failures.is_empty() {
            return OrderError::Validation { failures };
        }
        match &self.inner.state().error {
            Some(problem) => CallError::Refused(Problem::from(problem)).into(),
            None => OrderError::Broken {
                what: "the question for the order",
                reason: "the order is invalid, and nothing says why".to_owned(),
            },
        }
    }

    /// What has been read of the authorizations; asks nobody.
    async fn known(&mut self) -> Vec<Known> {
        let read = self.inner.state().authorizations.iter();
        let read = read
            .take_while(|authorization| authorization.state.is_some())
            .count();
        let kind = self.challenge.theirs();
        let mut known = Vec::new();
        let mut list = self.inner.authorizations();
        for _ in 0..read {
            let Some(Ok(mut authorization)) = list.next().await else {
                break;
            };
            let error = authorization
                .challenges
                .iter()
                .find_map(|challenge| challenge.error.as_ref());
            known.push(Known {
                name: authorization.identifier().to_string(),
                status: authorization.status,
                offered: authorization.challenges.iter().map(type_of).collect(),
                error: error.map(Problem::from),
                proof: authorization.challenge(kind.clone()).map(|challenge| {
                    let open = challenge.status == ChallengeStatus::Pending;
                    (challenge.key_authorization().as_str().to_owned(), open)
                }),
            });
        }
        known
    }
}

/// What to do with one authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Read it unless it was read before.
    Known,
    /// Read it again if it was open.
    Again,
    /// Tell the CA to look, if it has not begun.
    Announce,
}

/// instant-acme hands out authorizations only in a row, from the first; those it has read already cost nothing.
async fn look(
    order: &mut Inner,
    index: usize,
    kind: ChallengeType,
    look: Look,
) -> Result<(), Error> {
    let mut list = order.authorizations();
    for _ in 0..index {
        list.next().await.transpose()?;
    }
    let Some(mut authorization) = list.next().await.transpose()? else {
        return Ok(());
    };
    match look {
        Look::Again if authorization.status == AuthorizationStatus::Pending => {
            authorization.refresh().await?;
        }
        Look::Announce if authorization.status == AuthorizationStatus::Pending => {
            if let Some(mut challenge) = authorization.challenge(kind)
                && challenge.status == ChallengeStatus::Pending
            {
                challenge.set_ready().await?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// One authorization, as far as it matters here.
struct Known {
    name: String,
    status: AuthorizationStatus,
    offered: Vec<String>,
    error: Option<Problem>,
    /// The key authorization of the challenge we answer, and whether the CA has not begun to look.
    proof: Option<(String, bool)>,
}

impl Known {
    fn identifier(&self) -> Result<Identifier, OrderError> {
        self.name.parse().map_err(|_| OrderError::Broken {
            what: QUESTION,
            reason: format!("it is for {:?}", plain(&self.name, 100)),
        })
    }

    fn failure(self, identifier: Identifier) -> Failure {
        let unexplained = || Problem {
            kind: "about:blank".to_owned(),
            detail: format!("the authorization is {:?}", self.status).to_lowercase(),
            status: None,
            parts: Vec::new(),
        };
        Failure {
            identifier,
            problem: self.error.unwrap_or_else(unexplained),
        }
    }
}

fn type_of(challenge: &Challenge) -> String {
    match &challenge.r#type {
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Unknown(name) => plain(name, 40),
        other => format!("{other:?}"),
    }
}

fn parsed(key_authorization: &str) -> Result<KeyAuthorization, OrderError> {
    let (token, _) = key_authorization
        .rsplit_once('.')
        .unwrap_or((key_authorization, ""));
    token
        .parse()
        .and_then(|token: Token| KeyAuthorization::new(token, key_authorization))
        .map_err(|error| OrderError::Broken {
            what: QUESTION,
            reason: error.to_string(),
        })
}
