//! The server of `metrics`: what it answers, to whom, and that it ends.

use std::net::TcpStream;
use std::sync::Arc;

use sidedoor::exposition::Kind;
use sidedoor::metrics::{Metrics, MetricsServer};
use sidedoor::proxy::{Address, Listener};
use tokio_util::sync::CancellationToken;

use crate::support::{App, Site, Wire};

/// A server of one site's metrics, and of another part's, in a thread of its own.
struct Told {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Told {
    fn of(site: &Site) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Address::Tcp(address) = *listener.address() else {
            panic!("not TCP");
        };
        let gate = Arc::clone(&site.gate);
        let metrics = Metrics::default()
            .with(move |page| gate.write_metrics(page))
            .with(|page| {
                page.family(Kind::Gauge, "other_part", "Something of another part.")
                    .sample(&[("name", "shop")], 7);
            });
        let stop = CancellationToken::new();
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = MetricsServer::new(listener).unwrap();
                server.serve(metrics, told).await;
            });
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    fn ask(&self, request: &str) -> String {
        let mut client = Wire::new(TcpStream::connect(self.address).unwrap());
        let answer = client.send(request).read_to_end();
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n";

#[test]
fn metrics_are_told_in_prometheus_format_and_each_part_adds_its_own() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let told = Told::of(&site);
    let answer = told.ask(GET);
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    for line in page.lines() {
        let is_comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let number = line.rsplit_once(' ').map(|(_, number)| number);
        assert!(
            is_comment || number.is_some_and(|number| number.parse::<f64>().is_ok()),
            "{line}"
        );
    }
    assert!(page.contains("\nother_part{name=\"shop\"} 7\n"), "{page}");
}

#[test]
fn every_family_that_is_promised_is_told() {
    let app = App::hello();
    let site = Site::before(&app);
    let page = Told::of(&site).ask(GET);
    let readme = include_str!("../../README.md");
    for (family, kind) in [
        ("sidedoor_requests_total", "counter"),
        ("sidedoor_request_seconds", "histogram"),
        ("sidedoor_connections", "gauge"),
        ("sidedoor_tunnels", "gauge"),
        ("sidedoor_upstream_connects_total", "counter"),
        ("sidedoor_upstream_reuses_total", "counter"),
        ("sidedoor_retries_total", "counter"),
        ("sidedoor_challenges_total", "counter"),
    ] {
        let line = format!("# TYPE {family} {kind}\n");
        assert!(page.contains(&line), "{line} not in\n{page}");
        assert!(readme.contains(&format!("`{family}")), "{family}");
    }
}

#[test]
fn nothing_else_is_answered_there() {
    let app = App::hello();
    let site = Site::before(&app);
    let told = Told::of(&site);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: m\r\n\r\n", "404"),
        ("GET /metrics/x HTTP/1.1\r\nHost: m\r\n\r\n", "404"),
        (
            "POST /metrics HTTP/1.1\r\nHost: m\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("HEAD /metrics HTTP/1.1\r\nHost: m\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let answer = told.ask(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}{answer}"
        );
    }
    assert!(app.saw_nothing_more());
}
