use serde_json::json;

use super::*;
use crate::acme::fake_ca::{FakeCa, Received, Reply, usual};

async fn ca(script: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static) -> (FakeCa, Ca) {
    let fake = FakeCa::start(script).await;
    let ca = Ca::new(&fake.url("/directory"), b"").unwrap();
    (fake, ca)
}

fn registration() -> Registration {
    Registration {
        contact: vec!["ops@example.com".to_owned()],
        terms_agreed: true,
        eab: None,
    }
}

#[tokio::test]
async fn an_account_is_registered_once_and_restored_without_asking_for_it() {
    let (fake, ca) = ca(usual).await;
    let (account, credentials) = Account::register(&ca, &registration()).await.unwrap();
    assert_eq!(account.url(), fake.url("/account/1"));
    let sent = fake.received().last().unwrap().payload();
    assert_eq!(sent["contact"], json!(["mailto:ops@example.com"]));
    assert_eq!(sent["termsOfServiceAgreed"], json!(true));

    let stored = serde_json::to_string(&credentials).unwrap();
    let read: Credentials = serde_json::from_str(&stored).unwrap();
    let restored = Account::restore(&ca, &read).await.unwrap();
    assert_eq!(restored.url(), account.url());
    assert_eq!(
        restored.inner.key_thumbprint(),
        account.inner.key_thumbprint()
    );
    assert_eq!(
        fake.lines(),
        ["GET /directory", "HEAD /nonce", "POST /new-account"]
    );
}

#[tokio::test]
async fn credentials_and_bindings_show_no_key_in_debug() {
    let (_fake, ca) = ca(usual).await;
    let (_, credentials) = Account::register(&ca, &registration()).await.unwrap();
    let stored = serde_json::to_value(&credentials).unwrap();
    let key = stored["key_pkcs8"].as_str().unwrap();
    assert!(!format!("{credentials:?}").contains(key));
    let eab = Eab {
        kid: "kid-1".to_owned(),
        hmac_key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV".to_owned(),
    };
    assert!(!format!("{eab:?}").contains("zWND"));
}

#[tokio::test]
async fn terms_and_bindings_are_asked_for_before_the_ca_is() {
    let (fake, ca) = ca(|request, base| match request.line.as_str() {
        "GET /directory" => Reply::json(
            200,
            &json!({
                "newNonce": format!("{base}/nonce"),
                "newAccount": format!("{base}/new-account"),
                "newOrder": format!("{base}/new-order"),
                "meta": { "termsOfService": "https://ca.example/terms", "externalAccountRequired": true },
            }),
        ),
        _ => usual(request, base),
    })
    .await;
    let mut registration = registration();
    registration.terms_agreed = false;
    let error = Account::register(&ca, &registration).await.unwrap_err();
    assert!(error.to_string().contains("https://ca.example/terms"));
    registration.terms_agreed = true;
    let error = Account::register(&ca, &registration).await.unwrap_err();
    assert!(matches!(error, AccountError::EabMissing { .. }));
    for unreadable in ["", "not base64!"] {
        registration.eab = Some(Eab {
            kid: "kid-1".to_owned(),
            hmac_key: unreadable.to_owned(),
        });
        let error = Account::register(&ca, &registration).await.unwrap_err();
        assert!(matches!(error, AccountError::EabUnreadable));
        assert!(error.is_final());
    }
    assert_eq!(fake.lines(), ["GET /directory"]);
}

#[tokio::test]
async fn a_refused_nonce_is_no_failure_however_often_it_happens() {
    let (fake, ca) = ca(|request, base| match request.line.as_str() {
        "POST /new-account" if request.count("POST /new-account") < 20 => Reply::problem(
            400,
            "badNonce",
            "JWS has an invalid anti-replay nonce: \"secret\"",
        ),
        _ => usual(request, base),
    })
    .await;
    Account::register(&ca, &registration()).await.unwrap();
    let asked = fake
        .lines()
        .iter()
        .filter(|line| *line == "HEAD /nonce")
        .count();
    assert_eq!(asked, 1, "each refusal brings a new nonce along");
}

#[tokio::test]
async fn a_ca_that_refuses_every_nonce_is_unavailable_and_no_nonce_is_shown() {
    let (_fake, ca) = ca(|request, base| match request.line.as_str() {
        "POST /new-account" => Reply::problem(400, "badNonce", "invalid nonce: \"secret\""),
        _ => usual(request, base),
    })
    .await;
    let error = Account::register(&ca, &registration()).await.unwrap_err();
    assert!(
        matches!(error, AccountError::Unavailable { .. }),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn waiting_times_are_kept_from_every_resource_and_status() {
    let refuse = |line: &'static str, status: u16, header: &'static str| {
        move |request: &Received, base: &str| match request.line.as_str() {
            refused if refused == line => {
                Reply::text(status, "<html>busy</html>").with(format!("retry-after: {header}"))
            }
            _ => usual(request, base),
        }
    };
    for (line, status, header) in [
        ("GET /directory", 429, "3600"),
        ("GET /directory", 503, "Sun, 06 Nov 2044 08:49:37 GMT"),
        ("POST /new-account", 429, "Sun, 06 Nov 2044 08:49:37 GMT"),
        ("POST /new-account", 503, "3600"),
    ] {
        let (_fake, ca) = ca(refuse(line, status, header)).await;
        let error = Account::register(&ca, &registration()).await.unwrap_err();
        assert!(error.retry_after().is_some(), "{line} {status}: {error}");
        assert!(!error.is_final());
        match error {
            AccountError::RateLimited { .. } => assert_eq!(status, 429),
            AccountError::Unavailable { reason, .. } => assert!(reason.contains("busy")),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_none_is_told_as_such() {
    for (status, body, shown) in [
        (200, "<html>welcome</html>", "no ACME directory"),
        (200, "{}", "newNonce"),
        (
            200,
            r#"{"newNonce":"http://ca.example/n","newOrder":"https://ca.example/o"}"#,
            "https://",
        ),
        (
            404,
            "<html>not found</html>",
            "HTTP 404 Not Found: not found",
        ),
        (301, "", "HTTP 301"),
    ] {
        let (_fake, ca) = ca(move |_, _| Reply::text(status, body)).await;
        let error = Account::register(&ca, &registration()).await.unwrap_err();
        assert!(error.to_string().contains(shown), "{error}");
        assert!(!error.next_step().is_empty());
    }
}

#[tokio::test]
async fn a_directory_that_has_moved_is_told_with_its_new_place() {
    let (_fake, ca) =
        ca(|_, _| Reply::text(301, "").with("location: https://new.example/dir")).await;
    let error = Account::register(&ca, &registration()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("leads to https://new.example/dir"),
        "{error}"
    );
    assert!(
        error.next_step().contains("directory's URL"),
        "{}",
        error.next_step()
    );
}

#[tokio::test]
async fn an_unusable_key_and_a_missing_ca_are_told_apart() {
    let (fake, ca) = ca(usual).await;
    let credentials = Credentials::from_parts("https://ca.example/1", ca.url(), b"no key");
    let error = Account::restore(&ca, &credentials).await.unwrap_err();
    assert!(matches!(error, AccountError::Credentials { .. }), "{error}");
    let elsewhere = Ca::new(&fake.url("/directory"), b"").unwrap();
    drop(fake);
    let error = Account::restore(&elsewhere, &credentials)
        .await
        .unwrap_err();
    assert!(matches!(error, AccountError::Unavailable { .. }), "{error}");
    assert!(
        error.next_step().contains("firewall"),
        "{}",
        error.next_step()
    );
}
