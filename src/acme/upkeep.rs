//! What is done with an account besides orders: contacts, a new key, revoking a certificate, closing it (RFC 8555 7.3.2, 7.3.5, 7.3.6, 7.6).

use std::str::FromStr;

use instant_acme::RevocationRequest;
use rustls_pki_types::CertificateDer;

use super::account::{Account, AccountError, Credentials, mailto};
use super::call::{CallError, call};

/// Why a certificate is revoked (RFC 5280 5.3.1); only what public CAs take from subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationReason {
    /// No reason is given.
    #[default]
    Unspecified,
    /// Somebody else may have the private key.
    KeyCompromise,
    /// The names belong to somebody else now.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// Nothing is served under the names any more.
    CessationOfOperation,
}

/// A reason that there isn't.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no reason; choose unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation"
)]
pub struct UnknownReason(String);

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        Ok(match name {
            "unspecified" => Self::Unspecified,
            "key-compromise" => Self::KeyCompromise,
            "affiliation-changed" => Self::AffiliationChanged,
            "superseded" => Self::Superseded,
            "cessation-of-operation" => Self::CessationOfOperation,
            _ => return Err(UnknownReason(name.chars().take(64).collect())),
        })
    }
}

impl From<RevocationReason> for instant_acme::RevocationReason {
    fn from(reason: RevocationReason) -> Self {
        match reason {
            RevocationReason::Unspecified => Self::Unspecified,
            RevocationReason::KeyCompromise => Self::KeyCompromise,
            RevocationReason::AffiliationChanged => Self::AffiliationChanged,
            RevocationReason::Superseded => Self::Superseded,
            RevocationReason::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

impl Account {
    /// Revokes a certificate that this account has got, or could get. One that is revoked already is no failure (RFC 8555 7.6).
    pub async fn revoke(
        &self,
        certificate: &CertificateDer<'_>,
        reason: RevocationReason,
    ) -> Result<(), AccountError> {
        let revoked = call!("the revocation", async {
            let request = RevocationRequest {
                certificate,
                reason: Some(reason.into()),
            };
            self.inner.revoke(&request).await
        });
        match revoked {
            Ok(_) => Ok(()),
            Err(CallError::Refused(problem)) if problem.kind == "alreadyRevoked" => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces the e-mail addresses that the CA has of us (RFC 8555 7.3.2).
    pub async fn update_contact(&self, contact: &[String]) -> Result<(), AccountError> {
        let contact: Vec<String> = contact.iter().map(|to| mailto(to)).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        call!(
            "the change of contacts",
            self.inner.update_contacts(&contact)
        )?;
        Ok(())
    }

    /// Gives the account a new key (RFC 8555 7.3.5). Clones of this value keep the old key and are of no use any more; the new
    /// credentials have to be kept at once, for without them the account is lost, and so it is if the CA's answer gets lost.
    pub async fn roll_over(&mut self) -> Result<Credentials, AccountError> {
        let (kept, _) = call!("the change of the account's key", self.inner.update_key())?;
        let key = kept.private_key().secret_pkcs8_der();
        Ok(Credentials::from_parts(self.url(), self.ca().url(), key))
    }

    /// Closes the account for good (RFC 8555 7.3.6).
    pub async fn deactivate(self) -> Result<(), AccountError> {
        call!("the deactivation", self.inner.clone().deactivate())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::acme::fake_ca::{FakeCa, Received, Reply, usual};
    use crate::acme::{Ca, Registration};

    async fn account(
        script: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static,
    ) -> (FakeCa, Account) {
        let fake = FakeCa::start(script).await;
        let ca = Ca::new(&fake.url("/directory"), b"").unwrap();
        let registration = Registration {
            terms_agreed: true,
            ..Registration::default()
        };
        let (account, _) = Account::register(&ca, &registration).await.unwrap();
        (fake, account)
    }

    #[tokio::test]
    async fn a_revocation_carries_its_reason_and_may_be_repeated() {
        let (fake, account) = account(|request, base| match request.line.as_str() {
            "POST /revoke" if request.count("POST /revoke") == 0 => Reply::text(200, ""),
            "POST /revoke" => Reply::problem(400, "alreadyRevoked", "done before"),
            _ => usual(request, base),
        })
        .await;
        let certificate = CertificateDer::from(vec![1, 2, 3]);
        for _ in 0..2 {
            let reason = "key-compromise".parse().unwrap();
            account.revoke(&certificate, reason).await.unwrap();
        }
        let sent = fake.received().last().unwrap().payload();
        assert_eq!(sent, json!({ "certificate": "AQID", "reason": 1 }));
    }

    #[tokio::test]
    async fn a_refused_deactivation_is_noticed() {
        let (_fake, account) = account(|request, base| match request.line.as_str() {
            "POST /account/1" => Reply::problem(403, "unauthorized", "not yours"),
            _ => usual(request, base),
        })
        .await;
        let error = account.deactivate().await.unwrap_err();
        assert!(matches!(error, AccountError::Refused { .. }), "{error}");
    }

    #[test]
    fn reasons_that_there_are_not_are_refused() {
        assert!("boredom".parse::<RevocationReason>().is_err());
    }
}
