mod profiles;
mod waiting;

use serde_json::json;

use super::*;
use crate::acme::fake_ca::{
    FakeCa, Received, Reply, Visits, authorization, challenge, order, usual,
};
use crate::acme::{Ca, Limits, Registration};

fn visits() -> Visits {
    Visits::default()
}

fn names() -> Vec<Identifier> {
    vec!["a.example".parse().unwrap()]
}

async fn account(
    script: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static,
) -> (FakeCa, Account) {
    account_within(Limits::default(), script).await
}

async fn account_within(
    limits: Limits,
    script: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static,
) -> (FakeCa, Account) {
    let fake = FakeCa::start(script).await;
    let ca = Ca::with_limits(&fake.url("/directory"), b"", limits).unwrap();
    let registration = Registration {
        terms_agreed: true,
        ..Registration::default()
    };
    let (account, _) = Account::register(&ca, &registration).await.unwrap();
    (fake, account)
}

async fn placed(account: &Account) -> Result<Order, OrderError> {
    Order::place(account, &names(), &OrderOptions::default()).await
}

/// The whole way from the order on.
async fn certificate(account: &Account) -> Result<String, OrderError> {
    let mut order = placed(account).await?;
    order.wait_at_most(Duration::from_secs(20));
    order.validate(&visits()).await?;
    order.finalize(b"csr").await?;
    order.certificate().await
}

/// The usual CA, but for one resource, on which it replies so.
fn but(
    line: &'static str,
    reply: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Received, &str) -> Reply + Send + Sync + 'static {
    move |request, base| match request.line == line {
        true => reply(request, base),
        false => usual(request, base),
    }
}

const AFTER_REGISTRATION: usize = 3;
const EVERY_STEP: [&str; 6] = [
    "POST /new-order",
    "POST /authz/1",
    "POST /challenge/1",
    "POST /order/1",
    "POST /finalize/1",
    "POST /certificate/1",
];

#[tokio::test]
async fn the_whole_protocol_takes_seven_round_trips_from_the_order_on() {
    let (fake, account) = account(usual).await;
    assert_eq!(certificate(&account).await.unwrap(), "chain");
    assert_eq!(
        fake.lines()[AFTER_REGISTRATION..],
        [
            "POST /new-order",
            "POST /authz/1",
            "POST /challenge/1",
            "POST /order/1",
            "POST /finalize/1",
            "POST /order/1",
            "POST /certificate/1",
        ]
    );
    let connections = fake
        .received()
        .iter()
        .filter(|request| request.before == 0)
        .count();
    assert_eq!(connections, 1);
}

#[test]
fn an_order_can_be_worked_on_in_a_task_of_its_own() {
    fn is_send<T: Send>(_: &dyn Fn(&'static Account) -> T) {}
    is_send(&|account| async move { certificate(account).await });
}

#[tokio::test]
async fn an_order_that_is_ready_at_once_asks_for_no_authorization() {
    let (fake, account) = account(but("POST /new-order", |_, base| {
        order(201, base, "ready").with(format!("location: {base}/order/1"))
    }))
    .await;
    let mut order = placed(&account).await.unwrap();
    assert_eq!(order.prepare().await.unwrap(), []);
    order.validate(&visits()).await.unwrap();
    assert_eq!(fake.lines()[AFTER_REGISTRATION..], ["POST /new-order"]);
}

#[tokio::test]
async fn an_authorization_that_is_valid_is_not_announced() {
    let (fake, account) = account(|request, base| match request.line.as_str() {
        "POST /authz/1" => authorization("valid", &[challenge(base, "http-01", "valid")]),
        "POST /order/1" => order(200, base, "ready"),
        _ => usual(request, base),
    })
    .await;
    let mut order = placed(&account).await.unwrap();
    assert_eq!(order.prepare().await.unwrap(), []);
    order.validate(&visits()).await.unwrap();
    assert!(!fake.lines().contains(&"POST /challenge/1".to_owned()));
}

#[tokio::test]
async fn what_is_pending_is_told_with_the_key_authorization() {
    let (_fake, account) = account(but("POST /authz/1", |_, base| {
        let unknown =
            json!({ "type": "dns-persist-01", "url": "https://x.example", "status": "pending" });
        authorization("pending", &[unknown, challenge(base, "http-01", "pending")])
    }))
    .await;
    let pending = placed(&account).await.unwrap().prepare().await.unwrap();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].identifier, names()[0]);
    let expected = format!("token1.{}", account.inner.key_thumbprint());
    assert_eq!(pending[0].key_authorization.as_str(), expected);
}

#[tokio::test]
async fn challenges_nobody_here_knows_are_named() {
    let (_fake, account) = account(but("POST /authz/1", |_, _| {
        let unknown =
            json!({ "type": "carrier-pigeon-01", "url": "https://x.example", "status": "pending" });
        authorization("pending", &[unknown])
    }))
    .await;
    let error = placed(&account).await.unwrap().prepare().await.unwrap_err();
    assert!(error.to_string().contains("carrier-pigeon-01"), "{error}");
}

#[tokio::test]
async fn a_token_that_is_none_never_gets_anywhere() {
    let (_fake, account) = account(but("POST /authz/1", |_, base| {
        let mut challenge = challenge(base, "http-01", "pending");
        challenge["token"] = "../../etc/passwd\n".into();
        authorization("pending", &[challenge])
    }))
    .await;
    let error = placed(&account).await.unwrap().prepare().await.unwrap_err();
    assert!(matches!(error, OrderError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn being_told_to_wait_is_understood_on_every_resource() {
    for line in EVERY_STEP {
        for (status, when) in [
            (429, "3600"),
            (429, "Sun, 06 Nov 2044 08:49:37 GMT"),
            (503, "3600"),
        ] {
            let (fake, account) = account(but(line, move |_, _| {
                Reply::text(status, "<h1>Too busy</h1>").with(format!("retry-after: {when}"))
            }))
            .await;
            let error = certificate(&account).await.unwrap_err();
            match (status, &error) {
                (429, OrderError::RateLimited { until: Some(_), .. })
                | (503, OrderError::Unavailable { until: Some(_), .. }) => {}
                _ => panic!("{line} {status}: {error:?}"),
            }
            assert!(error.retry_after().is_some() && !error.is_final());
            assert!(error.to_string().contains("Too busy"), "{error}");
            let asked = fake.lines().iter().filter(|asked| **asked == line).count();
            assert_eq!(asked, 1, "{line} was asked again too early");
        }
    }
}

#[tokio::test]
async fn garbage_is_told_as_garbage_on_every_resource() {
    for line in EVERY_STEP
        .into_iter()
        .filter(|line| *line != "POST /certificate/1")
    {
        for garbage in ["", "{", "<html>", "{\"status\":\"dreaming\"}", "[]"] {
            let (_fake, account) = account(but(line, move |_, _| Reply::text(200, garbage))).await;
            let error = certificate(&account).await.unwrap_err();
            assert!(
                matches!(error, OrderError::Broken { .. }),
                "{line} {garbage}: {error}"
            );
            assert!(!error.is_final());
        }
    }
}

#[tokio::test]
async fn a_stall_is_given_up_on_every_resource_that_nothing_else_makes_up_for() {
    let made_up_for = ["POST /order/1", "POST /finalize/1"];
    for line in EVERY_STEP
        .into_iter()
        .filter(|line| !made_up_for.contains(line))
    {
        let limits = Limits {
            request: Duration::from_millis(300),
            ..Limits::default()
        };
        let (_fake, account) = account_within(limits, but(line, |_, _| Reply::Stall)).await;
        let error = certificate(&account).await.unwrap_err();
        assert!(
            matches!(error, OrderError::Unavailable { .. }),
            "{line}: {error}"
        );
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let (_fake, account) =
        account(but("POST /certificate/1", |_, _| Reply::Flood(100 << 20))).await;
    let error = certificate(&account).await.unwrap_err();
    assert!(matches!(error, OrderError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn an_order_that_fails_for_another_reason_tells_it() {
    let (_fake, account) = account(|request, base| match request.line.as_str() {
        "POST /order/1" => Reply::json(
            200,
            &json!({
                "status": "invalid",
                "authorizations": [format!("{base}/authz/1")],
                "finalize": format!("{base}/finalize/1"),
                "error": { "type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it" },
            }),
        ),
        "POST /authz/1" => authorization("valid", &[challenge(base, "http-01", "valid")]),
        _ => usual(request, base),
    })
    .await;
    let error = certificate(&account).await.unwrap_err();
    assert_eq!(error.to_string(), "the CA refused: CAA forbids it (caa)");
}

#[tokio::test]
async fn what_is_replaced_is_told_and_may_go_unmentioned_in_the_answer() {
    let (fake, account) = account(usual).await;
    let options = OrderOptions {
        profile: Some("shortlived".to_owned()),
        replaces: Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned()),
    };
    let order = Order::place(&account, &names(), &options).await.unwrap();
    assert_eq!(order.url(), fake.url("/order/1"));
    let sent = fake.received()[AFTER_REGISTRATION].payload();
    assert_eq!(
        sent["replaces"],
        json!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    );
    assert_eq!(sent["profile"], json!("shortlived"));
}

#[tokio::test]
async fn a_refused_replacement_is_told_apart_from_a_refused_order() {
    for (status, kind, detail, replacement) in [
        (409, "alreadyReplaced", "it was renewed before", true),
        (
            404,
            "malformed",
            "Could not validate ARI 'replaces' field",
            true,
        ),
        (400, "rejectedIdentifier", "forbidden by policy", false),
    ] {
        let (_fake, account) = account(but("POST /new-order", move |_, _| {
            Reply::problem(status, kind, detail)
        }))
        .await;
        let options = OrderOptions {
            profile: None,
            replaces: Some("a.b".to_owned()),
        };
        let error = Order::place(&account, &names(), &options)
            .await
            .unwrap_err();
        match replacement {
            true => assert!(
                matches!(error, OrderError::ReplacesRefused { .. }),
                "{error}"
            ),
            false => assert!(matches!(error, OrderError::Refused { .. }), "{error}"),
        }
        assert_eq!(error.is_final(), !replacement);
    }
}

#[tokio::test]
async fn an_order_the_ca_has_forgotten_is_gone() {
    let (fake, account) = account(usual).await;
    let error = Order::resume(&account, &fake.url("/order/2"))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, OrderError::OrderGone { .. }), "{error}");
}

#[tokio::test]
async fn other_chains_are_found_by_their_links_and_chosen_by_their_root() {
    let now = time::macros::datetime!(2026-11-22 12:00 UTC);
    let (_, other) = crate::certificate::placeholder(&names(), now).unwrap();
    let pem = other.fullchain_pem();
    let expected = pem.clone();
    let (_fake, account) = account(move |request, base| match request.line.as_str() {
        "POST /certificate/1" => Reply::text(200, "chain")
            .with(format!("link: <{base}/certificate/1/2>;rel=\"alternate\"")),
        "POST /certificate/1/2" => Reply::text(200, &pem),
        _ => usual(request, base),
    })
    .await;
    let mut order = placed(&account).await.unwrap();
    order.validate(&visits()).await.unwrap();
    order.finalize(b"csr").await.unwrap();
    assert_eq!(order.certificate().await.unwrap(), "chain");
    assert_eq!(order.alternates().await.unwrap(), [expected.as_str()]);
    let under = async |order: &mut Order, root: &str| order.certificate_under(root).await.unwrap();
    assert_eq!(under(&mut order, other.root()).await, expected);
    assert_eq!(under(&mut order, "Some Root X9").await, "chain");
}
