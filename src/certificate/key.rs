//! The private key of a certificate: made, read, written as PEM, and used to sign one request (RFC 2986).
//! It never shows in `Debug`, and its bytes are wiped when it goes.

use std::fmt;
use std::str::FromStr;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::jose::two_numbers;
use crate::identifier::Identifier;

/// Which kind of key a certificate gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyKind {
    /// ECDSA on P-256: small, quick, understood by everything of the last ten years.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits; making one takes seconds.
    Rsa4096,
}

impl KeyKind {
    /// Every kind, in the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::P256,
        Self::P384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
        }
    }
}

/// A kind of key that doesn't exist here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of key; choose p256, p384, rsa2048, rsa3072 or rsa4096")]
pub struct UnknownKeyKind(String);

impl FromStr for KeyKind {
    type Err = UnknownKeyKind;

    fn from_str(name: &str) -> Result<Self, UnknownKeyKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownKeyKind(name.chars().take(64).collect()))
    }
}

impl TryFrom<String> for KeyKind {
    type Error = UnknownKeyKind;

    fn try_from(name: String) -> Result<Self, UnknownKeyKind> {
        name.parse()
    }
}

impl From<KeyKind> for String {
    fn from(kind: KeyKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why there is no key, or no request signed with it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The PEM text holds no private key that can be used: make a new one.
    #[error("this is no unencrypted private key in PEM (ECDSA on P-256 or P-384, or RSA)")]
    Unreadable,
    /// The cryptographic library refused; trying again may help.
    #[error("the cryptographic library could not {what}")]
    Library {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        #[source]
        source: rcgen::Error,
    },
}

impl KeyError {
    pub(super) fn library(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |source| Self::Library { what, source }
    }
}

/// A certificate's private key.
pub struct PrivateKey {
    pair: KeyPair,
    pem: Zeroizing<String>,
}

impl PrivateKey {
    /// Makes a new key. RSA takes from tenths of a second to several seconds of computing: not on a thread that serves requests.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        let pair = match kind {
            KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
        }
        .map_err(KeyError::library("make a key"))?;
        let pem = Zeroizing::new(pair.serialize_pem());
        Ok(Self { pair, pem })
    }

    /// Reads the first key in PEM, as PKCS#8, PKCS#1 or SEC1, and keeps the text as it is.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let mut der = der.map_err(|_| KeyError::Unreadable)?;
        let pair = KeyPair::try_from(&der).map_err(|_| KeyError::Unreadable);
        der.zeroize();
        let pair = pair?;
        Ok(Self {
            pair,
            pem: Zeroizing::new(pem.to_owned()),
        })
    }

    /// Reads a key in PKCS#8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::try_from(der).map_err(|_| KeyError::Unreadable)?;
        let pem = Zeroizing::new(pair.serialize_pem());
        Ok(Self { pair, pem })
    }

    /// The key in PKCS#8, if it was made here or read from that; else in the form it was read in.
    pub fn der(&self) -> &[u8] {
        self.pair.serialized_der()
    }

    /// The key in PEM, for the file it lives in and for nothing else.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The public half as it stands in a certificate's subjectPublicKey bits (RFC 5280 4.1.2.7).
    pub fn public_key(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    /// Its kind; none for one that we wouldn't make.
    pub fn kind(&self) -> Option<KeyKind> {
        if self.pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            return Some(KeyKind::P256);
        }
        if self.pair.is_compatible(&PKCS_ECDSA_P384_SHA384) {
            return Some(KeyKind::P384);
        }
        let (modulus, _) = two_numbers(self.public_key()).ok()?;
        match modulus.len() * 8 {
            2048 => Some(KeyKind::Rsa2048),
            3072 => Some(KeyKind::Rsa3072),
            4096 => Some(KeyKind::Rsa4096),
            _ => None,
        }
    }

    /// A signing request for these identifiers, in DER: all of them as subject alternative names, and no common name (RFC 8555 7.4).
    pub fn request(&self, identifiers: &[Identifier]) -> Result<Vec<u8>, KeyError> {
        let request = params(identifiers)?
            .serialize_request(&self.pair)
            .map_err(KeyError::library("sign the request for a certificate"))?;
        Ok(request.der().to_vec())
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

/// What is to be certified: these identifiers and an empty subject.
pub(super) fn params(identifiers: &[Identifier]) -> Result<CertificateParams, KeyError> {
    let names: Vec<String> = identifiers.iter().map(Identifier::to_string).collect();
    let mut params =
        CertificateParams::new(names).map_err(KeyError::library("encode the names"))?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};

    use super::*;

    fn identifiers(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn every_kind_of_key_can_be_made_and_read_again() {
        // 3072 and 4096 take the same path as 2048, but seconds of it.
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let key = PrivateKey::generate(kind).unwrap();
            assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----"));
            let again = PrivateKey::from_pem(key.pem()).unwrap();
            assert_eq!(again.public_key(), key.public_key(), "{kind}");
            assert_eq!(again.kind(), Some(kind));
        }
    }

    #[test]
    fn kinds_of_key_are_read_as_they_are_written() {
        for kind in KeyKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("rsa1024".parse::<KeyKind>().is_err());
        assert!("P256".parse::<KeyKind>().is_err());
    }

    #[test]
    fn a_key_shows_nothing_of_itself_in_debug() {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(..)");
    }

    #[test]
    fn what_is_no_key_is_unreadable_and_not_quoted() {
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for text in ["", "secret", encrypted] {
            let error = PrivateKey::from_pem(text).unwrap_err();
            assert!(matches!(error, KeyError::Unreadable));
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn keys_of_other_clients_are_read_in_their_own_forms() {
        // openssl ecparam -name prime256v1 -genkey
        let sec1 = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIJ1j5vA1Ke+RsB4IexxCsfYBjx4fvJOlpZUXF2+dvGskoAoGCCqGSM49\nAwEHoUQDQgAEcCh5vjop38ypx8h9IfhUDUnBKSQi/P/mluQSmBnGC7+r1sXlWoNR\niaqZnMW5Z32ne6xNwkAZbDYW4hoXLFN9IQ==\n-----END EC PRIVATE KEY-----\n";
        let key = PrivateKey::from_pem(sec1).unwrap();
        assert_eq!(key.pem(), sec1);
        key.request(&identifiers(&["a.example"])).unwrap();
    }

    #[test]
    fn a_request_names_every_identifier_and_has_no_common_name() {
        let key = PrivateKey::generate(KeyKind::P256).unwrap();
        let wanted = identifiers(&["a.example", "*.b.example", "192.0.2.1", "2001:db8::1"]);
        let der = key.request(&wanted).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject.iter().count(), 0);
        assert_eq!(&*info.subject_pki.subject_public_key.data, key.public_key());
        let names: Vec<_> = request
            .requested_extensions()
            .unwrap()
            .filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(names[0], &GeneralName::DNSName("a.example"));
        assert_eq!(names[1], &GeneralName::DNSName("*.b.example"));
        assert_eq!(names[2], &GeneralName::IPAddress(&[192, 0, 2, 1]));
        assert_eq!(names.len(), 4);
    }
}
