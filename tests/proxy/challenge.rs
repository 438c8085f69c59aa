//! Answers to challenges, and what is none.

use crate::support::{App, Site};
use sidedoor::proxy::Settings;

const PATH: &str = "/.well-known/acme-challenge";

#[test]
fn answers_a_token_of_ours_with_the_exact_key_authorization() {
    let app = App::hello();
    let site = Site::before(&app);
    let presented = site.present("tok");
    let answer = site.ask(&format!(
        "GET {PATH}/tok HTTP/1.1\r\nHost: nobody.example\r\nUser-Agent: va/1\r\nConnection: close\r\n\r\n"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/octet-stream\r\n"),
        "{head}"
    );
    assert!(head.contains("content-length: 47\r\n"), "{head}");
    assert_eq!(body, format!("tok.{}", "k".repeat(43)));
    let visits = presented.visits();
    assert_eq!(visits.len(), 1);
    assert_eq!(visits[0].host, "nobody.example");
    assert_eq!(visits[0].user_agent, "va/1");
    assert_eq!(visits[0].client, Some("127.0.0.1".parse().unwrap()));
    assert!(!visits[0].https);
    assert!(app.saw_nothing_more());
}

#[test]
fn answers_head_with_the_length_and_no_body() {
    let app = App::hello();
    let site = Site::before(&app);
    let _presented = site.present("tok");
    let mut client = site.client();
    client.send(format!(
        "HEAD {PATH}/tok HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
    ));
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.contains("content-length: 47\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn keeps_serving_the_app_when_a_token_is_unknown() {
    let app = App::hello();
    let site = Site::before(&app);
    let _presented = site.present("tok");
    for (method, path) in [
        ("GET", "other"),
        ("POST", "tok"),
        ("GET", "tok/"),
        ("GET", "%74ok"),
    ] {
        let answer = site.ask(&format!(
            "{method} {PATH}/{path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
        ));
        assert!(answer.ends_with("hello"), "{answer}");
        assert!(
            app.saw()
                .starts_with(&format!("{method} {PATH}/{path} HTTP/1.1\r\n"))
        );
    }
}

#[test]
fn notes_whom_a_trusted_peer_speaks_for() {
    let app = App::hello();
    let site = Site::before(&app);
    let presented = site.present("tok");
    site.ask(&format!(
        "GET {PATH}/tok HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n"
    ));
    let visit = presented.visits().remove(0);
    assert_eq!(visit.client, Some("203.0.113.7".parse().unwrap()));
    assert!(visit.https);
}

#[test]
fn believes_no_stranger() {
    let app = App::hello();
    let site = Site::with_settings(&app, |settings| settings.trusted_proxies.clear());
    let presented = site.present("tok");
    site.ask(&format!(
        "GET {PATH}/tok HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n"
    ));
    let visit = presented.visits().remove(0);
    assert_eq!(visit.client, Some("127.0.0.1".parse().unwrap()));
    assert!(!visit.https);
}

#[test]
fn without_an_app_everything_but_tokens_is_not_found() {
    let mut route = crate::support::route_to(&[]);
    route.hosts = vec!["a.example".parse().unwrap()];
    route.is_default = false;
    let site = Site::with(vec![route], Settings::default());
    let answer = site.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    let answer = site.ask("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"),
        "{answer}"
    );
}
