use super::*;
use crate::acme::fake_ca::{FakeCa, Reply};

fn transport(limits: Limits) -> Transport {
    Transport::new(b"", limits).unwrap()
}

fn get(url: String) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn post(url: String, body: &'static str) -> Request<Bytes> {
    Request::post(url).body(Bytes::from(body)).unwrap()
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let ca = FakeCa::start(|_, _| Reply::text(200, "hello")).await;
    let transport = transport(Limits::default());
    for _ in 0..3 {
        let answer = transport
            .send(post(ca.url("/path?query"), "body"))
            .await
            .unwrap();
        assert_eq!(answer.body(), "hello");
    }
    let received = ca.received();
    assert_eq!(received[2].before, 2, "a connection of its own");
    assert_eq!(received[2].line, "POST /path?query");
    assert_eq!(received[2].body, b"body");
    assert_eq!(received[2].header("user-agent"), Some(AGENT));
    assert_eq!(
        received[2].header("host"),
        ca.url("").strip_prefix("http://")
    );
}

#[tokio::test]
async fn requests_side_by_side_have_a_connection_each_and_keep_it() {
    let ca = FakeCa::start(|_, _| Reply::text(200, "hello")).await;
    let transport = transport(Limits::default());
    for _ in 0..4 {
        let send = || transport.send(get(ca.url("/")));
        let (one, two, three) = tokio::join!(send(), send(), send());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
    }
    let connections = ca
        .received()
        .iter()
        .filter(|request| request.before == 0)
        .count();
    assert_eq!(connections, 3);
}

#[tokio::test]
async fn a_connection_that_lay_unused_too_long_is_not_used() {
    let ca = FakeCa::start(|_, _| Reply::text(200, "hello")).await;
    let transport = transport(Limits {
        idle: Duration::ZERO,
        ..Limits::default()
    });
    for _ in 0..2 {
        transport.send(get(ca.url("/"))).await.unwrap();
    }
    assert!(ca.received().iter().all(|request| request.before == 0));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_unnoticed() {
    let ca = FakeCa::start(|request, _| match request.before {
        0 => Reply::text(200, "first"),
        // Reads the second request and closes without a word.
        _ => Reply::Raw(Vec::new()),
    })
    .await;
    let transport = transport(Limits::default());
    for _ in 0..3 {
        let answer = transport.send(post(ca.url("/"), "x")).await.unwrap();
        assert_eq!(answer.body(), "first");
    }
}

#[tokio::test]
async fn a_request_that_was_perhaps_carried_out_is_not_made_anew() {
    // The CA breaks down over it, and knows its nonce when it comes again.
    let ca = FakeCa::start(|request, _| match request.line.as_str() {
        "POST /order" if request.before > 0 => Reply::Raw(Vec::new()),
        "POST /order" => Reply::problem(400, "badNonce", "seen before"),
        _ => Reply::text(200, ""),
    })
    .await;
    let transport = transport(Limits::default());
    transport.send(get(ca.url("/"))).await.unwrap();
    let lost = transport.send(post(ca.url("/order"), "x")).await;
    let error = lost.unwrap_err();
    assert!(matches!(error, TransportError::Broken { .. }), "{error}");
    assert_eq!(ca.lines(), ["GET /", "POST /order", "POST /order"]);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_an_error_and_not_repeated() {
    let ca = FakeCa::start(|_, _| Reply::Raw(Vec::new())).await;
    let error = transport(Limits::default())
        .send(get(ca.url("/")))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::Broken { .. }), "{error}");
    assert_eq!(ca.lines().len(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_no_http_is_an_error() {
    for raw in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
    ] {
        let ca = FakeCa::start(move |_, _| Reply::Raw(raw.into())).await;
        let error = transport(Limits::default())
            .send(get(ca.url("/")))
            .await
            .unwrap_err();
        assert!(matches!(error, TransportError::Broken { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_time_limit() {
    let ca = FakeCa::start(|_, _| Reply::Stall).await;
    let limits = Limits {
        request: Duration::from_millis(50),
        ..Limits::default()
    };
    let error = transport(limits).send(get(ca.url("/"))).await.unwrap_err();
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_body_of_100_mebibytes_is_refused_after_the_first() {
    let ca = FakeCa::start(|_, _| Reply::Flood(100 << 20)).await;
    let error = transport(Limits::default())
        .send(get(ca.url("/")))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { limit, .. } if limit == 1 << 20));
}

#[tokio::test]
async fn nothing_listening_is_told_with_host_and_port() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/directory");
    let error = transport(Limits::default())
        .send(get(url))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_never_spoken() {
    let url = "http://ca.example/directory".to_owned();
    let error = transport(Limits::default())
        .send(get(url))
        .await
        .unwrap_err();
    assert!(matches!(error, TransportError::Address { .. }), "{error}");
}
