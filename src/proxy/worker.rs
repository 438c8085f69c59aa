//! One worker thread: accepts, ticks, drains. Each has a runtime, a set of connections and a pool of its own, so that requests share nothing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::gate::Gate;
use super::listener::Acceptor;
use super::listening::Listening;
use super::reception::Reception;
use super::{access_log, clock, pool, terms, warm};

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
        access_log::flush();
        terms::forget();
        Ok(())
    }

    /// Moves the clock on and ends what has lasted too long. Rests while there is nothing to watch.
    async fn tick(&mut self, mut arrived: mpsc::UnboundedReceiver<Arc<Client>>) {
        let gate = Arc::clone(&self.gate);
        let start = Instant::now();
        let mut changes = gate.terms.changes();
        let mut interval = under_new_terms(&gate);
        let mut clients: Vec<Arc<Client>> = Vec::new();
        let mut is_open = true;
        let mut has_drained = false;
        loop {
            if clients.is_empty() && is_open {
                tokio::select! {
                    biased;
                    _changed = changes.changed() => interval = under_new_terms(&gate),
                    client = arrived.recv() => match client {
                        Some(client) => {
                            clock::set(millis_since(start));
                            client.touch();
                            clients.push(client);
                        }
                        None => is_open = false,
                    }
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
                _changed = changes.changed() => {
                    interval = under_new_terms(&gate);
                    // Those that rest let go of the old terms.
                    clients.iter().for_each(|client| client.fold());
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
                        client.expire();
                        // Only we, and perhaps the list of the warm, still know it: its task has ended.
                        !client.has_ended()
                    });
                    pool::age(&gate.terms.get().settings.limits);
                    access_log::flush();
                }
            }
        }
    }
}

/// The tick under the terms of now. What was logged under others is written where they say, and nobody keeps them.
fn under_new_terms(gate: &Gate) -> Interval {
    access_log::flush();
    warm::forget_ended();
    let mut interval = tokio::time::interval(gate.terms.get().settings.limits.tick());
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn millis_since(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}
