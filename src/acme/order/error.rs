//! Why there is no certificate, and what to do about it.

use std::time::SystemTime;

use crate::acme::account::{says_account_gone, unavailable_step};
use crate::acme::call::CallError;
use crate::acme::problem::Problem;
use crate::acme::proof::ChallengeKind;
use crate::acme::transport::TransportError;
use crate::identifier::Identifier;

/// Why an order did not lead to a certificate.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The CA looked and did not find what it should: try again when the cause is gone, with a new order.
    #[error("validation failed: {}", shown(failures))]
    Validation {
        /// One for each identifier that failed.
        failures: Vec<Failure>,
    },
    /// The CA does not let this identifier be validated in the way that was chosen.
    #[error(
        "the CA offers no {wanted} challenge for {identifier}, only {}",
        listed(offered)
    )]
    NoChallenge {
        /// The identifier.
        identifier: Identifier,
        /// The challenge that was chosen.
        wanted: ChallengeKind,
        /// The challenge types there are for it.
        offered: Vec<String>,
    },
    /// Too many requests, orders or failures: wait.
    #[error("the CA asks to wait: {detail}")]
    RateLimited {
        /// Until then, if the CA says.
        until: Option<SystemTime>,
        /// The CA's reason.
        detail: String,
    },
    /// No answer, or one that says to come again. The order may still be taken up by its URL.
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
    /// The CA said no.
    #[error("the CA refused: {problem}")]
    Refused {
        /// The CA's reason.
        problem: Problem,
    },
    /// The CA has no such profile.
    #[error("the CA has no profile {profile:?}, only {}", listed(offered))]
    UnknownProfile {
        /// The profile asked for.
        profile: String,
        /// Those it has.
        offered: Vec<String>,
    },
    /// The CA has profiles, and none is known to be for this identifier.
    #[error(
        "the CA certifies {identifier} by a profile only, and which of {} is not configured",
        listed(offered)
    )]
    ProfileNeeded {
        /// The identifier.
        identifier: Identifier,
        /// The profiles there are.
        offered: Vec<String>,
    },
    /// The CA doesn't accept the account any more: register a new one.
    #[error("the CA does not accept the account any more: {problem}")]
    AccountGone {
        /// The CA's reason.
        problem: Problem,
    },
    /// The CA doesn't accept which certificate this one replaces: order again without `replaces` (RFC 9773 5).
    #[error("the CA does not accept which certificate is to be replaced: {problem}")]
    ReplacesRefused {
        /// The CA's reason.
        problem: Problem,
    },
    /// The CA doesn't know the order any more: place a new one.
    #[error("the CA does not know the order any more: {problem}")]
    OrderGone {
        /// The CA's reason.
        problem: Problem,
    },
    /// The CA is still at it after all the time we give it. The order may still be taken up by its URL.
    #[error("the CA is not done with {what} after {} seconds", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: std::time::Duration,
    },
    /// The CA's answer makes no sense.
    #[error("the CA's answer to {what} makes no sense: {reason}")]
    Broken {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// Why one identifier could not be validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The identifier.
    pub identifier: Identifier,
    /// The CA's reason.
    pub problem: Problem,
}

fn shown(failures: &[Failure]) -> String {
    let each = failures
        .iter()
        .map(|failure| format!("{}: {}", failure.identifier, failure.problem));
    each.collect::<Vec<_>>().join("; ")
}

fn listed(offered: &[String]) -> String {
    match offered.is_empty() {
        true => "none at all".to_owned(),
        false => offered.join(", "),
    }
}

impl OrderError {
    /// Not to be tried again before then, if the CA said so (RFC 8555 6.6).
    pub fn retry_after(&self) -> Option<SystemTime> {
        match self {
            Self::RateLimited { until, .. } | Self::Unavailable { until, .. } => *until,
            _ => None,
        }
    }

    /// Whether trying again is pointless until something is changed by a person.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { problem } => !problem.is_passing(),
            Self::NoChallenge { .. }
            | Self::UnknownProfile { .. }
            | Self::ProfileNeeded { .. }
            | Self::AccountGone { .. } => true,
            _ => false,
        }
    }

    /// One sentence on what to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::Validation { failures } => validation_step(failures),
            Self::NoChallenge { identifier, .. } if identifier.needs_dns() => {
                format!("a wildcard needs challenge = \"dns-01\" for {identifier}")
            }
            Self::NoChallenge { .. } => {
                "choose another CA or another challenge for this app".to_owned()
            }
            Self::RateLimited { detail, .. } => match link_in(detail) {
                Some(link) => format!("read {link}, and try again when the CA allows it; the sidecar does so by itself"),
                None => "try again when the CA allows it; the sidecar does so by itself".to_owned(),
            },
            Self::Unavailable { source, .. } => unavailable_step(source.as_ref()).to_owned(),
            Self::Refused { .. } => {
                "change what the CA objects to in the app's domains or under [acme], then try again".to_owned()
            }
            Self::UnknownProfile { .. } => {
                "set profile under [acme] or the app to one of them, or leave it out".to_owned()
            }
            Self::ProfileNeeded { .. } => {
                "set profile under [acme] or the app to the one by which the CA certifies addresses, or choose another CA".to_owned()
            }
            Self::AccountGone { .. } => {
                "move accounts/*/account.json of this CA out of the state directory; the next try registers anew".to_owned()
            }
            Self::ReplacesRefused { .. } | Self::OrderGone { .. } | Self::Timeout { .. } => {
                "try again; the sidecar does so by itself".to_owned()
            }
            Self::Broken { .. } => {
                "check that the directory's URL is the CA's; if it is, report this to the CA or to us".to_owned()
            }
        }
    }
}

fn validation_step(failures: &[Failure]) -> String {
    let kind = |kind: &str| failures.iter().find(|failure| failure.problem.kind == kind);
    if let Some(failure) = kind("dns") {
        format!(
            "Check that {} has an A or AAAA record that points to this host.",
            failure.identifier
        )
    } else if let Some(failure) = kind("connection") {
        format!(
            "Check that port 80 of {} can be reached from the internet, over IPv6 too if it has an AAAA record.",
            failure.identifier
        )
    } else if let Some(failure) = kind("caa") {
        format!(
            "Let the CA in by a CAA record for {}, or choose another CA.",
            failure.identifier
        )
    } else {
        "Run sidedoor check to see which nginx rule or which other host answers instead of the door.".to_owned()
    }
}

/// The first link in a CA's explanation: Let's Encrypt points to the limit's page, or to where a paused name is set free.
fn link_in(detail: &str) -> Option<&str> {
    let start = detail.find("https://")?;
    let link = detail[start..].split_whitespace().next()?;
    Some(link.trim_end_matches(['.', ',', ';', ')', ':']))
}

impl From<CallError> for OrderError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::RateLimited { until, problem } => Self::RateLimited {
                until,
                detail: problem.to_string(),
            },
            CallError::Unavailable {
                until,
                reason,
                source,
            } => Self::Unavailable {
                until,
                reason,
                source,
            },
            CallError::Refused(problem) if says_account_gone(&problem) => {
                Self::AccountGone { problem }
            }
            CallError::Refused(problem) => Self::Refused { problem },
            CallError::Broken { what, reason } => Self::Broken { what, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        Problem {
            kind: kind.to_owned(),
            detail: detail.to_owned(),
            status: None,
            parts: Vec::new(),
        }
    }

    #[test]
    fn the_link_to_a_paused_name_is_shown() {
        let error = OrderError::RateLimited {
            until: None,
            detail:
                "Your account is temporarily prevented from requesting certificates for a.example. \
                     Please visit: https://portal.example/unpause?jwt=abc. (rateLimited)"
                    .to_owned(),
        };
        assert!(
            error
                .next_step()
                .contains("https://portal.example/unpause?jwt=abc,")
        );
    }

    #[test]
    fn only_what_a_person_must_change_is_final() {
        for (kind, expected) in [
            ("rejectedIdentifier", true),
            ("badCSR", true),
            ("dns", false),
            ("about:blank", false),
        ] {
            let error = OrderError::from(CallError::Refused(problem(kind, "x")));
            assert_eq!(error.is_final(), expected, "{kind}");
        }
        let gone = OrderError::from(CallError::Refused(problem(
            "unauthorized",
            "Account is not valid, has status \"deactivated\"",
        )));
        assert!(matches!(gone, OrderError::AccountGone { .. }));
    }

    #[test]
    fn every_failed_name_is_told_with_the_reason() {
        let failure = |name: &str, kind: &str| Failure {
            identifier: name.parse().unwrap(),
            problem: problem(kind, "no luck"),
        };
        let error = OrderError::Validation {
            failures: vec![
                failure("a.example", "unauthorized"),
                failure("b.example", "dns"),
            ],
        };
        assert_eq!(
            error.to_string(),
            "validation failed: a.example: no luck (unauthorized); b.example: no luck (dns)"
        );
        assert!(
            error
                .next_step()
                .contains("b.example has an A or AAAA record")
        );
    }
}
