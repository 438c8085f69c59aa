use std::time::{Duration, Instant};

use serde_json::json;
use sidedoor::acme::{
    Account, AccountError, Ca, ChallengeKind, Credentials, Eab, Order, OrderError, OrderOptions,
    OrderStatus, Registration,
};
use sidedoor::certificate::{Chain, KeyKind, PrivateKey};
use sidedoor::identifier::Identifier;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::pebble::Settings;
use crate::responder::Responder;

fn identifiers(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn registration() -> Registration {
    Registration {
        contact: vec!["ops@example.com".to_owned()],
        terms_agreed: true,
        eab: None,
    }
}

pub(crate) async fn register(ca: &Ca) -> Account {
    Account::register(ca, &registration()).await.unwrap().0
}

async fn place(account: &Account, names: &[Identifier]) -> Order {
    Order::place(account, names, &OrderOptions::default())
        .await
        .unwrap()
}

/// The whole way, with the chain checked against key and names.
pub(crate) async fn certificate(
    account: &Account,
    names: &[Identifier],
    responder: &Responder,
) -> Chain {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    certificate_for(account, names, &key, responder).await
}

/// The same for this key.
pub(crate) async fn certificate_for(
    account: &Account,
    names: &[Identifier],
    key: &PrivateKey,
    responder: &Responder,
) -> Chain {
    let order = place(account, names).await;
    signed(order, names, key, responder).await
}

/// The same by another kind of order, which the CA may not take.
pub(crate) async fn certificate_by(
    account: &Account,
    names: &[Identifier],
    options: &OrderOptions,
    responder: &Responder,
) -> Result<Chain, OrderError> {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let order = Order::place(account, names, options).await?;
    Ok(signed(order, names, &key, responder).await)
}

async fn signed(
    mut order: Order,
    names: &[Identifier],
    key: &PrivateKey,
    responder: &Responder,
) -> Chain {
    order.validate(responder).await.unwrap();
    order.finalize(&key.request(names).unwrap()).await.unwrap();
    let chain = Chain::from_pem(&order.certificate().await.unwrap()).unwrap();
    chain.check(key, names, OffsetDateTime::now_utc()).unwrap();
    chain
}

#[tokio::test]
async fn a_certificate_for_two_names_takes_no_longer_than_the_protocol() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_WFE_NONCEREJECT", "0")
        .start();
    let account = register(&pebble.ca()).await;
    let names = identifiers(&["a.example", "www.a.example"]);
    let begun = Instant::now();
    let chain = certificate(&account, &names, &responder).await;
    let took = begun.elapsed();
    println!("from order to certificate: {took:?}");
    assert!(chain.issuer().contains("Pebble"), "{}", chain.issuer());
    assert!(chain.certificate_id().is_some());
    assert!(responder.visits() >= 2);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn every_kind_of_key_is_certified() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let names = identifiers(&["a.example"]);
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
        let key = PrivateKey::generate(kind).unwrap();
        let mut order = place(&account, &names).await;
        order.validate(&responder).await.unwrap();
        order.finalize(&key.request(&names).unwrap()).await.unwrap();
        let chain = Chain::from_pem(&order.certificate().await.unwrap()).unwrap();
        chain
            .check(&key, &names, OffsetDateTime::now_utc())
            .unwrap();
    }
}

#[tokio::test]
async fn certificates_come_though_every_second_nonce_is_refused() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_WFE_NONCEREJECT", "50")
        .start();
    let account = register(&pebble.ca()).await;
    for names in [
        identifiers(&["a.example"]),
        identifiers(&["b.example", "c.example", "d.example"]),
    ] {
        certificate(&account, &names, &responder).await;
    }
}

#[tokio::test]
async fn authorizations_that_are_still_good_are_not_shown_anything() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address())
        .with("PEBBLE_AUTHZREUSE", "100")
        .start();
    let account = register(&pebble.ca()).await;
    let names = identifiers(&["a.example"]);
    certificate(&account, &names, &responder).await;
    let visits = responder.visits();
    let mut again = place(&account, &names).await;
    assert_eq!(again.prepare().await.unwrap(), []);
    certificate(&account, &names, &responder).await;
    assert_eq!(responder.visits(), visits);
}

#[tokio::test]
async fn every_failed_name_is_reported_with_the_reason_of_the_ca() {
    let broken = identifiers(&["b.example", "c.example"]);
    let responder = Responder::broken_for(&broken).await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let mut order = place(
        &account,
        &identifiers(&["a.example", "b.example", "c.example"]),
    )
    .await;
    let error = order.validate(&responder).await.unwrap_err();
    let OrderError::Validation { failures } = &error else {
        panic!("{error}");
    };
    let failed: Vec<_> = failures
        .iter()
        .map(|failure| failure.identifier.clone())
        .collect();
    assert_eq!(failed, broken, "{error}");
    for failure in failures {
        assert_eq!(failure.problem.kind, "unauthorized", "{error}");
        assert!(
            failure.problem.detail.contains("key authorization"),
            "{error}"
        );
    }
    assert!(!error.is_final());
    assert_eq!(order.status(), OrderStatus::Invalid);
}

#[tokio::test]
async fn an_order_can_be_taken_up_after_every_step() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let ca = pebble.ca();
    let (account, credentials) = Account::register(&ca, &registration()).await.unwrap();
    let names = identifiers(&["a.example", "b.example"]);
    let key = PrivateKey::generate(KeyKind::P384).unwrap();
    let url = place(&account, &names).await.url().to_owned();

    // As after a restart: another connection, and the account from its file.
    let ca = pebble.ca();
    let stored = serde_json::to_string(&credentials).unwrap();
    let credentials: Credentials = serde_json::from_str(&stored).unwrap();
    let account = Account::restore(&ca, &credentials).await.unwrap();
    let resume = async || Order::resume(&account, &url).await.unwrap();
    assert_eq!(resume().await.prepare().await.unwrap().len(), 2);
    resume().await.validate(&responder).await.unwrap();
    let mut order = resume().await;
    assert_eq!(order.status(), OrderStatus::Ready);
    order.validate(&responder).await.unwrap();
    order.finalize(&key.request(&names).unwrap()).await.unwrap();
    resume()
        .await
        .finalize(&key.request(&names).unwrap())
        .await
        .unwrap();
    let chain = Chain::from_pem(&resume().await.certificate().await.unwrap()).unwrap();
    chain
        .check(&key, &names, OffsetDateTime::now_utc())
        .unwrap();
}

#[tokio::test]
async fn twenty_orders_of_one_account_run_side_by_side() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let mut orders = JoinSet::new();
    let begun = Instant::now();
    for number in 0..20 {
        let (account, responder) = (account.clone(), responder.another());
        orders.spawn(async move {
            let names = identifiers(&[&format!("host{number}.example")]);
            certificate(&account, &names, &responder).await
        });
    }
    let chains = orders.join_all().await;
    println!("twenty certificates: {:?}", begun.elapsed());
    assert_eq!(chains.len(), 20);
}

#[tokio::test]
async fn an_address_gets_a_certificate_too() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    certificate(&account, &identifiers(&["127.0.0.1"]), &responder).await;
}

#[tokio::test]
async fn a_wildcard_has_no_challenge_that_http_can_answer() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let mut order = place(&account, &identifiers(&["*.a.example"])).await;
    let error = order.prepare().await.unwrap_err();
    assert!(matches!(error, OrderError::NoChallenge { .. }), "{error}");
    assert!(error.is_final());
    assert!(error.next_step().contains("dns-01"));
}

#[tokio::test]
async fn a_wildcard_is_validated_by_txt_records() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let names = identifiers(&["*.a.example"]);
    let mut order = place(&account, &names).await;
    order.validate_by(ChallengeKind::Dns01);
    let pending = order.prepare().await.unwrap();
    assert_eq!(pending[0].identifier, names[0]);
    pebble.set_txt("_acme-challenge.a.example.", &pending[0].txt_value());
    order.validate(&responder).await.unwrap();
    assert_eq!(order.status(), OrderStatus::Ready);
}

#[tokio::test]
async fn a_profile_that_the_ca_lacks_is_refused_before_the_order() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let options = OrderOptions {
        profile: Some("shortlived".to_owned()),
        ..OrderOptions::default()
    };
    let placed = Order::place(&account, &identifiers(&["a.example"]), &options).await;
    assert!(matches!(placed, Err(OrderError::UnknownProfile { .. })));
}

#[tokio::test]
async fn a_request_for_other_names_is_refused_for_good() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let account = register(&pebble.ca()).await;
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let mut order = place(&account, &identifiers(&["a.example"])).await;
    order.validate(&responder).await.unwrap();
    let request = key.request(&identifiers(&["b.example"])).unwrap();
    let error = order.finalize(&request).await.unwrap_err();
    assert!(matches!(error, OrderError::Refused { .. }), "{error}");
    assert!(error.is_final());
}

#[tokio::test]
async fn a_ca_that_is_not_trusted_is_told_with_the_way_out() {
    let responder = Responder::start().await;
    let pebble = Settings::validating(responder.address()).start();
    let stranger = Ca::new(&pebble.url(), b"").unwrap();
    let error = Account::register(&stranger, &registration())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not trusted"), "{error}");
    assert!(error.next_step().contains("ca_file"));
}

#[tokio::test]
async fn an_account_that_the_ca_has_forgotten_is_told_as_such() {
    let responder = Responder::start().await;
    let before = Settings::validating(responder.address()).start();
    let (_, credentials) = Account::register(&before.ca(), &registration())
        .await
        .unwrap();
    let after = Settings::validating(responder.address()).start();
    // The new one listens elsewhere, and would know by that alone that the account is none of its own.
    let stored = serde_json::to_string(&credentials).unwrap();
    let moved = stored.replace(&before.address().to_string(), &after.address().to_string());
    let credentials: Credentials = serde_json::from_str(&moved).unwrap();
    let account = Account::restore(&after.ca(), &credentials).await.unwrap();
    let names = identifiers(&["a.example"]);
    let placed = Order::place(&account, &names, &OrderOptions::default()).await;
    assert!(
        matches!(placed, Err(OrderError::AccountGone { .. })),
        "{:?}",
        placed.err()
    );
}

#[tokio::test]
async fn an_account_is_bound_to_a_customer_where_the_ca_wants_that() {
    let responder = Responder::start().await;
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Settings::validating(responder.address())
        .configured("externalAccountBindingRequired", json!(true))
        .configured("externalAccountMACKeys", json!({ "kid-1": key }))
        .start();
    let ca = pebble.ca();
    let error = Account::register(&ca, &registration()).await.unwrap_err();
    assert!(matches!(error, AccountError::EabMissing { .. }), "{error}");
    let bound = |hmac_key: &str| Registration {
        eab: Some(Eab {
            kid: "kid-1".to_owned(),
            hmac_key: hmac_key.to_owned(),
        }),
        ..registration()
    };
    let error = Account::register(&ca, &bound("d3Jvbmc")).await.unwrap_err();
    assert!(matches!(error, AccountError::Refused { .. }), "{error}");
    Account::register(&ca, &bound(key)).await.unwrap();
}
