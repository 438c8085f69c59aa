//! An account with one CA (RFC 8555 7.1.2): made once, restored from what was kept of it, used by every order.

mod credentials;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use instant_acme::{Account as Inner, ExternalAccountKey, NewAccount};

use super::ca::{Ca, Directory};
use super::call::{Answer, CallError, call};
use super::problem::Problem;
use super::signed::Signed;
use super::transport::TransportError;
use crate::certificate::PrivateKey;

pub use credentials::{Credentials, Eab, Registration};

/// Why there is no account, or it can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The CA wants its terms agreed to, and nobody has.
    #[error("{directory} wants its terms of service agreed to: {terms}")]
    TermsNotAgreed {
        /// The directory's URL.
        directory: String,
        /// Where the terms can be read.
        terms: String,
    },
    /// The CA only takes accounts that are bound to one of its customers.
    #[error("{directory} needs an external account binding, and none is configured")]
    EabMissing {
        /// The directory's URL.
        directory: String,
    },
    /// The key of the external account binding is no base64url.
    #[error("the HMAC key of the external account binding is no base64url text")]
    EabUnreadable,
    /// What was kept of the account can't be used.
    #[error("the stored account can't be used: {reason}")]
    Credentials {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The CA doesn't know the account any more, or has closed it: register a new one.
    #[error("the CA does not accept the account any more: {problem}")]
    Gone {
        /// The CA's reason.
        problem: Problem,
    },
    /// The CA said no; pointless until the configuration changes.
    #[error("the CA refused: {problem}")]
    Refused {
        /// The CA's reason.
        problem: Problem,
    },
    /// Too many requests or accounts: wait.
    #[error("the CA asks to wait: {detail}")]
    RateLimited {
        /// Until then, if the CA says.
        until: Option<SystemTime>,
        /// The CA's reason.
        detail: String,
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
    /// The CA's answer makes no sense.
    #[error("the CA's answer to {what} makes no sense: {reason}")]
    Broken {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl AccountError {
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
            Self::RateLimited { .. } | Self::Unavailable { .. } | Self::Broken { .. } => false,
            Self::Refused { problem } => !problem.is_passing(),
            _ => true,
        }
    }

    /// One sentence on what to do about it.
    pub fn next_step(&self) -> String {
        match self {
            Self::TermsNotAgreed { .. } => {
                "read them and set accept_terms = true under [acme]".to_owned()
            }
            Self::EabMissing { .. } => {
                "create a binding in the CA's customer area and set eab = { kid, hmac_key_file } under [acme]".to_owned()
            }
            Self::EabUnreadable => {
                "copy the HMAC key again as the CA shows it, without quotes or line breaks".to_owned()
            }
            Self::Credentials { .. } | Self::Gone { .. } => {
                "move accounts/*/account.json of this CA out of the state directory; the next try registers anew".to_owned()
            }
            Self::Refused { problem } if !problem.is_passing() => {
                "change what the CA objects to under [acme], then try again".to_owned()
            }
            Self::RateLimited { .. } => {
                "try again when the CA allows it; the sidecar does so by itself".to_owned()
            }
            Self::Unavailable { source, .. } => unavailable_step(source.as_ref()).to_owned(),
            Self::Refused { .. } | Self::Broken { .. } => {
                "check that the directory's URL is the CA's ACME directory".to_owned()
            }
        }
    }
}

/// What to do when a CA can't be reached.
pub(super) fn unavailable_step(failure: Option<&TransportError>) -> &'static str {
    match failure {
        Some(TransportError::Untrusted { .. }) => {
            "give a private CA's root as ca_file under [acme]; for a public CA, check the clock and whatever intercepts TLS"
        }
        Some(TransportError::Connect { .. } | TransportError::TimedOut { .. }) => {
            "check the directory's URL, DNS and the firewall, then try again"
        }
        _ => "wait and try again; the sidecar does so by itself",
    }
}

impl From<CallError> for AccountError {
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
            CallError::Refused(problem) if says_account_gone(&problem) => Self::Gone { problem },
            CallError::Refused(problem) => Self::Refused { problem },
            CallError::Broken { what, reason } => Self::Broken { what, reason },
        }
    }
}

/// Whether a refusal means that the account itself is of no use any more (RFC 8555 7.3.6).
pub(super) fn says_account_gone(problem: &Problem) -> bool {
    let closed = || {
        let detail = problem.detail.to_lowercase();
        detail.contains("account") && (detail.contains("deactivated") || detail.contains("revoked"))
    };
    problem.kind == "accountDoesNotExist" || (problem.kind == "unauthorized" && closed())
}

/// An account that orders can be placed with. Clones are the same account.
#[derive(Clone)]
pub struct Account {
    pub(super) ca: Ca,
    pub(super) inner: Inner,
    pub(super) key: Arc<PrivateKey>,
}

impl Account {
    /// Makes a new account with a key of its own (RFC 8555 7.3).
    pub async fn register(
        ca: &Ca,
        registration: &Registration,
    ) -> Result<(Self, Credentials), AccountError> {
        let directory = ca.directory().await?;
        let eab = bound(ca, &directory, registration)?;
        let contact: Vec<String> = registration.contact.iter().map(|to| mailto(to)).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: registration.terms_agreed,
            only_return_existing: false,
        };
        let made = call!(
            "the request for an account",
            Inner::builder_with_http(ca.http(&directory)).create(
                &new,
                ca.url().to_owned(),
                eab.as_ref()
            )
        );
        let ((inner, kept), _) = made?;
        let credentials =
            Credentials::from_parts(inner.id(), ca.url(), kept.private_key().secret_pkcs8_der())
                .with_contact(&registration.contact);
        let account = Self {
            ca: ca.clone(),
            inner,
            key: Arc::new(credentials.key()?),
        };
        Ok((account, credentials))
    }

    /// The account of which these credentials were kept. Asks the CA for its directory only: whether it still knows the account shows with the first order.
    pub async fn restore(ca: &Ca, credentials: &Credentials) -> Result<Self, AccountError> {
        let directory = ca.directory().await?;
        let key = credentials.key()?;
        let (url, der) = (credentials.url().to_owned(), credentials.der()?);
        let inner = Inner::builder_with_http(ca.http(&directory))
            .from_parts(url, der, ca.url().to_owned())
            .await
            .map_err(|error| match error {
                instant_acme::Error::KeyRejected => AccountError::Credentials {
                    reason: "its key is no P-256 key",
                },
                error => AccountError::Broken {
                    what: "the request for the directory",
                    reason: error.to_string(),
                },
            })?;
        Ok(Self {
            ca: ca.clone(),
            inner,
            key: Arc::new(key),
        })
    }

    /// The account's URL, by which the CA knows it (RFC 8555 7.3).
    pub fn url(&self) -> &str {
        self.inner.id()
    }

    /// The thumbprint of its key (RFC 7638).
    pub fn thumbprint(&self) -> &str {
        self.inner.key_thumbprint()
    }

    /// The CA it is with.
    pub fn ca(&self) -> &Ca {
        &self.ca
    }

    /// Reads a resource of the account's (RFC 8555 6.3).
    pub(super) async fn read(&self, what: &'static str, url: &str) -> Result<Answer, CallError> {
        self.send(what, url, b"").await
    }

    /// Sends what the account's key signs.
    pub(super) async fn send(
        &self,
        what: &'static str,
        url: &str,
        payload: &[u8],
    ) -> Result<Answer, CallError> {
        let signed = Signed::by_account(self.url(), &self.key);
        self.ca.post(what, url, signed, payload).await
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.url()).finish()
    }
}

/// What the CA wants before it takes an account, told before it is asked.
fn bound(
    ca: &Ca,
    directory: &Directory,
    registration: &Registration,
) -> Result<Option<ExternalAccountKey>, AccountError> {
    if let Some(terms) = directory.terms()
        && !registration.terms_agreed
    {
        return Err(AccountError::TermsNotAgreed {
            directory: ca.url().to_owned(),
            terms: terms.to_owned(),
        });
    }
    if directory.needs_eab() && registration.eab.is_none() {
        return Err(AccountError::EabMissing {
            directory: ca.url().to_owned(),
        });
    }
    registration.eab.as_ref().map(Eab::key).transpose()
}

pub(super) fn mailto(address: &str) -> String {
    match address.contains(':') {
        true => address.to_owned(),
        false => format!("mailto:{address}"),
    }
}

#[cfg(test)]
mod tests;
