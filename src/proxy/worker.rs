//! One worker thread: accepts, ticks, drains. Each has a runtime, a set of connections and a pool of its own, so that requests share nothing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::gate::Gate;
use super::listener::Acceptor;
use super::listening::Listening;
use super::reception::Reception;
use super::{clock, pool, warm};

/// What all workers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Serve.
    Serve,
    /// Accept no more, finish what is under way.
    Drain,
    /// The same, but somebody else accepts on the same port: nobody may be turned away meanwhile.
    HandOver,
    /// End now.
    Stop,
}

/// Everything a worker thread needs.
pub(super) struct Worker {
    pub(super) gate: Arc<Gate>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) orders: watch::Receiver<Order>,
}

impl Worker {
    /// Serves until it is told to stop, or has drained.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let tracker = TaskTracker::new();
        let (arrivals, arrived) = mpsc::unbounded_channel();
        for acceptor in std::mem::take(&mut self.acceptors) {
            let reception = Reception {
                listening: Listening::new(acceptor)?,
                gate: Arc::clone(&self.gate),
                connections: tracker.clone(),
                arrivals: arrivals.clone(),
            };
            tracker.spawn(reception.run(self.orders.clone()));
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
