//! Every resource of a CA, and all that can go wrong with it: each time the right decision and the right next time, and nobody asks again too early.

use std::time::{Duration, Instant, SystemTime};

use rustls_pki_types::CertificateDer;
use time::macros::datetime;

use super::call::CallError;
use super::fake_ca::{FakeCa, Received, Reply, Visits, usual};
use super::order::{Order, OrderError, OrderOptions};
use super::{Account, AccountError, Ca, Limits, Registration, RevocationReason};

/// What a fault comes down to.
#[derive(Debug, PartialEq)]
enum Told {
    /// To be asked again then.
    RateLimited(Option<SystemTime>),
    /// Not to be had now; to be asked again then.
    Unavailable(Option<SystemTime>),
    /// No sense in it.
    Broken,
    /// A no.
    Refused,
}

impl From<CallError> for Told {
    fn from(error: CallError) -> Self {
        match error {
            CallError::RateLimited { until, .. } => Self::RateLimited(until),
            CallError::Unavailable { until, .. } => Self::Unavailable(until),
            CallError::Broken { .. } => Self::Broken,
            CallError::Refused(_) => Self::Refused,
        }
    }
}

impl From<AccountError> for Told {
    fn from(error: AccountError) -> Self {
        assert!(!error.next_step().is_empty());
        match error {
            AccountError::RateLimited { until, .. } => Self::RateLimited(until),
            AccountError::Unavailable { until, .. } => Self::Unavailable(until),
            AccountError::Broken { .. } => Self::Broken,
            AccountError::Refused { .. } | AccountError::Gone { .. } => Self::Refused,
            other => panic!("{other}"),
        }
    }
}

impl From<OrderError> for Told {
    fn from(error: OrderError) -> Self {
        assert!(!error.next_step().is_empty());
        match error {
            OrderError::RateLimited { until, .. } => Self::RateLimited(until),
            OrderError::Unavailable { until, .. } => Self::Unavailable(until),
            OrderError::Broken { .. } => Self::Broken,
            OrderError::Refused { .. } => Self::Refused,
            other => panic!("{other}"),
        }
    }
}

/// Every resource, in the order in which a whole life with a CA needs them.
const RESOURCES: [&str; 13] = [
    "GET /directory",
    "HEAD /nonce",
    "POST /new-account",
    "POST /account/1",
    "POST /new-order",
    "POST /authz/1",
    "POST /challenge/1",
    "POST /order/1",
    "POST /finalize/1",
    "POST /certificate/1",
    "GET /renewal-info/a.b",
    "POST /revoke",
    "POST /key-change",
];

/// A whole life: an account, an order, a certificate, the question when to renew, a revocation, another key.
async fn live(fake: &FakeCa, limits: Limits) -> Result<(), Told> {
    let ca = Ca::with_limits(&fake.url("/directory"), b"", limits).unwrap();
    let registration = Registration {
        terms_agreed: true,
        ..Registration::default()
    };
    let (account, kept) = Account::register(&ca, &registration).await?;
    account.state().await?;
    let names = ["a.example".parse().unwrap()];
    let mut order = Order::place(&account, &names, &OrderOptions::default()).await?;
    order.wait_at_most(Duration::from_secs(20));
    order.validate(&Visits::default()).await?;
    order.finalize(b"csr").await?;
    order.certificate().await?;
    ca.renewal_info("a.b").await?;
    let leaf = CertificateDer::from(vec![1, 2, 3]);
    account.revoke(&leaf, RevocationReason::Superseded).await?;
    account.roll_over(&kept.with_new_key().unwrap()).await?;
    Ok(())
}

/// The usual CA, with all that a whole life needs.
fn complete(request: &Received, base: &str) -> Reply {
    match request.line.as_str() {
        "POST /account/1" => Reply::text(200, "{\"status\":\"valid\"}"),
        "GET /renewal-info/a.b" => Reply::text(
            200,
            "{\"suggestedWindow\":{\"start\":\"2026-11-20T04:00:00Z\",\"end\":\"2026-11-21T04:00:00Z\"}}",
        ),
        "POST /revoke" | "POST /key-change" => Reply::text(200, ""),
        _ => usual(request, base),
    }
}

/// How a life ends with this fault in one resource; how often that was asked for; how long it took.
async fn faced(resource: &'static str, fault: Reply, limits: Limits) -> (Result<(), Told>, usize) {
    let fake = FakeCa::start(move |request, base| match request.line == resource {
        true => fault.clone(),
        false => complete(request, base),
    })
    .await;
    let lived = live(&fake, limits).await;
    let lines = fake.lines();
    let asked = lines.iter().filter(|line| **line == resource).count();
    (lived, asked)
}

fn near(one: SystemTime, other: SystemTime) -> bool {
    let apart = one.duration_since(other).or(other.duration_since(one));
    apart.unwrap() < Duration::from_secs(20)
}

#[tokio::test]
async fn without_any_fault_all_goes_well() {
    let fake = FakeCa::start(complete).await;
    live(&fake, Limits::default()).await.unwrap();
    for resource in RESOURCES {
        assert!(
            fake.lines().iter().any(|line| line == resource),
            "{resource}"
        );
    }
}

#[tokio::test]
async fn a_limit_in_seconds_or_until_a_date_is_kept_to_the_moment_and_nobody_asks_again() {
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    let date = SystemTime::from(datetime!(2044-11-06 08:49:37 UTC));
    for resource in RESOURCES {
        for (header, until) in [
            ("3600", in_an_hour),
            // However far, a wait has its limit.
            (
                "Sun, 06 Nov 2044 08:49:37 GMT",
                date.min(SystemTime::now() + Duration::from_secs(366 * 86_400)),
            ),
        ] {
            let busy = Reply::problem(429, "rateLimited", "slow down");
            let busy = busy.with(format!("retry-after: {header}"));
            let (told, asked) = faced(resource, busy, Limits::default()).await;
            let Err(Told::RateLimited(Some(at))) = told else {
                panic!("{resource}: {told:?}")
            };
            assert!(near(at, until), "{resource}: {at:?} is not {until:?}");
            assert_eq!(asked, 1, "{resource}");
        }
    }
}

#[tokio::test]
async fn a_page_that_says_to_come_again_is_understood_with_and_without_a_time() {
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    for resource in RESOURCES {
        let page = Reply::text(503, "<html><h1>Back soon</h1></html>");
        let timed = page.clone().with("retry-after: 3600");
        let (told, asked) = faced(resource, timed, Limits::default()).await;
        let Err(Told::Unavailable(Some(at))) = told else {
            panic!("{resource}: {told:?}")
        };
        assert!(near(at, in_an_hour), "{resource}");
        assert_eq!(asked, 1, "{resource}");
        // An order that is waited for is asked about again, at growing intervals.
        if resource != "POST /order/1" {
            let (told, asked) = faced(resource, page, Limits::default()).await;
            match resource {
                // The order says that it was taken all the same.
                "POST /finalize/1" => assert_eq!(told, Ok(())),
                _ => assert_eq!(told, Err(Told::Unavailable(None)), "{resource}"),
            }
            assert_eq!(asked, 1, "{resource}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_a_day_off_changes_no_wait() {
    for day in ["Sat, 05 Nov 1994", "Mon, 07 Nov 2044"] {
        let busy = Reply::text(429, "slow down")
            .with(format!("date: {day} 08:00:00 GMT"))
            .with(format!("retry-after: {day} 09:00:00 GMT"));
        let (told, _) = faced("POST /new-order", busy, Limits::default()).await;
        let Err(Told::RateLimited(Some(at))) = told else {
            panic!("{day}: {told:?}")
        };
        assert!(
            near(at, SystemTime::now() + Duration::from_secs(3600)),
            "{day}"
        );
    }
}

#[tokio::test]
async fn a_stall_ends_at_the_limit() {
    let limits = Limits {
        request: Duration::from_millis(200),
        ..Limits::default()
    };
    for resource in RESOURCES
        .into_iter()
        .filter(|resource| *resource != "POST /order/1")
    {
        let begun = Instant::now();
        let (told, _) = faced(resource, Reply::Stall, limits).await;
        match resource {
            // The order says that it was taken all the same.
            "POST /finalize/1" => assert_eq!(told, Ok(())),
            _ => assert_eq!(told, Err(Told::Unavailable(None)), "{resource}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{resource}");
    }
}

#[tokio::test]
async fn a_body_of_100_mebibytes_is_no_answer_of_any_resource() {
    for resource in RESOURCES
        .into_iter()
        .filter(|resource| *resource != "HEAD /nonce")
    {
        let (told, asked) = faced(resource, Reply::Flood(100 << 20), Limits::default()).await;
        assert_eq!(told, Err(Told::Broken), "{resource}");
        assert_eq!(asked, 1, "{resource}");
    }
}

#[tokio::test]
async fn garbage_is_no_answer_where_there_is_anything_to_be_read() {
    // Of these only the status and the headers matter.
    let unread = [
        "HEAD /nonce",
        "POST /revoke",
        "POST /key-change",
        "POST /certificate/1",
    ];
    for resource in RESOURCES
        .into_iter()
        .filter(|resource| !unread.contains(resource))
    {
        for garbage in [
            "",
            "{",
            "<html>hello</html>",
            "[]",
            "null",
            "{\"status\":7}",
            "\u{0}\u{1}",
        ] {
            let reply = Reply::text(200, garbage);
            let (told, asked) = faced(resource, reply, Limits::default()).await;
            assert_eq!(told, Err(Told::Broken), "{resource} {garbage:?}");
            assert_eq!(asked, 1, "{resource}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_a_refusal_of_every_resource() {
    for resource in RESOURCES {
        let no = Reply::problem(403, "rejectedIdentifier", "not here");
        let (told, asked) = faced(resource, no, Limits::default()).await;
        assert_eq!(told, Err(Told::Refused), "{resource}");
        assert_eq!(asked, 1, "{resource}");
    }
}
