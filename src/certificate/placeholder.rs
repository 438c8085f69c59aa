//! The stand-in that lives where a certificate will be, so that an nginx configuration which names the files starts
//! before the first certificate has come. No client trusts it, and nothing of ours takes it for more.

use rcgen::{DnType, IsCa, SerialNumber};
use time::{Duration, OffsetDateTime};

use super::key::params;
use super::{Chain, KeyError, KeyKind, PrivateKey};
use crate::identifier::Identifier;

/// The organisation that a placeholder names as its issuer, and by which it is told from a certificate.
pub const PLACEHOLDER_ORGANISATION: &str = "sidedoor placeholder";

/// Seven days: nginx serves it expired as well, but whoever watches expiry from outside sees in time that nothing better has come.
const LIFETIME: Duration = Duration::days(7);

/// A new key and a self-signed certificate of it for these names, good for seven days from `now`.
pub fn placeholder(
    identifiers: &[Identifier],
    now: OffsetDateTime,
) -> Result<(PrivateKey, Chain), KeyError> {
    let key = PrivateKey::generate(KeyKind::P256)?;
    let mut params = params(identifiers)?;
    params
        .distinguished_name
        .push(DnType::OrganizationName, PLACEHOLDER_ORGANISATION);
    params.not_before = now - Duration::HOUR;
    params.not_after = now + LIFETIME;
    params.is_ca = IsCa::ExplicitNoCa;
    // Browsers keep apart by issuer and serial: two placeholders must not look like one certificate with two keys.
    params.serial_number = Some(SerialNumber::from_slice(&key.public_key()[1..17]));
    let certificate = params
        .self_signed(key.pair())
        .map_err(KeyError::library("sign the placeholder"))?;
    // invariant: what rcgen has just written is a certificate that x509-parser reads.
    #[allow(clippy::expect_used)]
    let chain = Chain::from_der(vec![certificate.der().clone()]).expect("a readable certificate");
    Ok((key, chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 12:00 UTC);

    fn identifiers(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_placeholder_is_a_matching_pair_that_is_known_for_what_it_is() {
        let names = identifiers(&["a.example", "*.a.example", "192.0.2.1"]);
        let (key, chain) = placeholder(&names, NOW).unwrap();
        chain.check(&key, &names, NOW).unwrap();
        assert!(chain.is_placeholder());
        assert_eq!(chain.identifiers(), names);
        assert_eq!(chain.not_after(), NOW + LIFETIME);
        assert_eq!(chain.issuer(), PLACEHOLDER_ORGANISATION);
        let again = Chain::from_pem(&chain.fullchain_pem()).unwrap();
        assert_eq!(again, chain);
    }

    #[test]
    fn two_placeholders_have_different_serials() {
        let names = identifiers(&["a.example"]);
        let (_, one) = placeholder(&names, NOW).unwrap();
        let (_, other) = placeholder(&names, NOW).unwrap();
        assert_ne!(one.serial(), other.serial());
    }

    #[test]
    fn a_placeholder_without_names_is_refused_by_nobody() {
        assert!(placeholder(&[], NOW).is_ok());
    }
}
