//! A CA for tests, on loopback and in plain HTTP, that answers exactly what its script says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::proof::Presenter;
use crate::challenge::KeyAuthorization;
use crate::identifier::Identifier;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// How many requests came before it on its connection.
    pub(crate) before: usize,
    /// All requests before it.
    pub(crate) log: Arc<[Received]>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// How often a request was made before.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.log
            .iter()
            .filter(|earlier| earlier.line == line)
            .count()
    }

    /// What was signed, of a POST (RFC 8555 6.2).
    pub(crate) fn payload(&self) -> Value {
        serde_json::from_slice(&self.part("payload")).unwrap_or(Value::Null)
    }

    /// Who signed it and what for, of a POST (RFC 8555 6.2).
    pub(crate) fn protected(&self) -> Value {
        serde_json::from_slice(&self.part("protected")).unwrap()
    }

    /// Whether nothing was signed, of a POST (RFC 8555 6.3).
    pub(crate) fn is_reading(&self) -> bool {
        self.part("payload").is_empty()
    }

    fn part(&self, name: &str) -> Vec<u8> {
        let jws: Value = serde_json::from_slice(&self.body).unwrap();
        let part = jws[name].as_str().unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
    }
}

/// What the fake CA does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers.
    Answer {
        status: u16,
        headers: Vec<String>,
        body: Vec<u8>,
    },
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Says nothing more.
    Stall,
    /// Announces this many bytes and sends them.
    Flood(usize),
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string()).with("content-type: application/json")
    }

    pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Self::json(
            status,
            &json!({ "type": kind, "detail": detail, "status": status }),
        )
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }
    }

    pub(crate) fn with(mut self, header: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push(header.into());
        }
        self
    }
}

/// A well-behaved CA: one order for `a.example`, ready once its challenge was announced, valid once it was finalised.
pub(crate) fn usual(request: &Received, base: &str) -> Reply {
    match request.line.as_str() {
        "GET /directory" => Reply::json(
            200,
            &json!({
                "newNonce": format!("{base}/nonce"),
                "newAccount": format!("{base}/new-account"),
                "newOrder": format!("{base}/new-order"),
                "revokeCert": format!("{base}/revoke"),
                "keyChange": format!("{base}/key-change"),
                "renewalInfo": format!("{base}/renewal-info"),
                "meta": { "profiles": { "classic": "the usual", "shortlived": "six days" } },
            }),
        ),
        "HEAD /nonce" => Reply::text(200, ""),
        "POST /new-account" => Reply::json(201, &json!({ "status": "valid" }))
            .with(format!("location: {base}/account/1")),
        "POST /new-order" => order(201, base, "pending").with(format!("location: {base}/order/1")),
        "POST /authz/1" => authorization("pending", &[challenge(base, "http-01", "pending")]),
        "POST /challenge/1" => Reply::json(200, &challenge(base, "http-01", "processing")),
        "POST /order/1" if request.count("POST /finalize/1") > 0 => order(200, base, "valid"),
        "POST /order/1" if request.count("POST /challenge/1") > 0 => order(200, base, "ready"),
        "POST /order/1" => order(200, base, "pending"),
        "POST /finalize/1" => order(200, base, "processing"),
        "POST /certificate/1" => Reply::text(200, "chain"),
        line => Reply::problem(404, "malformed", &format!("no such resource: {line}")),
    }
}

/// The one order in this state (RFC 8555 7.1.3).
pub(crate) fn order(http: u16, base: &str, status: &str) -> Reply {
    let mut order = json!({
        "status": status,
        "identifiers": [{ "type": "dns", "value": "a.example" }],
        "authorizations": [format!("{base}/authz/1")],
        "finalize": format!("{base}/finalize/1"),
    });
    if status == "valid" {
        order["certificate"] = format!("{base}/certificate/1").into();
    }
    Reply::json(http, &order)
}

/// The one authorization in this state (RFC 8555 7.1.4).
pub(crate) fn authorization(status: &str, challenges: &[Value]) -> Reply {
    Reply::json(
        200,
        &json!({
            "status": status,
            "identifier": { "type": "dns", "value": "a.example" },
            "challenges": challenges,
        }),
    )
}

/// A challenge in this state (RFC 8555 7.1.5).
pub(crate) fn challenge(base: &str, kind: &str, status: &str) -> Value {
    json!({ "type": kind, "url": format!("{base}/challenge/1"), "status": status, "token": "token1" })
}

/// Presents nothing, and takes it for visited at once.
#[derive(Default)]
pub(crate) struct Visits(Notify);

impl Presenter for Visits {
    async fn present(&self, _: &Identifier, _: &KeyAuthorization) {
        self.0.notify_one();
    }

    async fn visited(&self) {
        self.0.notified().await;
    }
}

/// The running fake; it ends when dropped.
pub(crate) struct FakeCa {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _server: JoinSet<()>,
}

impl FakeCa {
    /// Starts a CA that answers as `script` says. POST and HEAD get a nonce each.
    pub(crate) async fn start<S>(script: S) -> Self
    where
        S: Fn(&Received, &str) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let mut server = JoinSet::new();
        let log = Arc::clone(&received);
        let script = Arc::new(script);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                connections.spawn(async move {
                    // A client that goes away in the middle is what many tests are about.
                    let _ = serve(stream, address, &log, &*script).await;
                });
            }
        });
        Self {
            address,
            received,
            _server: server,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, as `METHOD path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.received()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve<S>(
    stream: TcpStream,
    address: SocketAddr,
    log: &Mutex<Vec<Received>>,
    script: &S,
) -> std::io::Result<()>
where
    S: Fn(&Received, &str) -> Reply,
{
    let mut stream = BufReader::new(stream);
    for before in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines().map(str::to_owned);
        let line = lines.next().unwrap().replace(" HTTP/1.1", "");
        let mut request = Received {
            line,
            headers: lines.collect(),
            body: Vec::new(),
            before,
            log: Arc::default(),
        };
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body).await?;
        let (nonce, base) = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            request.log = log[..log.len() - 1].into();
            (
                format!("replay-nonce: nonce{}", log.len()),
                format!("http://{address}"),
            )
        };
        match script(&request, &base) {
            Reply::Answer {
                status,
                headers,
                body,
            } => {
                let length = format!("content-length: {}", body.len());
                let nonce = (!request.line.starts_with("GET")).then_some(nonce);
                let headers: Vec<String> =
                    headers.into_iter().chain(nonce).chain([length]).collect();
                let headers = headers.join("\r\n");
                let head = format!("HTTP/1.1 {status} X\r\n{headers}\r\n\r\n");
                let body = match request.line.starts_with("HEAD") {
                    true => &[],
                    false => body.as_slice(),
                };
                stream.write_all(&[head.as_bytes(), body].concat()).await?;
            }
            Reply::Raw(bytes) => return stream.write_all(&bytes).await,
            Reply::Stall => std::future::pending().await,
            Reply::Flood(length) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..length / 4096 {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
        }
    }
    Ok(())
}
