//! A CA that does what no real one would do on request: over TLS on 127.0.0.1, well-behaved but for one quirk at a time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Authority, Identity};

/// What it does otherwise than it should.
#[derive(Debug, Clone)]
pub enum Quirk {
    /// It gives this answer to a request, as in `POST /order`: a status, further header lines, a body.
    Answers(&'static str, u16, &'static str, &'static str),
    /// It sends so many bytes as the answer to a request.
    Floods(&'static str, usize),
    /// Its certificates are for another key than the one asked for.
    AnotherKey,
    /// Its clock is so far ahead of ours.
    Ahead(Duration),
    /// It takes every order as ready to be finalised.
    ReadyAtOnce,
    /// It still knows that every name is ours.
    Authorized,
    /// It says `processing` so often, with Retry-After: 1.
    Processing(usize),
}

/// The running CA. Its thread ends with the test's process.
pub struct FakeCa {
    directory: TempDir,
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    base: String,
    issuer: Authority,
    quirk: Option<Quirk>,
    asked: Vec<String>,
    names: Vec<Value>,
    status: &'static str,
    processing: usize,
    certificate: String,
}

impl FakeCa {
    /// Running, and well-behaved so far.
    pub fn start() -> Self {
        Self::with_identity(|authority| authority.certify(&["127.0.0.1"]))
    }

    /// One whose own HTTPS certificate has expired yesterday.
    pub fn expired() -> Self {
        let yesterday = OffsetDateTime::now_utc() - Duration::DAY;
        Self::with_identity(|authority| authority.certify_until(&["127.0.0.1"], yesterday))
    }

    fn with_identity(identity: impl FnOnce(&Authority) -> Identity) -> Self {
        let authority = Authority::named("the fake CA's own");
        let config = Arc::new(identity(&authority).server());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            base: format!("https://127.0.0.1:{port}"),
            issuer: Authority::named("Fake CA"),
            quirk: None,
            asked: Vec::new(),
            names: Vec::new(),
            status: "pending",
            processing: 0,
            certificate: String::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    // A client that goes away in the middle is what many tests are about.
                    let _ = serve(StreamOwned::new(connection, stream), &state);
                });
            }
        });
        let directory = TempDir::with_prefix("fake-ca-").unwrap();
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        Self {
            directory,
            port,
            state,
        }
    }

    /// The ACME directory.
    pub fn directory_url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Whom to trust to reach the directory.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// It has this quirk from now on, and no other.
    pub fn behave(&self, quirk: impl Into<Option<Quirk>>) {
        self.state.lock().unwrap().quirk = quirk.into();
    }

    /// All that it was asked since this was called last, as in `POST /order`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

/// An answer: a status, header lines, a body.
type Reply = (u16, String, String);

fn serve(
    stream: StreamOwned<ServerConnection, TcpStream>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;
        let line = head.lines().next().unwrap_or_default();
        let line = line.replace(" HTTP/1.1", "");
        let (quirk, (status, headers, body)) = {
            let mut state = state.lock().unwrap();
            state.asked.push(line.clone());
            let quirk = state.quirk.clone();
            let reply = state.answer(&line, &body);
            (quirk, reply)
        };
        let stream = stream.get_mut();
        if let Some(Quirk::Floods(flooded, length)) = quirk
            && flooded == line
        {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
            )?;
            for _ in 0..length / 4096 {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        let nonce = format!(
            "replay-nonce: nonce{}\r\n",
            OffsetDateTime::now_utc().unix_timestamp_nanos()
        );
        let length = body.len();
        let body = if line.starts_with("HEAD") { "" } else { &body };
        write!(
            stream,
            "HTTP/1.1 {status} X\r\n{headers}{nonce}content-length: {length}\r\n\r\n{body}"
        )?;
        stream.flush()?;
    }
}

impl State {
    fn answer(&mut self, line: &str, body: &[u8]) -> Reply {
        if let Some(Quirk::Answers(refused, status, headers, body)) = self.quirk
            && refused == line
        {
            return (status, headers.to_owned(), body.to_owned());
        }
        let base = self.base.clone();
        let located = |path: &str| format!("location: {base}{path}\r\n");
        let json = |value: Value| (200, String::new(), value.to_string());
        match line {
            "GET /dir" => json(json!({
                "newNonce": format!("{base}/nonce"),
                "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/order"),
                "revokeCert": format!("{base}/revoke"),
                "keyChange": format!("{base}/key-change"),
            })),
            "POST /account" => (201, located("/account/1"), "{\"status\":\"valid\"}".into()),
            "POST /order" => {
                let asked = payload(body);
                self.names = asked["identifiers"].as_array().cloned().unwrap_or_default();
                self.status = match self.quirk {
                    Some(Quirk::ReadyAtOnce) => "ready",
                    _ => "pending",
                };
                (201, located("/order/1"), self.order().to_string())
            }
            "POST /order/1" => {
                if self.status == "processing" {
                    self.processing = self.processing.saturating_sub(1);
                    if self.processing == 0 {
                        self.status = "valid";
                    }
                }
                let order = self.order().to_string();
                let header = match self.status {
                    "processing" => "retry-after: 1\r\n".to_owned(),
                    _ => String::new(),
                };
                (200, header, order)
            }
            "POST /finalize/1" => {
                self.sign(&payload(body));
                (self.status, self.processing) = match self.quirk {
                    Some(Quirk::Processing(times)) => ("processing", times),
                    _ => ("valid", 0),
                };
                json(self.order())
            }
            "POST /certificate/1" => (200, String::new(), self.certificate.clone()),
            line if line.starts_with("HEAD") => (200, String::new(), String::new()),
            line => match line.rsplit_once('/') {
                Some(("POST /authorization", number)) => json(self.authorization(number)),
                Some(("POST /challenge", number)) => {
                    self.status = "ready";
                    json(self.challenge(number, "valid"))
                }
                _ => (
                    404,
                    String::new(),
                    "{\"detail\":\"no such resource\"}".into(),
                ),
            },
        }
    }

    fn order(&self) -> Value {
        let base = &self.base;
        let each = (0..self.names.len()).map(|number| format!("{base}/authorization/{number}"));
        let mut order = json!({
            "status": self.status,
            "identifiers": self.names,
            "authorizations": each.collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/1"),
        });
        if self.status == "valid" {
            order["certificate"] = format!("{base}/certificate/1").into();
        }
        order
    }

    fn authorization(&mut self, number: &str) -> Value {
        let known = matches!(self.quirk, Some(Quirk::Authorized)) || self.status == "ready";
        if known {
            self.status = "ready";
        }
        let status = if known { "valid" } else { "pending" };
        let name = number
            .parse()
            .ok()
            .and_then(|number: usize| self.names.get(number));
        json!({
            "status": status,
            "identifier": name,
            "challenges": [self.challenge(number, status)],
        })
    }

    fn challenge(&self, number: &str, status: &str) -> Value {
        let base = &self.base;
        json!({
            "type": "http-01",
            "url": format!("{base}/challenge/{number}"),
            "status": status,
            "token": format!("token-of-the-fake-ca-{number}"),
        })
    }

    /// Signs whatever key is asked for; this CA has its own ideas of time.
    fn sign(&mut self, request: &Value) {
        let der = BASE64_URL_SAFE_NO_PAD
            .decode(request["csr"].as_str().unwrap())
            .unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        let key = request
            .certification_request_info
            .subject_pki
            .subject_public_key
            .data;
        let key = match self.quirk {
            Some(Quirk::AnotherKey) => KeyPair::generate().unwrap().der_bytes().to_vec(),
            _ => key.to_vec(),
        };
        let ahead = match self.quirk {
            Some(Quirk::Ahead(ahead)) => ahead,
            _ => Duration::ZERO,
        };
        let names = self.names.iter().filter_map(|name| name["value"].as_str());
        let mut params =
            CertificateParams::new(names.map(str::to_owned).collect::<Vec<_>>()).unwrap();
        params.not_before = OffsetDateTime::now_utc() + ahead - Duration::HOUR;
        params.not_after = params.not_before + Duration::days(90);
        let leaf = self.issuer.sign(params, &Public(key));
        self.certificate = format!("{leaf}{}", self.issuer.pem());
    }
}

/// A P-256 key that somebody else has.
struct Public(Vec<u8>);

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// What was signed (RFC 8555 6.2).
fn payload(body: &[u8]) -> Value {
    let jws: Value = serde_json::from_slice(body).unwrap_or_default();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(jws["payload"].as_str().unwrap_or_default());
    serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default()
}
