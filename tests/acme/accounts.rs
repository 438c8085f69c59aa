use sidedoor::acme::{
    Account, Ca, Credentials, Order, OrderError, OrderOptions, Registration, RevocationReason,
};
use sidedoor::certificate::Chain;
use sidedoor::identifier::Identifier;

use crate::orders::certificate;
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
async fn after_a_rollover_only_the_new_key_is_accepted() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_WFE_NONCEREJECT", "50")
        .start();
    let ca = pebble.ca();
    let (mut account, old) = register(&ca).await;
    let new = account.roll_over().await.unwrap();
    certificate(&account, &names(), &responder).await;
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
    account.update_contact(&[]).await.unwrap();
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
