//! An account's key as other clients keep it, put into the only form that instant-acme takes: ECDSA on P-256, in PKCS#8.

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use super::Credentials;

/// Why a key can't be an account's here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountKeyError {
    /// It is one of RSA.
    #[error("its key is one of RSA, and here an account has one of ECDSA on P-256")]
    Rsa,
    /// It is none of RSA, and none of ECDSA on P-256.
    #[error("its key is not one of ECDSA on P-256")]
    Other,
    /// It is none at all.
    #[error("its key is no unencrypted private key in PEM")]
    Unreadable,
}

impl Credentials {
    /// From an account that another client made: its URL, the directory's, and its key in PEM, as PKCS#8 or SEC1.
    pub fn from_pem(url: &str, directory: &str, pem: &str) -> Result<Self, AccountKeyError> {
        let pkcs8 = p256_in_pkcs8(pem)?;
        Ok(Self::from_parts(url, directory, &pkcs8))
    }
}

fn p256_in_pkcs8(pem: &str) -> Result<Zeroizing<Vec<u8>>, AccountKeyError> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let mut der = der.map_err(|_| AccountKeyError::Unreadable)?;
    let is_rsa = match &der {
        PrivateKeyDer::Pkcs1(_) => true,
        PrivateKeyDer::Pkcs8(key) => rsa::KeyPair::from_pkcs8(key.secret_pkcs8_der()).is_ok(),
        _ => false,
    };
    let pair =
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der());
    der.zeroize();
    match pair.map(|pair| pair.to_pkcs8v1()) {
        Ok(Ok(document)) => Ok(Zeroizing::new(document.as_ref().to_vec())),
        _ if is_rsa => Err(AccountKeyError::Rsa),
        _ => Err(AccountKeyError::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{KeyKind, PrivateKey};

    // openssl ecparam -name prime256v1 -genkey
    const SEC1: &str = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIJ1j5vA1Ke+RsB4IexxCsfYBjx4fvJOlpZUXF2+dvGskoAoGCCqGSM49\nAwEHoUQDQgAEcCh5vjop38ypx8h9IfhUDUnBKSQi/P/mluQSmBnGC7+r1sXlWoNR\niaqZnMW5Z32ne6xNwkAZbDYW4hoXLFN9IQ==\n-----END EC PRIVATE KEY-----\n";

    #[test]
    fn keys_on_p256_are_taken_in_every_form_that_clients_write() {
        let pkcs8 = PrivateKey::generate(KeyKind::P256).unwrap();
        for pem in [SEC1, pkcs8.pem()] {
            let key = p256_in_pkcs8(pem).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).unwrap();
        }
    }

    #[test]
    fn what_is_no_such_key_is_told_for_what_it_is() {
        let rsa = PrivateKey::generate(KeyKind::Rsa2048).unwrap();
        let p384 = PrivateKey::generate(KeyKind::P384).unwrap();
        for (pem, error) in [
            (rsa.pem(), AccountKeyError::Rsa),
            (p384.pem(), AccountKeyError::Other),
            ("", AccountKeyError::Unreadable),
        ] {
            assert_eq!(p256_in_pkcs8(pem).unwrap_err(), error);
        }
    }
}
