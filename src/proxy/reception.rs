//! Accepting on one listening socket: a permit first, then a connection, and what becomes of those that wait when accepting ends.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::connection;
use super::gate::Gate;
use super::introduction::introduced;
use super::listening::Listening;
use super::places::Place;
use super::stream::Stream;
use super::worker::Order;

/// How long accepting pauses when there are no file descriptors or no memory left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// In a hand-over, nobody has come for so long: all handshakes that had begun are over.
const QUIET: Duration = Duration::from_millis(200);

/// One listening socket and everything that a new connection needs.
pub(super) struct Reception {
    pub(super) listening: Listening,
    pub(super) gate: Arc<Gate>,
    pub(super) connections: TaskTracker,
    pub(super) arrivals: mpsc::UnboundedSender<Arc<Client>>,
}

impl Reception {
    /// Accepts until it is told otherwise, and then whoever waits already.
    pub(super) async fn run(self, mut orders: watch::Receiver<Order>) {
        tokio::select! {
            biased;
            _told = orders.wait_for(|order| *order != Order::Serve) => {}
            never = self.accept() => match never {},
        }
        let order = *orders.borrow();
        let patience = match order {
            Order::HandOver => {
                self.listening.refuse_newcomers();
                QUIET
            }
            _ => Duration::ZERO,
        };
        // A timer that has run out is polled only after what it limits.
        while let Ok((Ok((stream, address)), permit)) =
            tokio::time::timeout(patience, self.next()).await
        {
            self.admit(stream, address, permit);
        }
    }

    async fn accept(&self) -> Infallible {
        let mut is_exhausted = false;
        loop {
            let (accepted, permit) = self.next().await;
            match accepted {
                Ok((stream, address)) => {
                    is_exhausted = false;
                    self.admit(stream, address, permit);
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

    fn admit(&self, stream: Stream, address: Option<IpAddr>, permit: Option<Place>) {
        let Listening {
            port,
            proxy_protocol,
            ..
        } = self.listening;
        let client = Arc::new(Client::new(Arc::clone(&self.gate), address, port));
        // The tick ends only with the thread.
        let _watched = self.arrivals.send(Arc::clone(&client));
        if proxy_protocol {
            let arrivals = self.arrivals.clone();
            self.connections
                .spawn(introduced(stream, client, permit, arrivals));
        } else {
            self.connections
                .spawn(connection::serve(stream, client, permit));
        }
    }

    /// The next connection, with its permit. The permit comes first, but is held only while there is something to accept,
    /// so that one listener's waiting doesn't take another's last permit.
    async fn next(&self) -> (io::Result<(Stream, Option<IpAddr>)>, Option<Place>) {
        loop {
            let mut permit = self.gate.connections.take().await;
            let accepted = std::future::poll_fn(|cx| {
                if permit.is_none() {
                    return Poll::Ready(None);
                }
                let accepted = self.listening.poll_accept(cx).map(Some);
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
