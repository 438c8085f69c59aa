//! The running proxy: its worker threads, and how they end.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::gate::Gate;
use super::listener::Listener;
use super::worker::{Order, Worker};

/// A proxy that serves until it is drained or dropped.
#[derive(Debug)]
pub struct Proxy {
    orders: watch::Sender<Order>,
    threads: Vec<JoinHandle<()>>,
    /// Closed by the last worker that ends.
    ended: mpsc::Receiver<std::convert::Infallible>,
}

impl Proxy {
    /// Serves these listeners with so many threads (at least one).
    ///
    /// # Errors
    /// If a thread, a runtime or one more socket can't be had. Nothing is left running then.
    pub fn start(listeners: Vec<Listener>, gate: Arc<Gate>, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let (orders, told) = watch::channel(Order::Serve);
        let (alive, ended) = mpsc::channel(1);
        let mut proxy = Self {
            orders,
            threads: Vec::with_capacity(threads),
            ended,
        };
        let mut acceptors: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        for listener in listeners {
            let split = listener.split(threads)?;
            for (thread, acceptor) in acceptors.iter_mut().zip(split) {
                thread.push(acceptor);
            }
        }
        for (number, acceptors) in acceptors.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let worker = Worker {
                gate: Arc::clone(&gate),
                acceptors,
                orders: told.clone(),
            };
            let alive = alive.clone();
            let thread = std::thread::Builder::new()
                .name(format!("proxy-{number}"))
                .spawn(move || {
                    if let Err(error) = runtime.block_on(worker.run()) {
                        tracing::error!(
                            %error,
                            "a worker thread has ended"
                        );
                    }
                    // What is still open is closed with the runtime; a name that is being resolved is not waited for.
                    runtime.shutdown_background();
                    drop(alive);
                })?;
            proxy.threads.push(thread);
        }
        Ok(proxy)
    }

    /// Accepts no more, lets requests finish and asks tunnels to end. What is still open at the deadline is closed.
    pub async fn drain(self, deadline: Duration) {
        self.end(Order::Drain, deadline).await;
    }

    /// The same, where another process has bound the same TCP ports with [`Listener::bind_beside`]: nobody who connects meanwhile is refused.
    pub async fn hand_over(self, deadline: Duration) {
        self.end(Order::HandOver, deadline).await;
    }

    async fn end(mut self, order: Order, deadline: Duration) {
        self.orders.send_replace(order);
        let ended = tokio::time::timeout(deadline, self.ended.recv()).await;
        if ended.is_err() {
            tracing::warn!("the deadline has passed; what is still open is closed");
            self.orders.send_replace(Order::Stop);
            // The threads only close what is open, which takes no time.
            self.ended.recv().await;
        }
        self.join();
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _a_panic_has_been_logged = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_replace(Order::Stop);
        self.join();
    }
}
