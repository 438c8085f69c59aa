//! A Pebble with a DNS server of its own in which every name is this machine. Both end when the guard is dropped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sidedoor::acme::Ca;
use tempfile::TempDir;

use crate::newer::newer_pebble;

/// How a Pebble is to be started.
pub(crate) struct Settings {
    environment: Vec<(&'static str, &'static str)>,
    config: Value,
    http_port: u16,
    program: PathBuf,
}

impl Settings {
    /// Strict, without pauses, with Pebble's default of 5 % refused nonces; validation goes to this port.
    pub(crate) fn validating(responder: SocketAddr) -> Self {
        Self {
            environment: vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")],
            config: json!({}),
            http_port: responder.port(),
            program: "pebble".into(),
        }
    }

    /// A newer Pebble with two profiles; nothing where there is none, see [`newer_pebble`].
    pub(crate) fn newer(responder: SocketAddr) -> Option<Self> {
        let profile = |validity: u32| json!({ "description": "…", "validityPeriod": validity });
        let profiles = json!({ "classic": profile(7_776_000), "shortlived": profile(518_400) });
        let program = newer_pebble()?;
        Some(
            Self {
                program,
                ..Self::validating(responder)
            }
            .configured("profiles", profiles),
        )
    }

    /// With this in its environment.
    pub(crate) fn with(mut self, key: &'static str, value: &'static str) -> Self {
        self.environment.push((key, value));
        self
    }

    /// With this in its configuration.
    pub(crate) fn configured(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub(crate) fn start(self) -> Pebble {
        Pebble::start(self)
    }
}

/// The running Pebble.
pub(crate) struct Pebble {
    _processes: [Process; 2],
    _directory: TempDir,
    address: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    root: String,
}

impl Pebble {
    fn start(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (root, certificate, key) = certificate_for_loopback();
        std::fs::write(path("certificate.pem"), certificate).unwrap();
        std::fs::write(path("key.pem"), key).unwrap();

        let [address, management, dns, names] = free_addresses();
        let mut config = json!({
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": path("certificate.pem"),
            "privateKey": path("key.pem"),
            "httpPort": settings.http_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
        });
        for (key, value) in settings.config.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(path("pebble.json"), json!({ "pebble": config }).to_string()).unwrap();

        let resolver = Process::start(Command::new("pebble-challtestsrv").args([
            "-dns01",
            &dns.to_string(),
            "-management",
            &names.to_string(),
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
        ]));
        let pebble = Process::start(
            Command::new(&settings.program)
                .args([
                    "-strict",
                    "-config",
                    &path("pebble.json"),
                    "-dnsserver",
                    &dns.to_string(),
                ])
                .envs(settings.environment),
        );
        for listening in [names, address] {
            wait_for(listening);
        }
        Self {
            _processes: [resolver, pebble],
            _directory: directory,
            address,
            management,
            names,
            root,
        }
    }

    /// The CA as one connects to it.
    pub(crate) fn ca(&self) -> Ca {
        Ca::new(&self.url(), self.root.as_bytes()).unwrap()
    }

    /// Puts a TXT record into its DNS.
    pub(crate) fn set_txt(&self, host: &str, value: &str) {
        let body = json!({ "host": host, "value": value }).to_string();
        let mut stream = TcpStream::connect(self.names).unwrap();
        let request = format!(
            "POST /set-txt HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 OK"), "{answer}");
    }

    /// Has it suggest this for a certificate, be it what it may (RFC 9773 4.2).
    pub(crate) fn suggest(&self, certificate: &str, answer: &str) {
        let body = json!({ "certificate": certificate, "ariResponse": answer }).to_string();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.management).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let length = body.len();
        write!(
            stream,
            "POST /set-renewal-info/ HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tests\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream.flush().unwrap();
        let mut answer = String::new();
        // It closes without a word of farewell.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory's URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/dir", self.address)
    }
}

/// A process that ends with its owner.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| {
            panic!(
                "{program:?} can't be started ({error}); these tests need Debian's package pebble"
            )
        }))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Addresses nobody listens on, none handed out twice: below the ports that the system gives to connections by itself, so that
/// none is taken between here and Pebble's start.
fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    [(); N].map(|()| {
        loop {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                return listener.local_addr().unwrap();
            }
        }
    })
}

fn wait_for(address: SocketAddr) {
    let begun = Instant::now();
    while let Err(error) = TcpStream::connect(address) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "nothing listens on {address}: {error}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A root, and a certificate of it for Pebble's own HTTPS, with its key.
fn certificate_for_loopback() -> (String, String, String) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    (root_pem, certificate.pem(), key.serialize_pem())
}
