//! What a CA wants to see before it believes that a name is ours, and who shows it (RFC 8555 8).

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::ChallengeType;

use crate::challenge::KeyAuthorization;
use crate::identifier::Identifier;

/// Where a CA looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChallengeKind {
    /// Under `/.well-known/acme-challenge/` on port 80 (RFC 8555 8.3).
    #[default]
    Http01,
    /// In the certificate of a TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// In a TXT record; the only one for wildcards (RFC 8555 8.4).
    Dns01,
}

impl ChallengeKind {
    /// The name in the configuration and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    pub(super) fn theirs(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of challenge that isn't answered here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no challenge that can be answered; choose http-01, tls-alpn-01 or dns-01")]
pub struct UnknownChallenge(String);

impl FromStr for ChallengeKind {
    type Err = UnknownChallenge;

    fn from_str(name: &str) -> Result<Self, UnknownChallenge> {
        [Self::Http01, Self::TlsAlpn01, Self::Dns01]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownChallenge(name.chars().take(64).collect()))
    }
}

/// An identifier that the CA wants to see proof for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The identifier.
    pub identifier: Identifier,
    /// What the CA wants to read at it, for `http-01` as it is.
    pub key_authorization: KeyAuthorization,
}

impl Pending {
    /// The SHA-256 digest of the key authorization, for `tls-alpn-01` (RFC 8737 3).
    pub fn digest(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, self.key_authorization.as_str().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        bytes
    }

    /// The value of the TXT record, for `dns-01` (RFC 8555 8.4).
    pub fn txt_value(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.digest())
    }
}

/// Shows the CA what it wants to see.
pub trait Presenter: Send + Sync {
    /// Makes the key authorization visible for this identifier; done when it is. May be called twice for the same.
    fn present(
        &self,
        identifier: &Identifier,
        key_authorization: &KeyAuthorization,
    ) -> impl Future<Output = ()> + Send;

    /// Waits until somebody has visited since the last call; for ever if nobody does. Is dropped and called again at any time.
    fn visited(&self) -> impl Future<Output = ()> + Send;
}

/// For waits in which nobody comes to see anything.
pub(super) struct Nobody;

impl Presenter for Nobody {
    async fn present(&self, _: &Identifier, _: &KeyAuthorization) {}

    async fn visited(&self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_challenge_are_read_as_they_are_written() {
        for kind in [
            ChallengeKind::Http01,
            ChallengeKind::TlsAlpn01,
            ChallengeKind::Dns01,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("http".parse::<ChallengeKind>().is_err());
    }

    #[test]
    fn the_txt_value_is_the_digest_in_base64url() {
        let text = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";
        let token = text.split('.').next().unwrap().parse().unwrap();
        let pending = Pending {
            identifier: "a.example".parse().unwrap(),
            key_authorization: KeyAuthorization::new(token, text).unwrap(),
        };
        // printf %s "$text" | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(
            pending.txt_value(),
            "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM"
        );
    }
}
