//! What is counted and what is logged.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use sidedoor::proxy::{AccessFormat, AccessLog, Routes, Settings};

use crate::support::{App, PATIENCE, Site, route_to};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\nUser-Agent: t\r\n\r\n";

/// Waits until the metrics hold all these lines.
fn wait_for(site: &Site, lines: &[&str]) {
    let start = Instant::now();
    loop {
        let metrics = site.metrics();
        let missing: Vec<_> = lines
            .iter()
            .filter(|line| !metrics.lines().any(|each| each == **line))
            .collect();
        if missing.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{missing:?} not in\n{metrics}");
        std::thread::yield_now();
    }
}

#[test]
fn requests_connections_and_challenges_are_counted() {
    let app = App::hello();
    let site = Site::before(&app);
    let _presented = site.present("tok");
    let mut client = site.client();
    client.send(GET).answer();
    client.send(GET).answer();
    client
        .send("GET /.well-known/acme-challenge/tok HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .answer();
    client
        .send("GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .answer();
    site.ask("GET / HTTP/1.1\r\n\r\n");
    site.ask("nonsense\r\n\r\n");
    wait_for(
        &site,
        &[
            "sidedoor_requests_total{app=\"app\",status=\"2xx\"} 3",
            "sidedoor_requests_total{app=\"\",status=\"2xx\"} 1",
            "sidedoor_requests_total{app=\"\",status=\"4xx\"} 2",
            "sidedoor_request_seconds_count{app=\"app\"} 3",
            "sidedoor_connections 1",
            "sidedoor_upstream_connects_total{result=\"ok\"} 1",
            "sidedoor_upstream_reuses_total 2",
            "sidedoor_challenges_total{result=\"answered\"} 1",
            "sidedoor_challenges_total{result=\"unknown\"} 1",
        ],
    );
}

#[test]
fn retries_and_failed_connections_are_counted() {
    let app = App::serving(|guest| {
        guest.request();
        guest
            .wire
            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        guest.request();
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(GET).answer();
    client.send(GET).answer();
    wait_for(&site, &["sidedoor_retries_total 1"]);
    drop(app);
    assert!(site.ask(GET).starts_with("HTTP/1.1 502"));
    wait_for(
        &site,
        &[
            "sidedoor_upstream_connects_total{result=\"failed\"} 1",
            "sidedoor_requests_total{app=\"app\",status=\"5xx\"} 1",
        ],
    );
}

#[test]
fn counts_outlive_a_change_of_routes() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask(GET);
    wait_for(
        &site,
        &["sidedoor_requests_total{app=\"app\",status=\"2xx\"} 1"],
    );
    site.gate.set_routes(Routes::new(vec![route_to(&[&app])]));
    site.ask(GET);
    wait_for(
        &site,
        &["sidedoor_requests_total{app=\"app\",status=\"2xx\"} 2"],
    );
}

struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            let _the_test_may_be_over = self.0.send(line.to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logging(format: AccessFormat, app: &App) -> (Site, Receiver<String>) {
    let (sender, lines) = channel();
    let log = AccessLog::new(format, Box::new(Lines(sender))).unwrap();
    let mut settings = Settings {
        access_log: Some(Arc::new(log)),
        ..Settings::default()
    };
    // Lines are handed over at the clock's pace.
    settings.limits.upstream_idle_time = Duration::from_millis(40);
    (Site::with(vec![route_to(&[app])], settings), lines)
}

#[test]
fn each_request_is_a_line_of_json() {
    let app = App::hello();
    let (site, lines) = logging(AccessFormat::Json, &app);
    site.ask("GET /x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
    let line = lines.recv_timeout(PATIENCE).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["client"], "203.0.113.7");
    assert_eq!(line["app"], "app");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], 5);
}

#[test]
fn each_request_is_a_line_in_nginxs_format() {
    let app = App::hello();
    let (site, lines) = logging(AccessFormat::Combined, &app);
    site.ask(GET);
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.ends_with("] \"GET /x HTTP/1.1\" 200 5 \"-\" \"t\""),
        "{line}"
    );
}

#[test]
fn a_client_that_leaves_is_logged_as_such() {
    let app = App::serving(|guest| {
        guest.request();
        guest.wire.read_to_end();
    });
    let (site, lines) = logging(AccessFormat::Combined, &app);
    let mut client = site.client();
    client.send(GET);
    app.saw();
    drop(client);
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(line.contains("\" 499 0 "), "{line}");
}

#[test]
fn a_head_that_cannot_be_read_is_logged_with_its_status() {
    let app = App::hello();
    let (site, lines) = logging(AccessFormat::Combined, &app);
    site.ask("nonsense\r\n\r\n");
    let line = lines.recv_timeout(PATIENCE).unwrap();
    assert!(line.ends_with("] \"\" 400 0 \"-\" \"-\""), "{line}");
}

/// An app that breaks in the way that the path names.
fn breaking() -> App {
    App::serving(|guest| {
        while let Some(request) = guest.request() {
            let request = String::from_utf8_lossy(&request).into_owned();
            match request.split(' ').nth(1).unwrap_or_default() {
                "/garbage" => guest.wire.send("nonsense\r\n\r\n"),
                "/half-a-head" => guest.wire.send("HTTP/1.1 200 OK\r\nContent-"),
                "/half-a-body" => guest
                    .wire
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
                "/reset" => {
                    let socket = socket2::SockRef::from(&guest.wire.stream);
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                    return;
                }
                "/silent" => {
                    guest.wire.read_to_end();
                    return;
                }
                _ => {
                    guest
                        .wire
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    continue;
                }
            };
            return;
        }
    })
}

#[test]
fn each_fault_has_its_line_in_the_log() {
    let app = breaking();
    let (sender, lines) = channel();
    let log = AccessLog::new(AccessFormat::Combined, Box::new(Lines(sender))).unwrap();
    let mut settings = Settings {
        access_log: Some(Arc::new(log)),
        ..Settings::default()
    };
    settings.limits.response_time = Duration::from_millis(80);
    settings.limits.body_idle_time = Duration::from_millis(80);
    settings.limits.header_time = Duration::from_millis(80);
    settings.limits.upstream_idle_time = Duration::from_millis(40);
    settings.limits.body_bytes = Some(1_000);
    let site = Site::with(vec![route_to(&[&app])], settings);
    let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n");
    let body = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\nx")
    };
    for (request, logged) in [
        (head("/fine") + "\r\n", "\"GET /fine HTTP/1.1\" 200 2 "),
        (head("/garbage") + "\r\n", "\"GET /garbage HTTP/1.1\" 502 "),
        (
            head("/half-a-head") + "\r\n",
            "\"GET /half-a-head HTTP/1.1\" 502 ",
        ),
        (
            head("/half-a-body") + "\r\n",
            "\"GET /half-a-body HTTP/1.1\" 200 4 ",
        ),
        (head("/reset") + "\r\n", "\"GET /reset HTTP/1.1\" 502 "),
        (head("/silent") + "\r\n", "\"GET /silent HTTP/1.1\" 504 "),
        (body("/slow", 9), "\"POST /slow HTTP/1.1\" 408 "),
        (body("/large", 2_000), "\"POST /large HTTP/1.1\" 413 "),
        (head("/slow"), "\"\" 408 "),
        (
            head("/header") + &"X: y\r\n".repeat(200) + "\r\n",
            "\"\" 431 ",
        ),
        (head(&"/long".repeat(4_000)) + "\r\n", " 414 "),
        (head("/\0"), "\"\" 400 "),
    ] {
        site.client().send(&request).answer();
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(logged), "{logged} not in {line}");
    }
    // After all of these, others are served.
    assert!(site.ask(GET).ends_with("ok"));
}
