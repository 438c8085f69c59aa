use super::*;
use crate::nginx::loopback::{Identity, Loopback, Serving, ok, redirect};

/// A wrong answer is asked for again only for so long.
const SOON: Patience = Patience::untouched(Duration::ZERO);

fn token() -> KeyAuthorization {
    KeyAuthorization::of_nobody(7)
}

fn knock(serving: &Serving) -> Knock {
    Knock {
        address: Address::Tcp(serving.address),
        proxy_protocol: false,
        host: "a.example".into(),
    }
}

async fn answer(knock: &Knock) -> Answer {
    prove(knock, &token(), SOON).await.unwrap_err().answer
}

#[tokio::test]
async fn proves_a_door_that_answers_our_token() {
    let nginx = Loopback::bind().await.answers(|_| ok(token().as_str()));
    let settled = prove(&knock(&nginx), &token(), SOON).await.unwrap();
    assert_eq!(settled.other, 0);
    let heads = nginx.heads();
    assert_eq!(
        heads.len(),
        settled.good as usize,
        "each on a connection of its own"
    );
    let begin = format!("GET {PREFIX}{} HTTP/1.1\r\n", token().token());
    assert!(heads[0].starts_with(&begin), "{}", heads[0]);
    assert!(heads[0].contains("host: a.example\r\n"), "{}", heads[0]);
}

#[tokio::test]
async fn takes_no_offence_at_white_space_behind_the_token() {
    let nginx = Loopback::bind()
        .await
        .answers(|_| ok(&format!("{}\r\n ", token().as_str())));
    prove(&knock(&nginx), &token(), SOON).await.unwrap();
}

#[tokio::test]
async fn shows_the_beginning_of_another_body() {
    let nginx = Loopback::bind()
        .await
        .answers(|_| ok(&"<html>".repeat(100)));
    match answer(&knock(&nginx)).await.saw {
        Saw::Body(beginning) => assert_eq!(beginning, "<html>".repeat(10)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn says_where_nobody_listens() {
    let port = Loopback::bind().await.port();
    let knock = Knock {
        address: Address::Tcp(([127, 0, 0, 1], port).into()),
        proxy_protocol: false,
        host: "a.example".into(),
    };
    let error = prove(&knock, &token(), SOON).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error.answer.saw, Saw::NoAnswer(_)), "{text}");
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains("a.example"),
        "{text}"
    );
}

#[tokio::test]
async fn begins_with_a_proxy_protocol_header_where_the_listener_wants_one() {
    let nginx = Loopback::bind().await.answers(|_| ok(token().as_str()));
    let knock = Knock {
        proxy_protocol: true,
        ..knock(&nginx)
    };
    prove(&knock, &token(), SOON).await.unwrap();
    assert!(nginx.heads()[0].starts_with("PROXY UNKNOWN\r\nGET "));
}

#[tokio::test]
async fn follows_a_redirect_to_a_tls_server_whose_certificate_nobody_trusts() {
    let tls = Loopback::bind().await;
    let to = format!("https://www.a.example:{}", tls.port());
    let tls = tls.answers_over_tls(vec![Identity::new("other.example")], |_| {
        ok(token().as_str())
    });
    let plain = Loopback::bind().await.answers(move |head| {
        let path = head.split(' ').nth(1).unwrap();
        redirect(301, &format!("{to}{path}"))
    });
    prove(&knock(&plain), &token(), SOON).await.unwrap();
    let head = &tls.heads()[0];
    let begin = format!("GET {PREFIX}{} HTTP/1.1\r\n", token().token());
    assert!(head.starts_with(&begin), "{head}");
    assert!(
        head.contains(&format!("host: www.a.example:{}\r\n", tls.address.port())),
        "{head}"
    );
}

#[tokio::test]
async fn wants_a_proxy_protocol_header_on_the_next_hop_too() {
    let tls = Loopback::bind().await;
    let to = format!("https://a.example:{}/", tls.port());
    let tls = tls.answers_over_tls(vec![Identity::new("a.example")], |_| ok(token().as_str()));
    let plain = Loopback::bind().await.answers(move |_| redirect(308, &to));
    let knock = Knock {
        proxy_protocol: true,
        ..knock(&plain)
    };
    prove(&knock, &token(), SOON).await.unwrap();
    assert_eq!(tls.heads()[0], "PROXY");
}

#[tokio::test]
async fn follows_relative_redirects_and_port_80_to_where_it_knocked() {
    for to in [
        "/elsewhere",
        "//b.example/elsewhere",
        "http://a.example/elsewhere#x",
    ] {
        let nginx =
            Loopback::bind()
                .await
                .answers(move |head| match head.contains("/elsewhere HTTP") {
                    true => ok(token().as_str()),
                    false => redirect(302, to),
                });
        prove(&knock(&nginx), &token(), SOON).await.unwrap();
    }
}

#[tokio::test]
async fn gives_up_after_ten_redirects_and_names_the_last() {
    let nginx = Loopback::bind().await.answers(|head| {
        let n: usize = head
            .split(' ')
            .nth(1)
            .unwrap()
            .trim_start_matches('/')
            .parse()
            .unwrap_or(0);
        redirect(307, &format!("/{}", n + 1))
    });
    let answer = answer(&knock(&nginx)).await;
    assert_eq!(answer.hops.len(), 10);
    assert_eq!(nginx.heads().len(), 11);
    let text = answer.to_string();
    assert!(
        text.starts_with("10 redirects, the last to http://a.example/10, "),
        "{text}"
    );
}

#[tokio::test]
async fn shows_what_came_at_the_end_of_a_redirect() {
    let nginx = Loopback::bind()
        .await
        .answers(|head| match head.starts_with("GET /login") {
            true => ok("please log in"),
            false => redirect(301, "/login"),
        });
    let error = prove(&knock(&nginx), &token(), SOON)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(
            "a redirect to http://a.example/login, and there with another body: \"please log in\""
        ),
        "{error}"
    );
}

#[tokio::test]
async fn follows_no_redirect_that_a_ca_would_not() {
    for (status, to) in [
        (303, "/x"),
        (300, "/x"),
        (301, "ftp://a.example/x"),
        (301, "mailto:a@a.example"),
        (301, ""),
    ] {
        let nginx = Loopback::bind()
            .await
            .answers(move |_| redirect(status, to));
        let answer = answer(&knock(&nginx)).await;
        assert_eq!(answer.hops, [""; 0], "{status} {to}");
        assert_eq!(nginx.heads().len(), 1);
    }
}

#[test]
fn where_the_ca_comes_on_port_80_only_80_and_443_are_gone_to() {
    let knock = Knock {
        address: "192.0.2.1:80".parse().unwrap(),
        proxy_protocol: false,
        host: "a.example".into(),
    };
    let first = Hop::first(&knock, &token());
    let goes_to = |to: &str| Some(first.redirected(to, &knock)?.address.to_string());
    for (to, address) in [
        ("https://a.example/", Some("192.0.2.1:443")),
        ("https://a.example:443/", Some("192.0.2.1:443")),
        ("http://a.example:443/", Some("192.0.2.1:443")),
        ("https://a.example:80/", Some("192.0.2.1:80")),
        ("http://b.example/", Some("192.0.2.1:80")),
        ("https://a.example:8443/", None),
        ("http://a.example:8080/", None),
        ("http://a.example:99999/", None),
    ] {
        assert_eq!(goes_to(to).as_deref(), address, "{to}");
    }
}
