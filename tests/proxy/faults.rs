//! Apps and clients that break: each fault has its status, and everybody else goes on.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::support::{App, Guest, Site, route_to};
use sidedoor::proxy::Settings;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn reset(guest: &Guest) {
    SockRef::from(&guest.wire.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn an_app_that_nobody_listens_for_is_a_bad_gateway() {
    let app = App::hello();
    let route = route_to(&[&app]);
    drop(app);
    let site = Site::with(vec![route], Settings::default());
    let answer = site.ask(GET);
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\r\n\r\nthe app can't be reached\n"),
        "{answer}"
    );
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    let gone = App::hello();
    let there = App::hello();
    let mut route = route_to(&[&gone, &there]);
    drop(gone);
    route.upstreams.rotate_left(0);
    let site = Site::with(vec![route], Settings::default());
    for _ in 0..4 {
        let answer = site.ask(POST);
        assert!(answer.ends_with("hello"), "{answer}");
    }
}

#[test]
fn an_app_that_says_nothing_is_a_gateway_timeout() {
    let app = App::serving(|guest| {
        guest.request();
        guest.wire.read_to_end();
    });
    let site = Site::with_settings(&app, |settings| {
        settings.limits.response_time = Duration::from_millis(40);
    });
    let mut client = site.client();
    let answer = client.send(GET).answer();
    assert!(
        answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
        "{answer}"
    );
    let answer = client.send(GET).answer();
    assert!(
        answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
        "{answer}"
    );
}

#[test]
fn garbage_and_half_a_head_are_a_bad_gateway() {
    for sent in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 999999\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "",
    ] {
        let app = App::serving(move |guest| {
            guest.request();
            guest.wire.send(sent);
        });
        let site = Site::before(&app);
        let answer = site.ask(POST);
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{sent:?}: {answer}"
        );
    }
}

#[test]
fn a_reset_in_the_head_is_a_bad_gateway() {
    let app = App::serving(|guest| {
        guest.request();
        reset(guest);
        guest.wire.send("HTTP/1.1 200 OK\r\n");
    });
    let site = Site::before(&app);
    let answer = site.ask(POST);
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    for (request, sent) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
        ),
        // To HTTP/1.0 nothing but the close marks the end, so a close would be a lie.
        (
            "GET / HTTP/1.0\r\nHost: a.example\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ] {
        let app = App::serving(move |guest| {
            guest.request();
            guest.wire.send(sent);
        });
        let site = Site::before(&app);
        let mut client = site.client();
        let answer = String::from_utf8(client.send(request).read_to_end()).unwrap();
        assert!(answer.ends_with("[ConnectionReset]"), "{sent:?}: {answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{sent:?}: {answer}");
    }
}

/// An app that answers one request, and closes the connection when it sees another.
fn forgetful() -> App {
    App::serving(|guest| {
        guest.request();
        guest.wire.send(HELLO);
        guest.request();
    })
}

#[test]
fn a_rested_connection_that_dies_is_replaced_unnoticed_for_a_get() {
    let app = forgetful();
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..5 {
        let answer = client.send(GET).answer();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let app = forgetful();
    let site = Site::before(&app);
    let mut client = site.client();
    assert!(client.send(POST).answer().ends_with("hello"));
    let answer = client.send(POST).answer();
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    assert!(app.saw().starts_with("POST"));
    assert!(app.saw().starts_with("POST"));
    assert!(app.saw_nothing_more());
    assert_eq!(app.accepted(), 1);
}

#[test]
fn a_get_is_tried_again_once_only() {
    let app = App::serving(|guest| {
        if guest
            .request()
            .is_some_and(|request| request.starts_with(b"GET /first"))
        {
            guest.wire.send(HELLO);
            guest.request();
        }
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client
        .send("GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .answer();
    let answer = client.send(GET).answer();
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
    assert_eq!(app.accepted(), 2);
}

#[test]
fn an_app_that_closes_its_resting_connection_costs_no_request() {
    let app = App::serving(|guest| {
        guest.request();
        guest.wire.send(HELLO);
    });
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..5 {
        // The close may come before the next request or cross it; a GET passes in either case.
        let answer = client.send(GET).answer();
        assert!(answer.ends_with("hello"), "{answer}");
    }
}

#[test]
fn an_app_that_refuses_a_large_body_early_is_heard() {
    let app = App::serving(|guest| {
        guest.wire.read_until(b"\r\n\r\n");
        guest.wire.send(
            "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        );
        let _ = guest.wire.stream.shutdown(Shutdown::Write);
        guest.wire.read_to_end();
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000000\r\n\r\n");
    let mut sending = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let piece = vec![0; 64 * 1024];
            // Until the proxy has had enough.
            while sending.write_all(&piece).is_ok() {}
        });
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
            "{answer}"
        );
        assert!(answer.ends_with("big"), "{answer}");
        let _already_reset = client.stream.shutdown(Shutdown::Both);
    });
}

#[test]
fn a_client_that_leaves_ends_the_request_at_the_app() {
    let (gone, left) = std::sync::mpsc::channel();
    let app = App::serving(move |guest| {
        guest.request();
        guest.wire.read_to_end();
        gone.send(()).unwrap();
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(GET);
    app.saw();
    drop(client);
    left.recv_timeout(crate::support::PATIENCE).unwrap();
}

#[test]
fn a_body_that_breaks_its_framing_is_a_bad_request() {
    let app = App::serving(|guest| {
        guest.request();
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    let answer = client.answer();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(client.is_closed());
}

#[test]
fn one_apps_silence_is_not_anothers() {
    let silent = App::serving(|guest| {
        guest.request();
        guest.wire.read_to_end();
    });
    let hello = App::hello();
    let mut first = route_to(&[&silent]);
    first.hosts = vec!["silent.example".parse().unwrap()];
    first.is_default = false;
    let site = Site::with(vec![first, route_to(&[&hello])], Settings::default());
    let mut waiting = site.client();
    waiting.send("GET / HTTP/1.1\r\nHost: silent.example\r\n\r\n");
    silent.saw();
    assert!(site.ask(GET).ends_with("hello"));
}
