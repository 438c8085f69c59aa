use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair};
use time::macros::datetime;

use super::*;
use crate::certificate::KeyKind;

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00 UTC);

/// A root that issues an intermediate that issues leaves.
struct TestCa {
    intermediate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    fn new(name: &str) -> Self {
        let ca = |common_name: String| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, common_name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_identifier_method = KeyIdMethod::PreSpecified(vec![0xC0, 0xFF, 0xEE]);
            params
        };
        let root = Issuer::new(ca(format!("{name} root")), KeyPair::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        let params = ca(name.to_owned());
        let intermediate = params.signed_by(&key, &root).unwrap();
        Self {
            intermediate,
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, key: &PrivateKey, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0xCA, 0xFE]));
        params.use_authority_key_identifier_extension = true;
        params.not_before = datetime!(2026-11-01 0:00 UTC);
        params.not_after = datetime!(2027-01-30 0:00 UTC);
        let leaf = params.signed_by(key.pair(), &self.issuer).unwrap();
        leaf.pem() + &self.intermediate.pem()
    }
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::P256).unwrap()
}

fn identifiers(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_chain_says_what_its_leaf_says() {
    let key = key();
    let chain =
        Chain::from_pem(&TestCa::new("Test CA").issue(&key, &["a.example", "::1"])).unwrap();
    chain
        .check(&key, &identifiers(&["::1", "a.example"]), NOW)
        .unwrap();
    assert_eq!(chain.identifiers(), identifiers(&["a.example", "::1"]));
    assert_eq!(chain.not_before(), datetime!(2026-11-01 0:00 UTC));
    assert_eq!(chain.not_after(), datetime!(2027-01-30 0:00 UTC));
    assert_eq!(chain.issuer(), "Test CA");
    assert_eq!(chain.root(), "Test CA root");
    assert_eq!(chain.serial(), "00cafe");
    assert_eq!(chain.fingerprint().len(), 64);
    assert!(!chain.is_placeholder());
    // The encoding of RFC 9773 4.1, with the values of instant-acme's own test.
    assert_eq!(chain.certificate_id(), Some("wP_u.AMr-"));
}

#[test]
fn a_chain_is_split_into_the_files_it_goes_into() {
    let pem = TestCa::new("Test CA").issue(&key(), &["a.example"]);
    let chain = Chain::from_pem(&format!("text before\n{pem}text after\n")).unwrap();
    let unix = pem.replace("\r\n", "\n");
    assert_eq!(chain.fullchain_pem(), unix);
    assert_eq!(chain.cert_pem() + &chain.chain_pem(), unix);
    assert_eq!(chain.certificates().len(), 2);
}

#[test]
fn a_leaf_for_another_key_is_told_apart() {
    let chain = Chain::from_pem(&TestCa::new("CA").issue(&key(), &["a.example"])).unwrap();
    assert_eq!(chain.check_key(&key()), Err(ChainError::OtherKey));
}

#[test]
fn missing_names_are_named_and_a_wildcard_stands_only_for_itself() {
    let chain = Chain::from_pem(&TestCa::new("CA").issue(&key(), &["*.a.example"])).unwrap();
    let wanted = identifiers(&["*.a.example", "w.a.example", "192.0.2.1"]);
    let error = chain.check_names(&wanted).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate lacks w.a.example, 192.0.2.1"
    );
}

#[test]
fn an_intermediate_of_another_ca_breaks_the_chain() {
    let (ours, namesake, other) = (TestCa::new("CA"), TestCa::new("CA"), TestCa::new("Other"));
    let pem = ours.issue(&key(), &["a.example"]);
    let leaf = Chain::from_pem(&pem).unwrap().cert_pem();
    Chain::from_pem(&pem).unwrap().check_links().unwrap();
    Chain::from_pem(&leaf).unwrap().check_links().unwrap();
    for wrong in [namesake, other] {
        let chain = Chain::from_pem(&format!("{leaf}{}", wrong.intermediate.pem())).unwrap();
        let error = chain.check_links().unwrap_err();
        assert!(
            error.to_string().contains("certificate 1 (a.example)"),
            "{error}"
        );
    }
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let chain = Chain::from_pem(&TestCa::new("CA").issue(&key(), &["a.example"])).unwrap();
    let second = time::Duration::SECOND;
    for good in [chain.not_before(), NOW, chain.not_after()] {
        assert_eq!(chain.check_time(good), Ok(()));
    }
    assert!(matches!(
        chain.check_time(chain.not_before() - second),
        Err(ChainError::NotYetValid(_))
    ));
    assert!(matches!(
        chain.check_time(chain.not_after() + second),
        Err(ChainError::Expired(_))
    ));
}

#[test]
fn what_is_no_chain_is_refused() {
    let leaf = TestCa::new("CA").issue(&key(), &["a.example"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
    assert_eq!(Chain::from_pem(""), Err(ChainError::NoCertificate));
    assert_eq!(Chain::from_pem("<html>"), Err(ChainError::NoCertificate));
    assert_eq!(Chain::from_pem(key().pem()), Err(ChainError::NoCertificate));
    for (text, wrong) in [
        (garbage.to_owned(), 1),
        (leaf.clone() + garbage, 3),
        (leaf.clone() + "-----BEGIN CERTIFICATE-----\nAAAA\n", 3),
    ] {
        match Chain::from_pem(&text) {
            Err(ChainError::Garbage { number, .. }) => assert_eq!(number, wrong),
            other => panic!("{other:?}"),
        }
    }
}
