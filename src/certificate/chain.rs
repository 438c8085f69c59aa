//! A certificate and those that vouch for it, as a CA hands them out (RFC 8555 7.4.2): read, taken apart for the files
//! they go into, and checked before they go live.

use std::net::IpAddr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::{PLACEHOLDER_ORGANISATION, PrivateKey};
use crate::identifier::Identifier;

/// Why a chain can't go live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is nothing between BEGIN and END CERTIFICATE.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// What should be a certificate isn't one.
    #[error("certificate {number} of the chain can't be read: {reason}")]
    Garbage {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate was made for another key.
    #[error("the certificate belongs to another key")]
    OtherKey,
    /// Names that were asked for are not in it.
    #[error("the certificate lacks {}", list(missing))]
    MissingNames {
        /// Those names.
        missing: Vec<Identifier>,
    },
    /// A certificate was not issued by the one after it.
    #[error(
        "the chain is broken: certificate {number} ({subject}) was not issued by the one after it"
    )]
    NotLinked {
        /// Which one, counted from 1.
        number: usize,
        /// Its subject, for the reader.
        subject: String,
    },
    /// Its time is over.
    #[error("the certificate expired at {0}")]
    Expired(OffsetDateTime),
    /// Its time has not come, or the clock is wrong.
    #[error("the certificate is valid from {0} on, which is in the future; is the clock right?")]
    NotYetValid(OffsetDateTime),
}

fn list(identifiers: &[Identifier]) -> String {
    let names: Vec<String> = identifiers.iter().map(Identifier::to_string).collect();
    names.join(", ")
}

/// A certificate chain, leaf first, and what the leaf says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    identifiers: Vec<Identifier>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    serial: String,
    issuer: String,
    root: String,
    certificate_id: Option<String>,
    public_key: Vec<u8>,
    placeholder: bool,
}

impl Chain {
    /// Reads certificates in PEM; what stands between and around them is ignored.
    pub fn from_pem(pem: &str) -> Result<Self, ChainError> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .enumerate()
            .map(|(index, section)| {
                section.map_err(|error| ChainError::Garbage {
                    number: index + 1,
                    reason: error.to_string(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::from_der(certificates)
    }

    /// Reads certificates in DER, as a TLS server presents them.
    pub fn from_der(certificates: Vec<CertificateDer<'static>>) -> Result<Self, ChainError> {
        let mut root = String::new();
        for (index, der) in certificates.iter().enumerate() {
            root = name_of(parse(index, der)?.issuer());
        }
        let leaf = parse(0, certificates.first().ok_or(ChainError::NoCertificate)?)?;
        let issuer = leaf.issuer();
        let placeholder = issuer
            .iter_organization()
            .any(|name| matches!(name.as_str(), Ok(PLACEHOLDER_ORGANISATION)));
        Ok(Self {
            identifiers: identifiers_of(&leaf),
            not_before: leaf.validity().not_before.to_datetime(),
            not_after: leaf.validity().not_after.to_datetime(),
            serial: hex(leaf.raw_serial()),
            issuer: name_of(issuer),
            root,
            certificate_id: certificate_id(&leaf),
            public_key: leaf.public_key().subject_public_key.data.to_vec(),
            placeholder,
            certificates,
        })
    }

    /// The certificates in DER, leaf first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The leaf alone: `cert.pem`.
    pub fn cert_pem(&self) -> String {
        pem(&self.certificates[..1])
    }

    /// All but the leaf: `chain.pem`.
    pub fn chain_pem(&self) -> String {
        pem(&self.certificates[1..])
    }

    /// Leaf and the rest: `fullchain.pem`.
    pub fn fullchain_pem(&self) -> String {
        pem(&self.certificates)
    }

    /// The names and addresses it is good for, in its own order; what is no [`Identifier`] of ours is left out.
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }

    /// The first second in which it is good.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last second in which it is good.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The serial number, as hexadecimal bytes.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Who issued it: the common name, or else the organisation.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whom the last certificate names as its issuer: by this a preferred chain is chosen among a CA's (RFC 8555 7.4.2).
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The SHA-256 fingerprint of the leaf, as hexadecimal bytes.
    pub fn fingerprint(&self) -> String {
        hex(digest::digest(&digest::SHA256, &self.certificates[0]).as_ref())
    }

    /// How renewal information and `replaces` name it; none if it lacks an authority key identifier (RFC 9773 4.1).
    pub fn certificate_id(&self) -> Option<&str> {
        self.certificate_id.as_deref()
    }

    /// Whether it is our own stand-in, made by [`placeholder`](super::placeholder).
    pub fn is_placeholder(&self) -> bool {
        self.placeholder
    }

    /// All checks, the gravest first.
    pub fn check(
        &self,
        key: &PrivateKey,
        wanted: &[Identifier],
        now: OffsetDateTime,
    ) -> Result<(), ChainError> {
        self.check_key(key)?;
        self.check_names(wanted)?;
        self.check_links()?;
        self.check_time(now)
    }

    /// Whether the leaf was made for this key. If not, nginx would refuse to start with the pair.
    pub fn check_key(&self, key: &PrivateKey) -> Result<(), ChainError> {
        match self.public_key == key.public_key() {
            true => Ok(()),
            false => Err(ChainError::OtherKey),
        }
    }

    /// Whether the other's leaf was made for the same key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.public_key == other.public_key
    }

    /// Whether every wanted name stands in the leaf, a wildcard as itself.
    pub fn check_names(&self, wanted: &[Identifier]) -> Result<(), ChainError> {
        let missing: Vec<Identifier> = wanted
            .iter()
            .filter(|name| !self.identifiers.contains(name))
            .cloned()
            .collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(ChainError::MissingNames { missing }),
        }
    }

    /// Whether each certificate was issued by the next. A signature by an algorithm unknown to us is not held against it.
    pub fn check_links(&self) -> Result<(), ChainError> {
        for (index, pair) in self.certificates.windows(2).enumerate() {
            let (subject, issuer) = (parse(index, &pair[0])?, parse(index + 1, &pair[1])?);
            let named = subject.issuer().as_raw() == issuer.subject().as_raw();
            let signed = match subject.verify_signature(Some(issuer.public_key())) {
                Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
                Err(_) => false,
            };
            if !(named && signed) {
                return Err(ChainError::NotLinked {
                    number: index + 1,
                    subject: match subject.subject().to_string() {
                        empty if empty.is_empty() => list(&identifiers_of(&subject)),
                        subject => subject,
                    },
                });
            }
        }
        Ok(())
    }

    /// Whether the leaf is good at that time.
    pub fn check_time(&self, now: OffsetDateTime) -> Result<(), ChainError> {
        if now > self.not_after {
            Err(ChainError::Expired(self.not_after))
        } else if now < self.not_before {
            Err(ChainError::NotYetValid(self.not_before))
        } else {
            Ok(())
        }
    }
}

fn parse<'a>(index: usize, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, ChainError> {
    let garbage = |reason: String| ChainError::Garbage {
        number: index + 1,
        reason,
    };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(garbage("something follows after its end".to_owned())),
        Err(error) => Err(garbage(error.to_string())),
    }
}

/// The common name, or else the organisation, or else everything.
fn name_of(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .chain(name.iter_organization())
        .find_map(|part| part.as_str().ok().map(str::to_owned))
        .unwrap_or_else(|| name.to_string())
}

fn identifiers_of(certificate: &X509Certificate<'_>) -> Vec<Identifier> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let parsed = names.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => name.parse().ok().map(Identifier::Dns),
        GeneralName::IPAddress(bytes) => address(bytes).map(Identifier::Ip),
        _ => None,
    });
    parsed.flatten().collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn certificate_id(leaf: &X509Certificate<'_>) -> Option<String> {
    let authority =
        leaf.iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    authority.key_identifier.as_ref()
                }
                _ => None,
            })?;
    Some(format!(
        "{}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(authority.0),
        BASE64_URL_SAFE_NO_PAD.encode(leaf.raw_serial())
    ))
}

/// PEM in lines of 64 characters (RFC 7468 2).
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in certificates {
        let base64 = BASE64_STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests;
