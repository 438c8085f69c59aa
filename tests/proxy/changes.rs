//! Settings that change while requests are under way: those keep the old, later ones get the new, and nobody is cut off.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidedoor::proxy::{AccessFormat, AccessLog, Settings};

use crate::support::{App, PATIENCE, Site, route_to};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// An app that waits with every answer until the test says so.
fn gated() -> (App, Sender<()>) {
    let (gate, opened) = channel();
    let opened = Mutex::new(opened);
    let app = App::serving(move |guest| {
        while guest.request().is_some() {
            let _the_client_may_have_given_up = opened.lock().unwrap().recv_timeout(PATIENCE);
            guest
                .wire
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    (app, gate)
}

#[test]
fn a_request_under_way_keeps_its_time_limits_and_the_next_has_the_new() {
    let (app, gate) = gated();
    let site = Site::before(&app);
    let mut early = site.client();
    early.send(GET);
    app.saw();
    site.gate.set_settings(settings(|settings| {
        settings.limits.response_time = Duration::from_millis(50);
    }));
    let late = site.ask(GET);
    assert!(late.starts_with("HTTP/1.1 504 "), "{late}");
    app.saw();
    gate.send(()).unwrap();
    assert!(early.answer().ends_with("hello"));
    // The same connection, under the new limits by now.
    let late = early.send(GET).answer();
    assert!(late.starts_with("HTTP/1.1 504 "), "{late}");
}

#[test]
fn what_is_allowed_changes_for_kept_connections_too() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    assert!(client.send(GET).answer().ends_with("hello"));
    app.saw();
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    site.gate.set_settings(settings(|settings| {
        settings.limits.header_bytes = 400_000;
    }));
    assert!(client.send(&long).answer().ends_with("hello"));
    assert!(app.saw().len() > 200_000);
    site.gate.set_settings(settings(|settings| {
        settings.limits.header_bytes = 1_024;
    }));
    let answer = client.send(&long).answer();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn whom_it_believes_changes_for_kept_connections_too() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    let told = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n";
    client.send(told).answer();
    assert!(
        app.saw()
            .contains("x-forwarded-for: 203.0.113.7, 127.0.0.1\r\n")
    );
    site.gate.set_settings(settings(|settings| {
        settings.trusted_proxies.clear();
        settings.forwarded = true;
    }));
    client.send(told).answer();
    let seen = app.saw();
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
    assert!(seen.contains("forwarded: for=127.0.0.1;"), "{seen}");
}

#[test]
fn there_is_room_for_more_as_soon_as_more_are_allowed() {
    let app = App::hello();
    let site = Site::with_settings(&app, |settings| settings.limits.connections = 1);
    let mut first = site.client();
    first.send(GET).answer();
    let mut second = site.client();
    second.send(GET);
    site.gate
        .set_settings(settings(|settings| settings.limits.connections = 2));
    assert!(second.answer().ends_with("hello"));
    site.gate
        .set_settings(settings(|settings| settings.limits.connections = 1));
    // Nobody is thrown out …
    assert!(first.send(GET).answer().ends_with("hello"));
    assert!(second.send(GET).answer().ends_with("hello"));
    // … but of two that leave, one is replaced.
    let (mut third, mut fourth) = (site.client(), site.client());
    third.send(GET);
    drop((first, second));
    assert!(third.answer().ends_with("hello"));
    fourth.send(GET);
    assert!(third.send(GET).answer().ends_with("hello"));
    assert!(site.metrics().contains("\nsidedoor_connections 1\n"));
    drop(third);
    assert!(fourth.answer().ends_with("hello"));
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

fn logging(format: AccessFormat) -> (Settings, Receiver<String>) {
    let (sender, lines) = channel();
    let log = AccessLog::new(format, Box::new(Lines(sender))).unwrap();
    let settings = Settings {
        access_log: Some(Arc::new(log)),
        ..Settings::default()
    };
    (settings, lines)
}

#[test]
fn each_request_is_logged_where_it_was_to_be_when_it_began_and_an_old_log_is_let_go() {
    let (app, gate) = gated();
    let (first, old) = logging(AccessFormat::Combined);
    let (second, new) = logging(AccessFormat::Json);
    let site = Site::with(vec![route_to(&[&app])], first);
    let mut early = site.client();
    early.send(GET);
    app.saw();
    site.gate.set_settings(second);
    gate.send(()).unwrap();
    early.answer();
    gate.send(()).unwrap();
    site.ask(GET);
    let line = old.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let line = new.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("{\"time\":"), "{line}");
    // Closed, although the connection rests; a rotated file would be free by now.
    assert!(
        old.recv_timeout(PATIENCE)
            .is_err_and(|error| { error == std::sync::mpsc::RecvTimeoutError::Disconnected })
    );
}

#[test]
fn an_old_log_is_let_go_where_nobody_has_come() {
    let app = App::hello();
    let (first, old) = logging(AccessFormat::Combined);
    let site = Site::with(vec![route_to(&[&app])], first);
    site.ask(GET);
    old.recv_timeout(PATIENCE).unwrap();
    site.gate.set_settings(Settings::default());
    assert!(
        old.recv_timeout(PATIENCE)
            .is_err_and(|error| { error == std::sync::mpsc::RecvTimeoutError::Disconnected })
    );
}
