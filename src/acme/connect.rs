//! Opening a connection to a CA: resolve, try addresses of both families, speak TLS with an explicit provider and
//! explicit trust anchors. Knows nothing of HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::transport::TransportError;
use crate::tls;

/// How long an address may stay silent before the next one is tried beside it (RFC 8305 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Why no connection could ever be made with what was configured.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The directory's URL is none, or one that can't be trusted.
    #[error("{url:?} can't be a CA's directory: {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The further trust anchors are no certificates.
    #[error("the CA's own trust anchors (ca_file) can't be used: {reason}")]
    Roots {
        /// What is wrong with them.
        reason: String,
    },
    /// The cryptographic library was built without what TLS needs.
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

/// Bytes in both directions, encrypted or (on loopback only) not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Where a URL points to: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Of an `https` URL, or of an `http` one on loopback, for a CA behind a local TLS gate (RFC 8555 6.1 wants HTTPS).
    pub(super) fn of(uri: &Uri) -> Result<Self, &'static str> {
        let host = uri.host().ok_or("it is no URL with a host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback(host) => false,
            _ => return Err("it has to begin with https://"),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Opens connections; the trust anchors are the Web PKI's and those given.
pub(super) struct Connector {
    tls: TlsConnector,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(extra_roots: &[u8], limit: Duration) -> Result<Self, CaError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let unusable = |reason: String| CaError::Roots { reason };
        let before = roots.len();
        for anchor in CertificateDer::pem_slice_iter(extra_roots) {
            let anchor = anchor.map_err(|error| unusable(error.to_string()))?;
            roots
                .add(anchor)
                .map_err(|error| unusable(error.to_string()))?;
        }
        if roots.len() == before && !extra_roots.is_empty() {
            return Err(unusable("there is no certificate in PEM in it".to_owned()));
        }
        let mut config = tls::client()
            .map_err(CaError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            limit,
        })
    }

    /// A connection to `origin`, ready for HTTP, within the time limit.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<Box<dyn Socket>, TransportError> {
        match timeout(self.limit, self.connect_unlimited(origin)).await {
            Ok(connected) => connected,
            Err(_) => Err(TransportError::TimedOut {
                origin: origin.to_string(),
                limit: self.limit,
            }),
        }
    }

    async fn connect_unlimited(&self, origin: &Origin) -> Result<Box<dyn Socket>, TransportError> {
        let failed = |source: io::Error| TransportError::Connect {
            origin: origin.to_string(),
            source,
        };
        let addresses = lookup_host((origin.host.as_str(), origin.port))
            .await
            .map_err(failed)?;
        let stream = race(alternating(addresses.collect()))
            .await
            .map_err(failed)?;
        // Requests are small and each waits for its answer: Nagle's algorithm would only delay them.
        stream.set_nodelay(true).map_err(failed)?;
        if !origin.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(match untrusted(&error) {
                Some(reason) => TransportError::Untrusted {
                    origin: origin.to_string(),
                    reason,
                },
                None => failed(error),
            }),
        }
    }
}

fn untrusted(error: &io::Error) -> Option<rustls::CertificateError> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(reason) => Some(reason.clone()),
        _ => None,
    }
}

/// The resolver's order, but with the families taking turns, so that one that leads nowhere costs one wait only (RFC 8305 4).
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else {
        return addresses;
    };
    let total = addresses.len();
    let (same, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(total);
    while ordered.len() < total {
        ordered.extend(same.next());
        ordered.extend(other.next());
    }
    ordered
}

/// The first connection that comes about; the next address is tried when one fails or has been silent for a while.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            Some(joined) = attempts.join_next() => match joined {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_https_and_plain_http_on_loopback_are_spoken() {
        for good in [
            "https://ca.example/dir",
            "https://[2001:db8::1]:14000/dir",
            "http://127.0.0.1:4000/directory",
            "http://localhost/directory",
            "http://[::1]/directory",
        ] {
            Origin::of(&good.parse().unwrap()).unwrap();
        }
        for bad in [
            "http://ca.example/dir",
            "/dir",
            "ftp://ca.example",
            "ca.example",
        ] {
            assert!(Origin::of(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn families_take_turns() {
        let addresses = [
            "[::1]:1",
            "[::2]:1",
            "[::3]:1",
            "127.0.0.1:1",
            "127.0.0.2:1",
        ];
        let addresses = addresses.map(|address| address.parse().unwrap()).to_vec();
        let ordered: Vec<String> = alternating(addresses)
            .iter()
            .map(SocketAddr::to_string)
            .collect();
        assert_eq!(
            ordered,
            [
                "[::1]:1",
                "127.0.0.1:1",
                "[::2]:1",
                "127.0.0.2:1",
                "[::3]:1"
            ]
        );
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = closed.local_addr().unwrap();
        drop(closed);
        let stream = race(vec![refuses, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(
            race(vec![refuses]).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(
            race(vec![]).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn trust_anchors_that_are_none_are_refused() {
        let limit = Duration::from_secs(1);
        assert!(Connector::new(b"", limit).is_ok());
        for garbage in [
            b"nothing".as_slice(),
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(matches!(
                Connector::new(garbage, limit),
                Err(CaError::Roots { .. })
            ));
        }
    }
}
