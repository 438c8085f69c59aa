//! Small servers for tests, each on a free port of 127.0.0.1, which end with their test: every connection is given one answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Makes an answer of a request's head.
type Answering = dyn Fn(&str) -> String + Send + Sync;

/// A server that is not told yet what to answer.
pub(crate) struct Loopback {
    listener: TcpListener,
}

/// A running server.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// A self-signed certificate and its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            der: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
        }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![self.der.clone()],
                PrivatePkcs8KeyDer::from(self.key.clone()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Loopback {
    pub(crate) async fn bind() -> Self {
        Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Answers in plain HTTP.
    pub(crate) fn answers(
        self,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Serving {
        self.serve(None, Arc::new(answer))
    }

    /// Answers over TLS, showing one of these certificates after the other, the last one for ever.
    pub(crate) fn answers_over_tls(
        self,
        identities: Vec<Identity>,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Serving {
        self.serve(Some(identities), Arc::new(answer))
    }

    fn serve(self, mut identities: Option<Vec<Identity>>, answer: Arc<Answering>) -> Serving {
        let address = self.listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let (answer, noted) = (Arc::clone(&answer), Arc::clone(&noted));
                let acceptor = identities.as_mut().map(|identities| {
                    let now = identities[0].acceptor();
                    if identities.len() > 1 {
                        identities.remove(0);
                    }
                    now
                });
                connections.spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return converse(stream, &*answer, &noted).await;
                    };
                    let mut first = [0];
                    stream.peek(&mut first).await.unwrap();
                    if first == *b"P" {
                        let mut line = [0; b"PROXY UNKNOWN\r\n".len()];
                        stream.read_exact(&mut line).await.unwrap();
                        noted.lock().unwrap().push("PROXY".to_owned());
                    }
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, &*answer, &noted).await;
                    }
                });
            }
        });
        Serving {
            address,
            heads,
            _tasks: tasks,
        }
    }
}

impl Serving {
    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answering,
    noted: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let said = answer(&head);
    noted.lock().unwrap().push(head);
    let _ = stream.write_all(said.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// 200 with a body.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A redirect.
pub(crate) fn redirect(status: u16, to: &str) -> String {
    format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
