//! HTTP to a CA over a few kept connections, with a limit on everything: time to connect, time for an answer,
//! bytes of it. Knows nothing of ACME; [`super::client`] does.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, HOST, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connect::{CaError, Connector, Origin, Socket};

/// What we call ourselves (RFC 8555 6.1).
const AGENT: &str = concat!("sidedoor/", env!("CARGO_PKG_VERSION"));

/// Unused connections kept for each origin. Orders side by side take one each in turn, and no TLS handshake is made twice.
const KEPT: usize = 8;

/// How long a CA may take, and how much it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection is ready for HTTP, TLS included.
    pub connect: Duration,
    /// For one request and its whole answer, connecting included.
    pub request: Duration,
    /// Bytes in an answer's body.
    pub body: usize,
    /// How long an unused connection is kept for the next request.
    pub idle: Duration,
}

impl Default for Limits {
    /// Ten seconds, one minute, one mebibyte, thirty seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            body: 1 << 20,
            idle: Duration::from_secs(30),
        }
    }
}

/// Why there is no answer from the CA.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A URL that the CA gave us leads nowhere we may go.
    #[error("{uri} is no address of a CA: {reason}")]
    Address {
        /// The URL.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No connection: nothing listens, the name doesn't resolve, TLS isn't spoken.
    #[error("no connection to {origin}: {source}")]
    Connect {
        /// Host and port.
        origin: String,
        /// What the system or TLS said.
        source: std::io::Error,
    },
    /// The server's certificate is none that we trust.
    #[error("the certificate of {origin} is not trusted: {reason}")]
    Untrusted {
        /// Host and port.
        origin: String,
        /// What is wrong with it.
        reason: rustls::CertificateError,
    },
    /// It took too long.
    #[error("{origin} did not answer within {limit:?}")]
    TimedOut {
        /// Host and port.
        origin: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke off, or what came is not HTTP.
    #[error("the connection to {origin} broke off: {source}")]
    Broken {
        /// Host and port.
        origin: String,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// The answer is larger than any that ACME knows.
    #[error("the answer of {origin} is larger than {limit} bytes")]
    TooLarge {
        /// Host and port.
        origin: String,
        /// The limit.
        limit: usize,
    },
}

/// Sends requests, each over the connection that was used last, so that those no longer needed grow old.
pub(super) struct Transport {
    connector: Connector,
    idle: Mutex<HashMap<Origin, Vec<Connection>>>,
    limits: Limits,
}

impl Transport {
    pub(super) fn new(extra_roots: &[u8], limits: Limits) -> Result<Self, CaError> {
        Ok(Self {
            connector: Connector::new(extra_roots, limits.connect)?,
            idle: Mutex::default(),
            limits,
        })
    }

    /// Sends a request with an absolute URI and waits for the whole answer, whatever its status.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let origin = Origin::of(request.uri()).map_err(|reason| TransportError::Address {
            uri: request.uri().to_string(),
            reason,
        })?;
        let limit = self.limits.request;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let begun = Instant::now();
        let answer = match timeout(limit, self.send_unlimited(&origin, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::TimedOut {
                origin: origin.to_string(),
                limit,
            }),
        };
        let took = begun.elapsed();
        match &answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                tracing::debug!(%method, %uri, status, ?took, "the CA answered");
            }
            Err(error) => tracing::debug!(%method, %uri, %error, ?took, "the CA did not answer"),
        }
        answer
    }

    async fn send_unlimited(
        &self,
        origin: &Origin,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let request = dressed(request);
        let mut lost = None;
        if let Some(kept) = self.take_idle(origin) {
            match self.exchange(origin, kept, request.clone()).await {
                // It was closed while it lay idle, as any server may do (RFC 9112 9.3.1). An ACME request can be repeated: it is either
                // a read, or carries a nonce that counts once.
                Err(error @ Unanswered::Silent(_)) => lost = Some(error),
                answered => return answered.map_err(|error| error.of(origin)),
            }
        }
        let fresh = self.connect(origin).await?;
        let answered = self.exchange(origin, fresh, request).await;
        match (answered, lost) {
            // Its nonce has counted, so it was perhaps carried out: made anew with another nonce, it would be so twice.
            (Ok(answer), Some(lost)) if says_bad_nonce(&answer) => Err(lost.of(origin)),
            (answered, _) => answered.map_err(|error| error.of(origin)),
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Connection, TransportError> {
        let socket = self.connector.connect(origin).await?;
        let (sender, driver) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|source| TransportError::Broken {
                origin: origin.to_string(),
                source,
            })?;
        Ok(Connection {
            sender,
            driver: Some(driver),
            used: Instant::now(),
        })
    }

    async fn exchange(
        &self,
        origin: &Origin,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, Unanswered> {
        let answer = connection.exchange(request, self.limits.body).await?;
        connection.used = Instant::now();
        if connection.driver.is_some() {
            let mut idle = self.idle();
            let kept = idle.entry(origin.clone()).or_default();
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push(connection);
        }
        Ok(answer)
    }

    fn take_idle(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle();
        let kept = idle.get_mut(origin)?;
        kept.retain(|connection| connection.used.elapsed() < self.limits.idle);
        kept.pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request as it goes over the wire: origin-form, and with the headers every request carries.
fn dressed(request: Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(host) = authority.and_then(|host| HeaderValue::from_str(host).ok()) {
        parts.headers.insert(HOST, host);
    }
    let headers = &mut parts.headers;
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    parts.uri = Uri::try_from(target).unwrap_or_default();
    Request::from_parts(parts, Full::new(body))
}

/// Why one connection gave no whole answer.
fn says_bad_nonce(answer: &Response<Bytes>) -> bool {
    const BAD_NONCE: &[u8] = b"urn:ietf:params:acme:error:badNonce";
    let mut windows = answer.body().windows(BAD_NONCE.len());
    answer.status() == StatusCode::BAD_REQUEST && windows.any(|window| window == BAD_NONCE)
}

enum Unanswered {
    /// It ended before the first byte of an answer.
    Silent(hyper::Error),
    Broken(hyper::Error),
    TooLarge(usize),
}

impl Unanswered {
    fn of(self, origin: &Origin) -> TransportError {
        let origin = origin.to_string();
        match self {
            Self::Silent(source) | Self::Broken(source) => {
                TransportError::Broken { origin, source }
            }
            Self::TooLarge(limit) => TransportError::TooLarge { origin, limit },
        }
    }
}

type Driver = http1::Connection<TokioIo<Box<dyn Socket>>, Full<Bytes>>;

/// One HTTP/1.1 connection. Nobody drives it in the background: whoever waits for its answer does, so dropping that wait ends it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
    used: Instant,
}

impl Connection {
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, Unanswered> {
        let Self { sender, driver, .. } = self;
        // Lets a kept connection notice that the other side has closed it.
        drive(driver, sender.ready())
            .await
            .map_err(Unanswered::Silent)?;
        let answer = drive(driver, sender.send_request(request)).await;
        let (parts, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) if error.is_parse() || error.is_parse_status() => {
                return Err(Unanswered::Broken(error));
            }
            Err(error) => return Err(Unanswered::Silent(error)),
        };
        match drive(driver, Limited::new(body, limit).collect()).await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => Unanswered::Broken(*error),
                Err(other) => {
                    debug_assert!(other.is::<LengthLimitError>());
                    Unanswered::TooLarge(limit)
                }
            }),
        }
    }
}

/// Waits for something that happens on a connection, and moves that connection forward meanwhile.
async fn drive<F: Future>(driver: &mut Option<Driver>, waited_for: F) -> F::Output {
    let mut waited_for = pin!(waited_for);
    poll_fn(|context| {
        if let Poll::Ready(output) = waited_for.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        if let Some(running) = driver
            && Pin::new(running).poll(context).is_ready()
        {
            *driver = None;
        }
        waited_for.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests;
