//! Limits of size, number and time: each has its status, and none stands in the way of the others.

use std::io::Write;
use std::time::Duration;

use crate::support::{App, PATIENCE, Site, route_to};
use sidedoor::proxy::Settings;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const SHORT: Duration = Duration::from_millis(40);

fn limited(app: &App, change: impl FnOnce(&mut sidedoor::proxy::Limits)) -> Site {
    Site::with_settings(app, |settings| change(&mut settings.limits))
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let app = App::hello();
    let site = Site::before(&app);
    for length in [17 * 1024, 40 * 1024, 70 * 1024, 200 * 1024] {
        let mut client = site.client();
        client.send(format!(
            "GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "a".repeat(length)
        ));
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 414 URI Too Long\r\n"),
            "{length}: {answer}"
        );
        assert!(client.is_closed());
    }
    assert!(app.saw_nothing_more());
}

#[test]
fn a_header_that_is_too_large_is_431() {
    let app = App::hello();
    let site = Site::before(&app);
    for lines in [
        format!("X: {}\r\n", "a".repeat(33 * 1024)),
        format!("X: {}\r\n", "a".repeat(300 * 1024)),
        "X: a\r\n".repeat(100),
        "X: a\r\n".repeat(1_000),
    ] {
        let mut client = site.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            "{answer}"
        );
        assert!(
            answer.ends_with("the request's header is larger than allowed\n"),
            "{answer}"
        );
        assert!(client.is_closed());
    }
}

#[test]
fn as_many_header_lines_as_allowed_pass() {
    let app = App::hello();
    let site = Site::before(&app);
    let lines = "X: a\r\n".repeat(99);
    assert!(
        site.ask(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
            .ends_with("hello")
    );
    let site = limited(&app, |limits| limits.header_count = 500);
    let lines = "X: a\r\n".repeat(400);
    assert!(
        site.ask(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
            .ends_with("hello")
    );
}

#[test]
fn a_body_that_is_too_large_is_413_announced_or_not() {
    let app = App::serving(|guest| while guest.request().is_some() {});
    let site = limited(&app, |limits| limits.body_bytes = Some(10));
    for request in [
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\n01234567890",
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
    ] {
        let mut client = site.client();
        let answer = client.send(request).answer();
        assert!(
            answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
            "{answer}"
        );
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_still_sends_hears_why_it_was_refused() {
    let app = App::hello();
    let site = limited(&app, |limits| limits.body_bytes = Some(10));
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4000000\r\n\r\n");
    let mut sending = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _the_proxy_may_have_closed = sending.write_all(&vec![0; 4_000_000]);
        });
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
            "{answer}"
        );
    });
}

#[test]
fn a_head_that_trickles_in_is_408() {
    let app = App::hello();
    let site = limited(&app, |limits| limits.header_time = SHORT);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHo");
    let answer = client.answer();
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(client.is_closed());
}

#[test]
fn a_trickle_does_not_prolong_the_time_for_a_head() {
    let app = App::hello();
    let site = limited(&app, |limits| {
        limits.header_time = Duration::from_millis(100)
    });
    let mut client = site.client();
    let mut sending = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            sending.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
            // Far more bytes than can go out at this pace before the limit, and an end in any case.
            for _ in 0..1_000 {
                if sending.write_all(b"a").is_err() {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
            "{answer}"
        );
        let _already_reset = client.stream.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn a_body_that_stops_is_408() {
    let app = App::serving(|guest| {
        guest.wire.read_to_end();
    });
    let site = limited(&app, |limits| limits.body_idle_time = SHORT);
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n01");
    let answer = client.answer();
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{answer}"
    );
    assert!(client.is_closed());
}

#[test]
fn an_app_that_stops_reading_is_504() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = App::serving(move |guest| {
        guest.wire.read_until(b"\r\n\r\n");
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
    });
    let site = limited(&app, |limits| {
        limits.body_idle_time = Duration::from_millis(200)
    });
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000000\r\n\r\n");
    let mut sending = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let piece = vec![0; 64 * 1024];
            while sending.write_all(&piece).is_ok() {}
        });
        let answer = client.answer();
        assert!(
            answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
            "{answer}"
        );
        let _already_reset = client.stream.shutdown(std::net::Shutdown::Both);
        drop(done);
    });
}

#[test]
fn an_answer_that_stops_breaks_off() {
    let app = App::serving(|guest| {
        guest.request();
        guest
            .wire
            .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        guest.wire.read_to_end();
    });
    let site = limited(&app, |limits| limits.body_idle_time = SHORT);
    let mut client = site.client();
    let answer = String::from_utf8(client.send(GET).read_to_end()).unwrap();
    assert!(answer.ends_with("[ConnectionReset]"), "{answer}");
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    let (gone, left) = std::sync::mpsc::channel();
    let app = App::serving(move |guest| {
        guest.request();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
        let _ = guest.wire.stream.write_all(head.as_bytes());
        while guest.wire.stream.write_all(&[0; 64 * 1024]).is_ok() {}
        gone.send(()).unwrap();
    });
    let site = limited(&app, |limits| {
        limits.body_idle_time = Duration::from_millis(200)
    });
    let mut client = site.client();
    client.send(GET);
    left.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_connection_that_rests_too_long_is_closed_without_a_word() {
    let app = App::hello();
    let site = limited(&app, |limits| limits.idle_time = SHORT);
    let mut client = site.client();
    client.send(GET).answer();
    assert!(client.is_closed());
    assert!(site.client().is_closed());
}

#[test]
fn connections_beyond_the_limit_wait_until_one_ends() {
    let app = App::hello();
    let site = limited(&app, |limits| limits.connections = 1);
    let mut first = site.client();
    assert!(first.send(GET).answer().ends_with("hello"));
    let mut second = site.client();
    second.send(GET);
    assert!(first.send(GET).answer().ends_with("hello"));
    drop(first);
    assert!(second.answer().ends_with("hello"));
}

#[test]
fn a_resting_connection_to_the_app_is_given_up_in_time() {
    let (gone, left) = std::sync::mpsc::channel();
    let app = App::serving(move |guest| {
        while guest.request().is_some() {
            guest
                .wire
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
        gone.send(()).unwrap();
    });
    let site = limited(&app, |limits| limits.upstream_idle_time = SHORT);
    let mut client = site.client();
    client.send(GET).answer();
    left.recv_timeout(PATIENCE).unwrap();
    assert!(client.send(GET).answer().ends_with("hello"));
}

#[test]
fn refusals_are_json_for_who_accepts_nothing_else() {
    let mut route = route_to(&[]);
    route.is_default = false;
    route.hosts = vec!["b.example".parse().unwrap()];
    let site = Site::with(vec![route], Settings::default());
    let answer = site.ask("GET / HTTP/1.1\r\nHost: a.example\r\nAccept: application/json\r\n\r\n");
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("{\"error\":\"no app answers to this host\",\"status\":421}\n"),
        "{answer}"
    );
}

#[test]
fn connections_that_rest_shrink_and_serve_again() {
    let app = App::hello();
    let site = limited(&app, |limits| limits.warm_connections = 2);
    let mut clients: Vec<_> = (0..50).map(|_| site.client()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert!(client.send(GET).answer().ends_with("hello"));
        }
    }
    // The first byte of a request wakes a connection that has shrunk; the others come later.
    for client in &mut clients {
        client.send("G");
    }
    for client in &mut clients {
        assert!(client.send(&GET[1..]).answer().ends_with("hello"));
    }
}
