//! One worker thread: accepts, ticks, drains. Each has a runtime, a set of connections and a pool of its own, so that requests share nothing.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::connection;
use super::gate::Gate;
use super::introduction::introduced;
use super::listener::{Acceptor, AcceptorSocket};
use super::stream::Stream;
use super::{clock, pool, warm};

/// What all workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve.
    Serve,
    /// Accept no more, finish what is under way.
    Drain,
    /// End now.
    Stop,
}

/// Everything a worker thread needs.
pub(super) struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) orders: watch::Receiver<Order>,
}

/// How long accepting pauses when there are no file descriptors or no memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Serves until it is told to stop, or has drained.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let tracker = TaskTracker::new();
        let (arrivals, arrived) = mpsc::unbounded_channel();
        for acceptor in std::mem::take(&mut self.acceptors) {
            let listening = Listening::new(acceptor)?;
            let gate = Arc::clone(&self.gate);
            let mut orders = self.orders.clone();
            let connections = tracker.clone();
            let arrivals = arrivals.clone();
            tracker.spawn(async move {
                let accepting = accept(&listening, &gate, &connections, &arrivals);
                tokio::select! {
                    biased;
                    _told = orders.wait_for(|order| *order != Order::Serve) => {}
                    never = accepting => match never {},
                }
            });
        }
        tracker.close();
        drop(arrivals);
        let mut stop = self.orders.clone();
        tokio::select! {
            biased;
            _told = stop.wait_for(|order| *order == Order::Stop) => {}
            () = tracker.wait() => {}
            () = self.tick(arrived) => {}
        }
        pool::clear();
        warm::forget_all();
        flush_log(&self.gate);
        Ok(())
    }

    /// Moves the clock on and ends what has lasted too long. Rests while there is nothing to watch.
    async fn tick(&mut self, mut arrived: mpsc::UnboundedReceiver<Arc<Client>>) {
        let gate = Arc::clone(&self.gate);
        let limits = &gate.settings.limits;
        let start = Instant::now();
        let mut interval = tokio::time::interval(limits.tick());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut clients: Vec<Arc<Client>> = Vec::new();
        let mut is_open = true;
        let mut has_drained = false;
        loop {
            if clients.is_empty() && is_open {
                match arrived.recv().await {
                    Some(client) => {
                        clock::set(millis_since(start));
                        client.touch();
                        clients.push(client);
                    }
                    None => is_open = false,
                }
                interval.reset();
            }
            tokio::select! {
                biased;
                _told = self.orders.wait_for(|order| *order != Order::Serve), if !has_drained => {
                    has_drained = true;
                    while let Ok(client) = arrived.try_recv() {
                        clients.push(client);
                    }
                    clients.iter().for_each(|client| client.drain());
                    pool::clear();
                }
                _now = interval.tick() => {
                    clock::set(millis_since(start));
                    while let Ok(client) = arrived.try_recv() {
                        if has_drained {
                            client.drain();
                        }
                        clients.push(client);
                    }
                    clients.retain(|client| {
                        client.expire(limits);
                        // Only we, and perhaps the list of the warm, still know it: its task has ended.
                        !client.has_ended()
                    });
                    pool::age(limits);
                    flush_log(&gate);
                }
            }
        }
    }
}

fn flush_log(gate: &Gate) {
    if let Some(log) = &gate.settings.access_log {
        log.flush();
    }
}

fn millis_since(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}

/// A listening socket in the thread's runtime.
struct Listening {
    socket: ListeningSocket,
    port: Option<u16>,
    proxy_protocol: bool,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    fn new(acceptor: Acceptor) -> io::Result<Self> {
        let (socket, port) = match acceptor.socket {
            AcceptorSocket::Tcp(socket) => {
                let port = socket.local_addr()?.port();
                let socket = TcpListener::from_std(socket)?;
                (ListeningSocket::Tcp(socket), Some(port))
            }
            AcceptorSocket::Unix(socket) => {
                let socket = UnixListener::from_std(socket)?;
                (ListeningSocket::Unix(socket), None)
            }
        };
        Ok(Self {
            socket,
            port,
            proxy_protocol: acceptor.proxy_protocol,
        })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Option<IpAddr>)>> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| {
                // Small answers are never worth waiting for.
                let _gone_already = stream.set_nodelay(true);
                (Stream::Tcp(stream), Some(peer.ip()))
            }),
            ListeningSocket::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}

async fn accept(
    listening: &Listening,
    gate: &Arc<Gate>,
    connections: &TaskTracker,
    arrivals: &mpsc::UnboundedSender<Arc<Client>>,
) -> std::convert::Infallible {
    let mut is_exhausted = false;
    loop {
        let (accepted, permit) = next(listening, gate).await;
        match accepted {
            Ok((stream, address)) => {
                is_exhausted = false;
                let client = Arc::new(Client::new(Arc::clone(gate), address, listening.port));
                // The tick ends only with the thread.
                let _watched = arrivals.send(Arc::clone(&client));
                if listening.proxy_protocol {
                    connections.spawn(introduced(stream, client, permit, arrivals.clone()));
                } else {
                    connections.spawn(connection::serve(stream, client, permit));
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if !is_exhausted {
                    is_exhausted = true;
                    tracing::error!(
                        %error,
                        "no connection can be accepted; those that are open are served"
                    );
                }
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// The next connection, with its permit. The permit comes first, but is held only while there is something to accept,
/// so that one listener's waiting doesn't take another's last permit.
async fn next(
    listening: &Listening,
    gate: &Gate,
) -> (
    io::Result<(Stream, Option<IpAddr>)>,
    Option<OwnedSemaphorePermit>,
) {
    loop {
        // The semaphore is never closed.
        let mut permit = Arc::clone(&gate.connections).acquire_owned().await.ok();
        let accepted = std::future::poll_fn(|cx| {
            if permit.is_none() {
                return Poll::Ready(None);
            }
            let accepted = listening.poll_accept(cx).map(Some);
            if accepted.is_pending() {
                permit = None;
            }
            accepted
        })
        .await;
        if let Some(accepted) = accepted {
            return (accepted, permit);
        }
    }
}

/// Errors that leave the listening socket as good as before.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
