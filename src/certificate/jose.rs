//! What a key signs in JSON (RFC 7515), and how JSON names it (RFC 7517, RFC 7518).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SigningKey};
use serde_json::{Value, json};
use x509_parser::asn1_rs::{FromDer, Integer, Sequence};

use super::{KeyError, PrivateKey};

/// How a kind of key signs (RFC 7518 3.1), and for ECDSA the curve with the bytes of one number on it (RFC 7518 3.4, 6.2.1.1).
struct Method {
    alg: &'static str,
    curve: Option<(&'static str, usize)>,
}

impl PrivateKey {
    /// The public half as a JSON Web Key, its members in the order of a thumbprint (RFC 7638 3.3).
    pub fn jwk(&self) -> Result<Value, KeyError> {
        let public = self.public_key();
        let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Ok(match self.method()?.curve {
            Some((curve, length)) => {
                // An uncompressed point: 4, x, y (SEC 1 2.3.3).
                let point = public.get(1..).filter(|point| point.len() == 2 * length);
                let (x, y) = point.ok_or(KeyError::Unreadable)?.split_at(length);
                json!({ "crv": curve, "kty": "EC", "x": number(x), "y": number(y) })
            }
            None => {
                let (modulus, exponent) = two_numbers(public)?;
                json!({ "e": number(&exponent), "kty": "RSA", "n": number(&modulus) })
            }
        })
    }

    /// A JSON Web Signature in its flattened form (RFC 7515 7.2.2), over this header, completed by `alg`, and this payload.
    pub fn sign_json(&self, mut header: Value, payload: &[u8]) -> Result<Value, KeyError> {
        let method = self.method()?;
        header["alg"] = method.alg.into();
        let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        let signed = self
            .pair()
            .sign(format!("{protected}.{payload}").as_bytes())
            .map_err(KeyError::library("sign a request"))?;
        let signature = match method.curve {
            None => signed,
            Some((_, length)) => {
                let (r, s) = two_numbers(&signed)?;
                let padded = |number: Vec<u8>| {
                    let zeros = length.saturating_sub(number.len());
                    [vec![0; zeros], number].concat()
                };
                [padded(r), padded(s)].concat()
            }
        };
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }

    fn method(&self) -> Result<Method, KeyError> {
        let is = |algorithm| self.pair().is_compatible(algorithm);
        let (alg, curve) = if is(&PKCS_ECDSA_P256_SHA256) {
            ("ES256", Some(("P-256", 32)))
        } else if is(&PKCS_ECDSA_P384_SHA384) {
            ("ES384", Some(("P-384", 48)))
        } else if is(&PKCS_RSA_SHA256) {
            ("RS256", None)
        } else {
            return Err(KeyError::Unreadable);
        };
        Ok(Method { alg, curve })
    }
}

/// A sequence of two positive numbers in DER: an ECDSA signature (RFC 3279 2.2.3), or an RSA key (RFC 8017 A.1.1).
pub(super) fn two_numbers(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let read = |der| -> Option<(Vec<u8>, Vec<u8>)> {
        let (_, sequence) = Sequence::from_der(der).ok()?;
        let (rest, first) = Integer::from_der(&sequence.content).ok()?;
        let (_, second) = Integer::from_der(rest).ok()?;
        let positive = |number: &Integer<'_>| {
            let bytes: &[u8] = number.as_ref();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        Some((positive(&first), positive(&second)))
    };
    read(der).ok_or(KeyError::Unreadable)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::*;
    use crate::certificate::KeyKind;

    #[test]
    fn every_kind_of_key_signs_as_json_wants_it() {
        let methods: [(_, _, &dyn VerificationAlgorithm); 3] = [
            (KeyKind::P256, "ES256", &ECDSA_P256_SHA256_FIXED),
            (KeyKind::P384, "ES384", &ECDSA_P384_SHA384_FIXED),
            (KeyKind::Rsa2048, "RS256", &RSA_PKCS1_2048_8192_SHA256),
        ];
        for (kind, alg, verifies) in methods {
            let key = PrivateKey::generate(kind).unwrap();
            // Every 256th number of a signature is shorter than the others.
            for nonce in 0..if kind == KeyKind::P256 { 600 } else { 1 } {
                let jws = key.sign_json(json!({ "nonce": nonce }), b"hello").unwrap();
                let part = |name: &str| jws[name].as_str().unwrap().to_owned();
                let decoded = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(part(name)).unwrap();
                let header: Value = serde_json::from_slice(&decoded("protected")).unwrap();
                assert_eq!(header, json!({ "alg": alg, "nonce": nonce }));
                let signed = format!("{}.{}", part("protected"), part("payload"));
                UnparsedPublicKey::new(verifies, key.public_key())
                    .verify(signed.as_bytes(), &decoded("signature"))
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_key_is_named_by_its_public_numbers() {
        let lengths = [(KeyKind::P256, "x", 32), (KeyKind::P384, "y", 48)];
        for (kind, member, length) in lengths.into_iter().chain([(KeyKind::Rsa2048, "n", 256)]) {
            let jwk = PrivateKey::generate(kind).unwrap().jwk().unwrap();
            let number = jwk[member].as_str().unwrap();
            let number = BASE64_URL_SAFE_NO_PAD.decode(number).unwrap();
            assert_eq!(number.len(), length, "{kind}");
        }
        let jwk = PrivateKey::generate(KeyKind::Rsa2048)
            .unwrap()
            .jwk()
            .unwrap();
        assert_eq!(jwk["e"], "AQAB");
    }
}
