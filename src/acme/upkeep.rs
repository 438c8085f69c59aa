//! What is done with an account besides orders: contacts, a new key, revoking a certificate, closing it (RFC 8555 7.3.2, 7.3.5, 7.3.6, 7.6).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::{Account, AccountError, Credentials, mailto, says_account_gone};
use super::ca::Ca;
use super::call::{CallError, call};
use super::problem::plain;
use super::signed::Signed;
use crate::certificate::{KeyError, PrivateKey};

/// Why a certificate is revoked (RFC 5280 5.3.1); only what public CAs take from subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
#[error("{given:?} is no reason; choose {}", RevocationReason::ALL.map(RevocationReason::as_str).join(", "))]
pub struct UnknownReason {
    given: String,
}

impl FromStr for RevocationReason {
    type Err = UnknownReason;

    /// By its name in RFC 5280, or in words with hyphens, as other clients have it.
    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        let plain = |name: &str| name.replace('-', "").to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|reason| plain(reason.as_str()) == plain(name))
            .ok_or_else(|| UnknownReason {
                given: name.chars().take(64).collect(),
            })
    }
}

impl RevocationReason {
    /// Every reason there is.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// Its name in RFC 5280.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// Its number (RFC 5280 5.3.1).
    fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for RevocationReason {
    type Error = UnknownReason;

    fn try_from(name: String) -> Result<Self, UnknownReason> {
        name.parse()
    }
}

impl From<RevocationReason> for String {
    fn from(reason: RevocationReason) -> Self {
        reason.as_str().to_owned()
    }
}

/// An account as its CA knows it (RFC 8555 7.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountState {
    /// `valid`, `deactivated` or `revoked`.
    pub status: String,
    /// E-mail addresses, without `mailto:`. Some CAs keep none.
    pub contact: Vec<String>,
}

impl Account {
    /// What the CA knows of the account (RFC 8555 7.1.2).
    pub async fn state(&self) -> Result<AccountState, AccountError> {
        const WHAT: &str = "the question for the account";
        #[derive(Deserialize)]
        struct Known {
            status: String,
            #[serde(default)]
            contact: Option<Vec<String>>,
        }
        let answer = self.read(WHAT, self.url()).await?;
        let known: Known =
            serde_json::from_slice(&answer.body).map_err(|error| AccountError::Broken {
                what: WHAT,
                reason: plain(&error.to_string(), 200),
            })?;
        let shown = |contact: String| {
            let address = contact.strip_prefix("mailto:").unwrap_or(&contact);
            plain(address, 200)
        };
        Ok(AccountState {
            status: plain(&known.status, 40),
            contact: known
                .contact
                .unwrap_or_default()
                .into_iter()
                .map(shown)
                .collect(),
        })
    }

    /// Revokes a certificate that this account has got, or could get. One that is revoked already is no failure (RFC 8555 7.6).
    pub async fn revoke(
        &self,
        certificate: &CertificateDer<'_>,
        reason: RevocationReason,
    ) -> Result<(), AccountError> {
        let signed = Signed::by_account(self.url(), &self.key);
        self.ca.revoke(signed, certificate, reason).await
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

    /// Gives the account another key (RFC 8555 7.3.5), as made by [`Credentials::with_new_key`]. Those credentials have to be kept before:
    /// if the answer gets lost, nobody else knows which key holds, and [`Ca::knows`] tells. This value is of no use any more afterwards.
    pub async fn roll_over(&self, next: &Credentials) -> Result<(), AccountError> {
        const WHAT: &str = "the change of the account's key";
        let broken = |reason: String| AccountError::Broken { what: WHAT, reason };
        let directory = self.ca.directory().await?;
        let url = directory.key_change.as_deref();
        let url = url.ok_or_else(|| broken("its directory has no keyChange".to_owned()))?;
        let unsignable = |error: KeyError| broken(error.to_string());
        let old_key = self.key.jwk().map_err(unsignable)?;
        let change = json!({ "account": self.url(), "oldKey": old_key }).to_string();
        let proof = Signed::by_key(&next.key()?)
            .body(url, None, change.as_bytes())
            .map_err(unsignable)?;
        self.send(WHAT, url, proof.to_string().as_bytes()).await?;
        Ok(())
    }

    /// Closes the account for good (RFC 8555 7.3.6).
    pub async fn deactivate(self) -> Result<(), AccountError> {
        call!("the deactivation", self.inner.clone().deactivate())?;
        Ok(())
    }
}

impl Ca {
    /// Whether the key of these credentials is the account's at this CA (RFC 8555 7.3.1).
    pub async fn knows(&self, credentials: &Credentials) -> Result<bool, AccountError> {
        const WHAT: &str = "the question for the key's account";
        let directory = self.directory().await?;
        let url = directory.new_account.as_deref();
        let url = url.ok_or_else(|| AccountError::Broken {
            what: WHAT,
            reason: "its directory has no newAccount".to_owned(),
        })?;
        let key = credentials.key()?;
        let payload = json!({ "onlyReturnExisting": true }).to_string();
        match self
            .post(WHAT, url, Signed::by_key(&key), payload.as_bytes())
            .await
        {
            Ok(answer) => Ok(answer.location.as_deref() == Some(credentials.url())),
            Err(CallError::Refused(problem)) if says_account_gone(&problem) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Revokes a certificate by its own key, where there is no account that could (RFC 8555 7.6).
    pub async fn revoke_by_key(
        &self,
        certificate: &CertificateDer<'_>,
        key: &PrivateKey,
        reason: RevocationReason,
    ) -> Result<(), AccountError> {
        self.revoke(Signed::by_key(key), certificate, reason).await
    }

    async fn revoke(
        &self,
        signed: Signed<'_>,
        certificate: &CertificateDer<'_>,
        reason: RevocationReason,
    ) -> Result<(), AccountError> {
        const WHAT: &str = "the revocation";
        let directory = self.directory().await?;
        let url = directory.revoke_cert.as_deref();
        let url = url.ok_or_else(|| AccountError::Broken {
            what: WHAT,
            reason: "its directory has no revokeCert".to_owned(),
        })?;
        let certificate = BASE64_URL_SAFE_NO_PAD.encode(certificate);
        let payload = json!({ "certificate": certificate, "reason": reason.code() }).to_string();
        match self.post(WHAT, url, signed, payload.as_bytes()).await {
            Ok(_) => Ok(()),
            Err(CallError::Refused(problem)) if problem.kind == "alreadyRevoked" => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::acme::fake_ca::{FakeCa, Received, Reply, usual};
    use crate::acme::{Ca, Registration};
    use crate::certificate::KeyKind;

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
    fn reasons_are_read_as_they_are_written_and_others_refused() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        let hyphens = "cessation-of-operation".parse();
        assert_eq!(hyphens, Ok(RevocationReason::CessationOfOperation));
        for none in ["boredom", "", "caCompromise", "removeFromCRL"] {
            let error = none.parse::<RevocationReason>().unwrap_err();
            assert!(error.to_string().contains("keyCompromise"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_account_tells_its_state() {
        let (fake, account) = account(|request, base| match request.line.as_str() {
            "POST /account/1" => Reply::json(
                200,
                &json!({ "status": "valid", "contact": ["mailto:ops@example.com"] }),
            ),
            _ => usual(request, base),
        })
        .await;
        let state = account.state().await.unwrap();
        assert_eq!(state.status, "valid");
        assert_eq!(state.contact, ["ops@example.com"]);
        let sent = fake.received().pop().unwrap();
        assert_eq!(sent.protected()["kid"], fake.url("/account/1").as_str());
        assert!(sent.is_reading());
    }

    #[tokio::test]
    async fn the_new_key_signs_for_itself_within_what_the_old_one_signs() {
        let (fake, account) = account(|request, base| match request.line.as_str() {
            "POST /key-change" if request.count("POST /key-change") == 0 => {
                Reply::problem(400, "badNonce", "again")
            }
            "POST /key-change" => Reply::text(200, "{}"),
            _ => usual(request, base),
        })
        .await;
        let ca = account.ca().clone();
        let (_, kept) = Account::register(
            &ca,
            &Registration {
                terms_agreed: true,
                ..Registration::default()
            },
        )
        .await
        .unwrap();
        let next = kept.with_new_key().unwrap();
        account.roll_over(&next).await.unwrap();
        let outer = fake.received().pop().unwrap();
        assert_eq!(outer.protected()["kid"], account.url());
        let inner = outer.payload();
        let inner = Received {
            body: inner.to_string().into(),
            ..outer
        };
        assert_eq!(inner.protected()["jwk"], next.key().unwrap().jwk().unwrap());
        assert_eq!(inner.protected().get("nonce"), None);
        assert_eq!(inner.payload()["oldKey"], account.key.jwk().unwrap());
        assert_eq!(inner.payload()["account"], account.url());
    }

    #[tokio::test]
    async fn which_key_holds_is_asked_without_making_an_account() {
        let (fake, account) = account(|request, base| match request.line.as_str() {
            "POST /new-account" if request.count("POST /new-account") == 1 => {
                Reply::problem(400, "accountDoesNotExist", "unknown key")
            }
            _ => usual(request, base),
        })
        .await;
        let ca = account.ca();
        let kept = Credentials::from_parts(account.url(), ca.url(), account.key.der());
        assert!(!ca.knows(&kept).await.unwrap());
        assert!(ca.knows(&kept).await.unwrap());
        let elsewhere =
            Credentials::from_parts("https://ca.example/2", ca.url(), account.key.der());
        assert!(!ca.knows(&elsewhere).await.unwrap());
        let sent = fake.received().pop().unwrap().payload();
        assert_eq!(sent, json!({ "onlyReturnExisting": true }));
    }

    #[tokio::test]
    async fn a_certificates_own_key_revokes_it_whatever_its_kind() {
        let (fake, account) = account(|request, base| match request.line.as_str() {
            "POST /revoke" => Reply::text(200, ""),
            _ => usual(request, base),
        })
        .await;
        let certificate = CertificateDer::from(vec![1, 2, 3]);
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let key = PrivateKey::generate(kind).unwrap();
            let revoked =
                account
                    .ca()
                    .revoke_by_key(&certificate, &key, RevocationReason::KeyCompromise);
            revoked.await.unwrap();
            let sent = fake.received().pop().unwrap();
            assert_eq!(sent.protected()["jwk"], key.jwk().unwrap());
            assert_eq!(
                sent.payload(),
                json!({ "certificate": "AQID", "reason": 1 })
            );
        }
    }
}
