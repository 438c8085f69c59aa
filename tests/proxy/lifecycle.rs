//! How a proxy ends, and how its routes change, without anybody losing a request.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use sidedoor::proxy::{Address, Listener, Routes, Settings};

use crate::support::{App, PATIENCE, Site, Wire, route_to};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// An app whose answers wait until the test lets them go, one by one.
fn gated() -> (App, mpsc::Sender<()>) {
    let (gate, opened) = mpsc::channel();
    let opened = Mutex::new(opened);
    let app = App::serving(move |guest| {
        while guest.request().is_some() {
            opened.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            guest
                .wire
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
        }
    });
    (app, gate)
}

/// Waits until nobody listens there.
fn wait_until_refused(address: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < PATIENCE, "somebody still listens");
        std::thread::yield_now();
    }
}

#[test]
fn dropping_it_closes_everything() {
    let app = App::hello();
    let mut site = Site::before(&app);
    let mut client = site.client();
    client.send(GET).answer();
    drop(site.proxy.take());
    assert!(client.is_closed());
    assert!(TcpStream::connect(site.address).is_err());
}

#[test]
fn draining_finishes_what_is_under_way_and_closes_what_rests() {
    let (app, gate) = gated();
    let mut site = Site::before(&app);
    let mut resting = site.client();
    let mut busy = site.client();
    busy.send(GET);
    app.saw();
    let proxy = site.proxy.take().unwrap();
    let draining = std::thread::spawn(move || block_on(proxy.drain(PATIENCE)));
    assert!(resting.is_closed());
    wait_until_refused(site.address);
    gate.send(()).unwrap();
    let answer = busy.answer();
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("first"), "{answer}");
    assert!(busy.is_closed());
    draining.join().unwrap();
}

#[test]
fn draining_leaves_at_the_deadline() {
    let (app, gate) = gated();
    let mut site = Site::before(&app);
    let mut client = site.client();
    client.send(GET);
    app.saw();
    block_on(site.proxy.take().unwrap().drain(Duration::from_millis(50)));
    assert_eq!(client.read_to_end(), b"");
    gate.send(()).unwrap();
}

#[test]
fn requests_under_way_keep_their_routes_and_later_ones_get_the_new() {
    let (old, gate) = gated();
    let new = App::answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
    let site = Site::before(&old);
    let mut client = site.client();
    client.send(GET);
    old.saw();
    site.gate.set_routes(Routes::new(vec![route_to(&[&new])]));
    assert!(site.ask(GET).ends_with("second"));
    gate.send(()).unwrap();
    assert!(client.answer().ends_with("first"));
    assert!(client.send(GET).answer().ends_with("second"));
}

#[test]
fn nobody_is_refused_while_one_proxy_takes_over_from_another() {
    let app = App::hello();
    let mut old = Site::before(&app);
    let address_of_old = old.address;
    let address = Address::Tcp(address_of_old);
    let is_over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    // A bound in any case, and an end soon after the hand-over.
                    for _ in 0..50_000 {
                        let mut client = connect(address_of_old);
                        let request =
                            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
                        let answer = client.send(request).answer();
                        assert!(answer.ends_with("hello"), "{answer:?}");
                        asked.fetch_add(1, Ordering::Relaxed);
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        wait_until(|| asked.load(Ordering::Relaxed) > 100);
        let proxy = old.proxy.take().unwrap();
        let listener = Listener::bind_beside(&address).unwrap();
        let new = Site::listening(listener, vec![route_to(&[&app])], Settings::default());
        block_on(proxy.hand_over(PATIENCE));
        let so_far = asked.load(Ordering::Relaxed);
        wait_until(|| asked.load(Ordering::Relaxed) > so_far + 100);
        is_over.store(true, Ordering::Relaxed);
        for thread in load {
            thread.join().unwrap();
        }
        drop(new);
    });
}

fn connect(address: SocketAddr) -> Wire {
    Wire::new(TcpStream::connect(address).unwrap())
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never came to that");
        std::thread::yield_now();
    }
}

#[test]
fn whoever_waits_to_be_accepted_when_draining_begins_is_served() {
    let app = App::hello();
    let mut site = Site::with_settings(&app, |settings| settings.limits.connections = 1);
    let mut first = site.client();
    first.send(GET).answer();
    let mut second = site.client();
    second.send(GET);
    let proxy = site.proxy.take().unwrap();
    let draining = std::thread::spawn(move || block_on(proxy.hand_over(PATIENCE)));
    assert!(first.is_closed());
    assert!(second.answer().ends_with("hello"));
    draining.join().unwrap();
}

#[test]
fn a_socket_that_somebody_else_has_bound_is_served() {
    let app = App::hello();
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = Listener::inherited(bound.into()).unwrap();
    let site = Site::listening(listener, vec![route_to(&[&app])], Settings::default());
    assert!(site.ask(GET).ends_with("hello"));
}
