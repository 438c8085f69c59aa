use sidedoor::acme::{
    Account, Ca, Credentials, Order, OrderError, OrderOptions, Registration, RevocationReason,
};
use sidedoor::certificate::{Chain, KeyKind, PrivateKey};
use sidedoor::identifier::Identifier;

use crate::orders::{certificate, certificate_for};
use crate::pebble::Settings;
use crate::responder::Responder;

fn names() -> Vec<Identifier> {
    vec!["a.example".parse().unwrap()]
}

async fn register(ca: &Ca) -> (Account, Credentials) {
    let registration = Registration {
        contact: Vec::new(),
        terms_agreed: true,
        eab: None,
    };
    Account::register(ca, &registration).await.unwrap()
}

#[tokio::test]
async fn a_certificate_can_be_revoked_once_and_again() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let (account, _) = register(&pebble.ca()).await;
    let chain: Chain = certificate(&account, &names(), &responder).await;
    let leaf = &chain.certificates()[0];
    for _ in 0..2 {
        account
            .revoke(leaf, RevocationReason::Superseded)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_certificates_own_key_revokes_it_where_there_is_no_account() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let ca = pebble.ca();
    let (account, _) = register(&ca).await;
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
        let key = PrivateKey::generate(kind).unwrap();
        let chain = certificate_for(&account, &names(), &key, &responder).await;
        let leaf = &chain.certificates()[0];
        let stranger = PrivateKey::generate(kind).unwrap();
        let reason = RevocationReason::KeyCompromise;
        assert!(ca.revoke_by_key(leaf, &stranger, reason).await.is_err());
        ca.revoke_by_key(leaf, &key, reason).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_rollover_only_the_new_key_is_accepted() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_WFE_NONCEREJECT", "50")
        .start();
    let ca = pebble.ca();
    let (account, old) = register(&ca).await;
    let new = old.with_new_key().unwrap();
    assert!(!ca.knows(&new).await.unwrap());
    account.roll_over(&new).await.unwrap();
    assert!(ca.knows(&new).await.unwrap() && !ca.knows(&old).await.unwrap());
    let restored = Account::restore(&ca, &new).await.unwrap();
    assert_eq!(restored.url(), old.url());
    certificate(&restored, &names(), &responder).await;
    let outdated = Account::restore(&ca, &old).await.unwrap();
    assert!(
        Order::place(&outdated, &names(), &OrderOptions::default())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_closed_account_takes_no_orders() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_WFE_NONCEREJECT", "50")
        .start();
    let (account, _) = register(&pebble.ca()).await;
    account.clone().deactivate().await.unwrap();
    let placed = Order::place(&account, &names(), &OrderOptions::default()).await;
    assert!(
        matches!(placed, Err(OrderError::AccountGone { .. })),
        "{:?}",
        placed.err()
    );
}

#[tokio::test]
async fn contacts_can_be_replaced() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let (account, _) = register(&pebble.ca()).await;
    account
        .update_contact(&["new@example.com".to_owned()])
        .await
        .unwrap();
    assert_eq!(account.state().await.unwrap().contact, ["new@example.com"]);
    account.update_contact(&[]).await.unwrap();
    let state = account.state().await.unwrap();
    assert_eq!((state.status.as_str(), state.contact.len()), ("valid", 0));
}

#[tokio::test]
async fn a_ca_tells_its_terms_and_has_no_renewal_information_in_this_version() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let ca = pebble.ca();
    let directory = ca.directory().await.unwrap();
    assert!(directory.terms().is_some());
    assert!(!directory.needs_eab());
    if !directory.has_renewal_info() {
        assert_eq!(ca.renewal_info("a.b").await.unwrap(), None);
    }
}
