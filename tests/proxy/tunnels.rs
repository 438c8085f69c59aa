//! Upgrades: what becomes a tunnel, and how a tunnel ends.

use std::net::Shutdown;
use std::time::Duration;

use crate::support::{App, Guest, PATIENCE, Site, Wire};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nDate: D\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";

fn switching(serve: impl Fn(&mut Guest) + Send + Sync + 'static) -> App {
    App::serving(move |guest| {
        guest.request();
        guest.wire.send(SWITCHING);
        serve(guest);
    })
}

/// Sends back whatever comes until the other end closes.
fn echo(guest: &mut Guest) {
    loop {
        let piece = guest.wire.read_exactly(1);
        if piece.is_empty() {
            return;
        }
        guest.wire.send(piece);
    }
}

fn open(site: &Site) -> Wire {
    let mut client = site.client();
    let answer = client.send(UPGRADE).read_message(false);
    assert_eq!(
        String::from_utf8(answer).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\ndate: D\r\nupgrade: websocket\r\nsec-websocket-accept: a\r\nconnection: upgrade\r\n\r\n"
    );
    client
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let app = switching(echo);
    let site = Site::before(&app);
    let mut client = open(&site);
    let seen = app.saw();
    assert!(
        seen.contains("upgrade: websocket\r\nconnection: upgrade\r\n"),
        "{seen}"
    );
    assert!(seen.contains("sec-websocket-key: k\r\n"), "{seen}");
    for word in ["hello", "world"] {
        client.send(word);
        assert_eq!(client.read_exactly(5), word.as_bytes());
    }
}

#[test]
fn bytes_that_come_with_the_heads_are_not_lost() {
    let app = App::serving(|guest| {
        guest.request();
        guest.wire.send(format!("{SWITCHING}early"));
        echo(guest);
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(format!("{UPGRADE}first"));
    client.read_message(false);
    assert_eq!(client.read_exactly(10), b"earlyfirst");
}

#[test]
fn a_half_close_reaches_the_other_end() {
    let app = switching(|guest| {
        let heard = guest.wire.read_to_end();
        guest.wire.send(heard);
    });
    let site = Site::before(&app);
    let mut client = open(&site);
    client.send("bye");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end(), b"bye");
}

#[test]
fn an_upgrade_that_the_app_declines_is_a_plain_answer() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..2 {
        assert!(client.send(UPGRADE).answer().ends_with("hello"));
    }
}

#[test]
fn tunnels_beyond_the_limit_are_503() {
    let app = switching(echo);
    let site = Site::with_settings(&app, |settings| settings.limits.tunnels = 1);
    let client = open(&site);
    let mut second = site.client();
    let answer = second.send(UPGRADE).answer();
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    drop(client);
    // The first one's end has to get around.
    let start = std::time::Instant::now();
    while site
        .client()
        .send(UPGRADE)
        .read_message(true)
        .starts_with(b"HTTP/1.1 503")
    {
        assert!(
            start.elapsed() < PATIENCE,
            "the tunnel's permit was never given back"
        );
    }
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_closed() {
    let app = switching(echo);
    let site = Site::with_settings(&app, |settings| {
        settings.limits.tunnel_idle_time = Duration::from_millis(60);
    });
    let mut client = open(&site);
    assert!(client.is_closed());
}

#[test]
fn one_direction_is_enough_to_keep_a_tunnel() {
    let app = switching(|guest| {
        for _ in 0..20 {
            guest.wire.send("tick");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let site = Site::with_settings(&app, |settings| {
        settings.limits.tunnel_idle_time = Duration::from_millis(150);
    });
    let mut client = open(&site);
    assert_eq!(client.read_to_end(), "tick".repeat(20).as_bytes());
}

#[test]
fn draining_asks_tunnels_to_end_and_lets_them_finish() {
    let app = switching(|guest| {
        let heard = guest.wire.read_to_end();
        guest.wire.send([b"farewell ".as_slice(), &heard].concat());
    });
    let mut site = Site::before(&app);
    let mut client = open(&site);
    client.send("friend");
    // The bytes have to be on their way before the end is.
    let proxy = site.proxy.take().unwrap();
    let draining = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(proxy.drain(PATIENCE));
    });
    let farewell = String::from_utf8(client.read_to_end()).unwrap();
    assert!(farewell.starts_with("farewell"), "{farewell}");
    draining.join().unwrap();
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (next, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = App::serving(move |guest| {
        guest.request();
        guest.wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            guest.wire.send("9\r\ndata: x\n\n\r\n");
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        guest.wire.send("0\r\n\r\n");
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.read_until(b"\r\n\r\n");
    for _ in 0..3 {
        assert_eq!(client.read_until(b"x\n\n\r\n"), b"9\r\ndata: x\n\n\r\n");
        next.send(()).unwrap();
    }
    assert_eq!(client.read_until(b"0\r\n\r\n"), b"0\r\n\r\n");
}
