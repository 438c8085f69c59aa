//! What happens while an order waits for its CA.

use super::*;

#[tokio::test]
async fn a_ca_that_stumbles_while_it_is_waited_for_is_borne() {
    let (_fake, account) = account(but("POST /order/1", |request, base| {
        match request.count("POST /order/1") {
            0 => Reply::text(502, "bad gateway"),
            1 => Reply::Raw(Vec::new()),
            _ => usual(request, base),
        }
    }))
    .await;
    assert_eq!(certificate(&account).await.unwrap(), "chain");
}

#[tokio::test]
async fn a_limit_that_ends_while_we_wait_is_waited_for() {
    let (fake, account) = account(but("POST /order/1", |request, base| {
        match request.count("POST /order/1") {
            0 => Reply::text(429, "slow down").with("retry-after: 1"),
            _ => usual(request, base),
        }
    }))
    .await;
    let begun = Instant::now();
    assert_eq!(certificate(&account).await.unwrap(), "chain");
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "{:?}",
        fake.lines()
    );
}

#[tokio::test]
async fn retry_after_is_kept_while_the_certificate_is_signed() {
    let (_fake, account) = account(|request, base| match request.line.as_str() {
        "POST /finalize/1" => order(200, base, "processing").with("retry-after: 1"),
        _ => usual(request, base),
    })
    .await;
    let begun = Instant::now();
    certificate(&account).await.unwrap();
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn retry_after_is_kept_also_if_only_the_order_itself_says_it() {
    let (fake, account) = account(|request, base| match request.line.as_str() {
        "POST /order/1" if request.count("POST /finalize/1") > 0 => {
            match request.count("POST /order/1") {
                1 => order(200, base, "processing").with("retry-after: 1"),
                _ => usual(request, base),
            }
        }
        _ => usual(request, base),
    })
    .await;
    let begun = Instant::now();
    certificate(&account).await.unwrap();
    assert!(
        begun.elapsed() > Duration::from_millis(900),
        "{:?}",
        fake.lines()
    );
}

#[tokio::test]
async fn an_order_that_never_gets_ready_times_out() {
    let (_fake, account) =
        account(but("POST /order/1", |_, base| order(200, base, "pending"))).await;
    let mut order = placed(&account).await.unwrap();
    order.wait_at_most(Duration::from_millis(50));
    let error = order.validate(&visits()).await.unwrap_err();
    assert!(matches!(error, OrderError::Timeout { .. }), "{error}");
    assert!(!error.is_final());
}

#[tokio::test]
async fn a_failed_authorization_is_found_though_the_order_stays_pending() {
    let (_fake, account) = account(|request, base| match request.line.as_str() {
        "POST /order/1" => order(200, base, "pending"),
        "POST /authz/1" if request.count("POST /challenge/1") > 0 => {
            let mut challenge = challenge(base, "http-01", "invalid");
            challenge["error"] =
                json!({ "type": "urn:ietf:params:acme:error:dns", "detail": "no such name" });
            authorization("invalid", &[challenge])
        }
        _ => usual(request, base),
    })
    .await;
    let mut order = placed(&account).await.unwrap();
    order.wait_at_most(Duration::from_millis(50));
    let error = order.validate(&visits()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "validation failed: a.example: no such name (dns)"
    );
}

#[tokio::test]
async fn a_signing_request_whose_answer_is_lost_is_not_lost() {
    let (fake, account) = account(but("POST /finalize/1", |request, _| {
        match request.count("POST /finalize/1") {
            0 => Reply::Raw(Vec::new()),
            _ => Reply::problem(
                403,
                "orderNotReady",
                "Order's status (\"valid\") is not acceptable",
            ),
        }
    }))
    .await;
    assert_eq!(certificate(&account).await.unwrap(), "chain");
    assert!(
        fake.lines()
            .iter()
            .filter(|line| *line == "POST /finalize/1")
            .count()
            > 1
    );
}

#[tokio::test]
async fn a_challenge_the_ca_is_looking_at_is_not_announced_again() {
    let (fake, account) = account(|request, base| match request.line.as_str() {
        "POST /authz/1" => authorization("pending", &[challenge(base, "http-01", "processing")]),
        "POST /order/1" if request.count("POST /order/1") > 1 => order(200, base, "ready"),
        _ => usual(request, base),
    })
    .await;
    let mut order = Order::resume(&account, &fake.url("/order/1"))
        .await
        .unwrap();
    order.validate(&visits()).await.unwrap();
    assert!(!fake.lines().contains(&"POST /challenge/1".to_owned()));
}
