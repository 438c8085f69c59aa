//! Where an app is reached: TLS, unix sockets, names, several addresses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sidedoor::config::Config;
use sidedoor::proxy::{Route, Routes, Settings, Trust};
use sidedoor::serving::{self, ServingError};

use crate::support::{App, Site, route_to};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// An app that speaks TLS, with a certificate of its own making.
struct TlsApp {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    pem: String,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TlsApp {
    fn named(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, pem) = (cert.der().clone(), cert.pem());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                answer_once(Arc::clone(&config), stream.unwrap());
            }
        });
        Self {
            address,
            certificate,
            pem,
            stopping,
            thread: Some(thread),
        }
    }

    fn route(&self, host: &str, trust: Trust) -> Route {
        let mut route = route_to(&[]);
        let upstream = format!("https://{host}:{}", self.address.port());
        route.upstreams = vec![upstream.parse().unwrap()];
        route.trust = trust;
        route
    }
}

/// Reads a request's head and answers it, or gives up as soon as the handshake fails.
fn answer_once(config: Arc<ServerConfig>, stream: TcpStream) {
    stream
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let body = "s".repeat(100_000);
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.flush();
}

impl Drop for TlsApp {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _wakes_the_listener = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn an_app_over_tls_is_asked_if_its_certificate_leads_to_a_given_root() {
    let app = TlsApp::named("localhost");
    let roots = Trust::Roots(vec![app.certificate.clone()]);
    let site = Site::with(vec![app.route("localhost", roots)], Settings::default());
    let answer = site.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("sss"), "{}", answer.len());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_a_bad_gateway() {
    let app = TlsApp::named("localhost");
    let other = TlsApp::named("localhost");
    for trust in [Trust::System, Trust::Roots(vec![other.certificate.clone()])] {
        let site = Site::with(vec![app.route("localhost", trust)], Settings::default());
        let answer = site.ask(GET);
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn a_certificate_for_another_name_is_a_bad_gateway() {
    let app = TlsApp::named("other.example");
    let roots = Trust::Roots(vec![app.certificate.clone()]);
    let site = Site::with(vec![app.route("localhost", roots)], Settings::default());
    let answer = site.ask(GET);
    assert!(
        answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
        "{answer}"
    );
}

#[test]
fn any_certificate_does_where_that_is_asked_for() {
    let app = TlsApp::named("other.example");
    let site = Site::with(
        vec![app.route("127.0.0.1", Trust::Anybody)],
        Settings::default(),
    );
    let answer = site.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn an_app_on_a_unix_socket_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1_024];
        let length = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
            .unwrap();
        String::from_utf8(head[..length].to_vec()).unwrap()
    });
    let mut route = route_to(&[]);
    route.upstreams = vec![format!("unix:{}", path.display()).parse().unwrap()];
    let site = Site::with(vec![route], Settings::default());
    assert!(site.ask(GET).ends_with("unix"));
    assert!(serving.join().unwrap().contains("host: a.example\r\n"));
}

#[test]
fn an_app_with_a_name_is_resolved_when_it_is_asked() {
    let app = App::hello();
    let mut route = route_to(&[]);
    let upstream = format!("http://localhost:{}", app.address.port());
    route.upstreams = vec![upstream.parse().unwrap()];
    let site = Site::with(vec![route], Settings::default());
    assert!(site.ask(GET).ends_with("hello"));
}

#[test]
fn a_name_that_does_not_resolve_is_a_bad_gateway_and_stops_nobody_else() {
    let app = App::hello();
    let mut route = route_to(&[]);
    route.is_default = false;
    route.hosts = vec!["lost.example".parse().unwrap()];
    route.upstreams = vec!["http://nowhere.invalid:80".parse().unwrap()];
    let site = Site::with(vec![route, route_to(&[&app])], Settings::default());
    let answer = site.ask("GET / HTTP/1.1\r\nHost: lost.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    assert!(site.ask(GET).ends_with("hello"));
}

#[test]
fn several_addresses_take_turns() {
    let apps = [App::hello(), App::hello()];
    let site = Site::with(vec![route_to(&[&apps[0], &apps[1]])], Settings::default());
    for _ in 0..4 {
        assert!(site.ask(GET).ends_with("hello"));
    }
    for app in &apps {
        app.saw();
        app.saw();
        assert!(app.saw_nothing_more());
    }
}

/// An address that takes no further connection: its queue is full, and nobody accepts.
struct Deaf {
    address: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl Deaf {
    fn new() -> Self {
        use socket2::{Domain, Socket, Type};
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let waiting = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _in_progress = socket.connect(&address.into());
                socket
            })
            .collect();
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

#[test]
fn an_address_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let deaf = Deaf::new();
    let mut route = route_to(&[]);
    route.upstreams = vec![format!("http://{}", deaf.address).parse().unwrap()];
    let mut settings = Settings::default();
    settings.limits.connect_time = Duration::from_millis(50);
    let site = Site::with(vec![route], settings);
    let answer = site.ask(GET);
    assert!(
        answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"),
        "{answer}"
    );
}

#[test]
fn an_address_that_does_not_answer_in_time_is_passed_over_from_then_on() {
    let deaf = Deaf::new();
    let app = App::hello();
    let mut route = route_to(&[&app]);
    let deaf_upstream = format!("http://{}", deaf.address).parse().unwrap();
    route.upstreams.insert(0, deaf_upstream);
    let mut settings = Settings::default();
    settings.limits.connect_time = Duration::from_millis(100);
    let site = Site::with(vec![route], settings);
    assert!(site.ask(GET).ends_with("hello"));
    // While the address pauses, nobody waits for it: all of these together take less than one attempt.
    let start = Instant::now();
    for _ in 0..4 {
        assert!(site.ask(GET).ends_with("hello"));
    }
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
}

/// The route that a configuration makes of one app's lines.
fn configured(app: &TlsApp, lines: &str) -> Result<Routes, ServingError> {
    let text = format!(
        "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ndoor = \"permanent\"\nupstream = \"https://localhost:{}\"\n{lines}\n",
        app.address.port()
    );
    serving::routes(&Config::parse(Path::new("/sidedoor.toml"), &text).unwrap())
}

#[test]
fn an_app_over_tls_is_trusted_as_its_configuration_says() {
    let app = TlsApp::named("localhost");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, &app.pem).unwrap();
    let site = Site::with(Vec::new(), Settings::default());
    for (lines, status) in [
        ("", "502"),
        ("upstream_verify = true", "502"),
        ("upstream_verify = false", "200"),
        (&format!("upstream_ca_file = {file:?}"), "200"),
    ] {
        site.gate.set_routes(configured(&app, lines).unwrap());
        let answer = site.ask(GET);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{lines}\n{answer}"
        );
    }
}

#[test]
fn roots_that_are_none_are_refused_before_anybody_is_routed_by_them() {
    let app = TlsApp::named("localhost");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let lines = format!("upstream_ca_file = {file:?}");
    for text in [
        None,
        Some(""),
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let error = configured(&app, &lines).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
        assert!(error.next_step().contains("ca.pem"), "{error}");
    }
}

/// An app that takes a request and then fails in one way, until it is told to be well.
fn failing(how: Failure) -> (App, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_well);
    let app = App::serving(move |guest| {
        while guest.request().is_some() {
            match how {
                _ if told.load(Ordering::SeqCst) => {
                    guest
                        .wire
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell");
                }
                Failure::Closes => return,
                Failure::BreaksOff => {
                    guest.wire.send("HTTP/1.1 200 OK\r\nContent-");
                    return;
                }
                Failure::TalksNonsense => {
                    guest.wire.send("nonsense\r\n\r\n");
                    return;
                }
                Failure::SaysNothing => {
                    guest.wire.read_to_end();
                }
            }
        }
    });
    (app, is_well)
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    Closes,
    BreaksOff,
    TalksNonsense,
    SaysNothing,
}

#[test]
fn an_address_that_takes_requests_and_gives_no_answer_is_passed_over_from_then_on() {
    for (how, status) in [
        (Failure::Closes, "502"),
        (Failure::BreaksOff, "502"),
        (Failure::TalksNonsense, "502"),
        (Failure::SaysNothing, "504"),
    ] {
        let (bad, is_well) = failing(how);
        let good = App::hello();
        let mut settings = Settings::default();
        settings.limits.response_time = Duration::from_millis(100);
        let site = Site::with(vec![route_to(&[&bad, &good])], settings);
        let answer = site.ask(GET);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{how:?}: {answer}"
        );
        bad.saw();
        // It would have had its turn with every other of these.
        for _ in 0..4 {
            assert!(site.ask(GET).ends_with("hello"), "{how:?}");
        }
        assert!(bad.saw_nothing_more(), "{how:?}");
        // After its pause it is tried again, and stays if it is well.
        is_well.store(true, Ordering::SeqCst);
        let start = Instant::now();
        while !site.ask(GET).ends_with("well") {
            assert!(start.elapsed() < crate::support::PATIENCE, "{how:?}");
            std::thread::yield_now();
        }
        let answers = [site.ask(GET), site.ask(GET)];
        assert!(
            answers.iter().any(|answer| answer.ends_with("well")),
            "{how:?}"
        );
    }
}

#[test]
fn a_client_that_gives_up_speaks_against_no_address() {
    let app = App::hello();
    let other = App::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    let mut settings = Settings::default();
    settings.limits.body_idle_time = Duration::from_millis(50);
    let site = Site::with(vec![route_to(&[&app, &other])], settings);
    let answer = site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nx");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(site.ask(GET).ends_with("other"));
    assert!(site.ask(GET).ends_with("hello"), "it is its turn");
}
