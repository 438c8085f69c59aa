//! One address of an app: how it is reached, and whether it has answered lately.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};

use crate::upstream::{Upstream, UpstreamHost};

use super::stream::Stream;
use super::trust::{Tls, Trust};

/// How long a resolver's answer is used. System resolvers don't tell the record's own lifetime.
const RESOLVED_FOR: Duration = Duration::from_secs(10);
/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One upstream address of one app.
#[derive(Debug)]
pub(super) struct Peer {
    /// Distinguishes peers in the threads' pools, also after the routes have been replaced.
    pub(super) id: u64,
    pub(super) upstream: Upstream,
    failures: AtomicU32,
    /// Milliseconds since the process began, before which it is asked only if nobody else is left.
    paused_until: AtomicU64,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// How TLS is spoken to it, or why it can't be.
    tls: Option<Result<Tls, String>>,
}

impl Peer {
    pub(super) fn new(upstream: Upstream, trust: &Trust) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            tls: match &upstream {
                Upstream::Tcp {
                    host, tls: true, ..
                } => {
                    let name = match host {
                        UpstreamHost::Ip(address) => address.to_string(),
                        UpstreamHost::Name(name) => name.clone(),
                    };
                    Some(Tls::new(name, trust).map_err(|error| error.to_string()))
                }
                _ => None,
            },
            upstream,
            failures: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
            resolved: Mutex::new(None),
        }
    }

    /// Whether its last failure is long enough ago.
    pub(super) fn is_up(&self) -> bool {
        self.failures.load(Relaxed) == 0 || self.paused_until.load(Relaxed) <= millis()
    }

    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    pub(super) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Relaxed).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << failures).min(LONGEST_PAUSE);
        self.paused_until
            .store(millis() + pause.as_millis() as u64, Relaxed);
    }

    /// Connects, within the time given for each address.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Stream> {
        let (host, port) = match &self.upstream {
            Upstream::Unix(path) => {
                let stream = within(limit, UnixStream::connect(path)).await?;
                return Ok(Stream::Unix(stream));
            }
            Upstream::Tcp { host, port, .. } => (host, *port),
        };
        let stream = match host {
            UpstreamHost::Ip(address) => connect_tcp(&[(*address, port).into()], limit).await?,
            UpstreamHost::Name(name) => {
                let addresses = self.resolve(name, port, limit).await?;
                connect_tcp(&addresses, limit).await?
            }
        };
        match &self.tls {
            None => Ok(Stream::Tcp(stream)),
            Some(Ok(tls)) => within(limit, tls.connect(stream)).await,
            Some(Err(reason)) => Err(io::Error::other(reason.clone())),
        }
    }

    async fn resolve(&self, name: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        let known = self
            .resolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((at, addresses)) = &known
            && at.elapsed() < RESOLVED_FOR
        {
            return Ok(addresses.clone());
        }
        match within(limit, tokio::net::lookup_host((name, port))).await {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.collect();
                *self.resolved.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), addresses.clone()));
                Ok(addresses)
            }
            // A resolver that is down doesn't take down an app whose address was known.
            Err(error) => known.map(|(_, addresses)| addresses).ok_or(error),
        }
    }
}

async fn connect_tcp(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match within(limit, TcpStream::connect(address)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Milliseconds since the process first asked.
fn millis() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer::new("http://127.0.0.1:1".parse().unwrap(), &Trust::default())
    }

    #[test]
    fn a_failure_pauses_it_and_a_success_ends_the_pause() {
        let peer = peer();
        assert!(peer.is_up());
        peer.failed();
        assert!(!peer.is_up());
        peer.succeeded();
        assert!(peer.is_up());
    }

    #[test]
    fn the_pause_grows_with_each_failure_up_to_a_bound() {
        let peer = peer();
        let mut last = 0;
        for _ in 0..6 {
            peer.failed();
            let pause = peer.paused_until.load(Relaxed) - millis();
            assert!(pause > last, "{pause} after {last}");
            last = pause;
        }
        for _ in 0..100 {
            peer.failed();
        }
        let pause = peer.paused_until.load(Relaxed) - millis();
        assert!(u128::from(pause) <= LONGEST_PAUSE.as_millis());
    }
}
