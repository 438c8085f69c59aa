//! What an account is made from, and what is kept of it.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::ExternalAccountKey;
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AccountError;
use crate::certificate::{KeyKind, PrivateKey};

const NOT_P256: &str = "its key is no P-256 key";

/// What a new account is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// E-mail addresses, without `mailto:`.
    pub contact: Vec<String>,
    /// Whether the terms of service are agreed to.
    pub terms_agreed: bool,
    /// The binding to a customer of the CA, where it wants one.
    pub eab: Option<Eab>,
}

/// An external account binding (RFC 8555 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Eab {
    /// The key's name.
    pub kid: String,
    /// The key, in base64url as CAs show it.
    pub hmac_key: String,
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Eab {
    pub(super) fn key(&self) -> Result<ExternalAccountKey, AccountError> {
        // Some CAs show it with padding or in the other alphabet.
        let text: String = self
            .hmac_key
            .trim()
            .trim_end_matches('=')
            .chars()
            .map(|c| match c {
                '+' => '-',
                '/' => '_',
                c => c,
            })
            .collect();
        let text = Zeroizing::new(text);
        match BASE64_URL_SAFE_NO_PAD.decode(&*text).map(Zeroizing::new) {
            Ok(key) if !key.is_empty() => Ok(ExternalAccountKey::new(self.kid.clone(), &key)),
            _ => Err(AccountError::EabUnreadable),
        }
    }
}

/// What is kept of an account: its URL, its CA and its key. In JSON it is instant-acme's own form; `Debug` hides the key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credentials {
    id: String,
    directory: String,
    #[serde(rename = "key_pkcs8")]
    key: Zeroizing<String>,
    /// The e-mail addresses that the CA was told; an older version didn't write them down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<Vec<String>>,
}

impl Credentials {
    /// The account's URL (RFC 8555 7.3).
    pub fn url(&self) -> &str {
        &self.id
    }

    /// The URL of the directory it was made at.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// From an account that another client made: its URL, the directory's, and its key, P-256 in PKCS#8.
    pub fn from_parts(url: &str, directory: &str, key_pkcs8: &[u8]) -> Self {
        Self {
            id: url.to_owned(),
            directory: directory.to_owned(),
            key: Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key_pkcs8)),
            contact: None,
        }
    }

    /// The e-mail addresses that the CA was told last, as far as is known.
    pub fn contact(&self) -> Option<&[String]> {
        self.contact.as_deref()
    }

    /// The same account, whose CA has been told these e-mail addresses.
    pub fn with_contact(mut self, contact: &[String]) -> Self {
        self.contact = Some(contact.to_vec());
        self
    }

    /// The same account with a key that is new: what is to be kept before the CA hears of it, see [`Account::roll_over`](super::Account::roll_over).
    pub fn with_new_key(&self) -> Result<Self, AccountError> {
        let made = PrivateKey::generate(KeyKind::P256);
        let key = made.map_err(|_| AccountError::Credentials {
            reason: "no new key could be made for it",
        })?;
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(key.der());
        Ok(Self {
            key: Zeroizing::new(encoded),
            ..self.clone()
        })
    }

    /// The thumbprint of its key, by which CAs and humans tell keys apart (RFC 7638).
    pub fn thumbprint(&self) -> Result<String, AccountError> {
        let jwk = self.key()?.jwk();
        let jwk = jwk.map_err(|_| AccountError::Credentials { reason: NOT_P256 })?;
        let digest = digest::digest(&digest::SHA256, jwk.to_string().as_bytes());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(digest))
    }

    pub(in crate::acme) fn key(&self) -> Result<PrivateKey, AccountError> {
        let key = PrivateKey::from_pkcs8(self.der()?.secret_pkcs8_der());
        key.map_err(|_| AccountError::Credentials { reason: NOT_P256 })
    }

    pub(super) fn der(&self) -> Result<PrivatePkcs8KeyDer<'static>, AccountError> {
        match BASE64_URL_SAFE_NO_PAD.decode(&*self.key) {
            Ok(der) => Ok(PrivatePkcs8KeyDer::from(der)),
            Err(_) => Err(AccountError::Credentials {
                reason: "its key is no base64url text",
            }),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("url", &self.id)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
