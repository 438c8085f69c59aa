//! A convoy: issuances that are under way together and gather where nginx is asked for something, so that one reload does for all.
//! Nobody waits for long, and whoever fails or leaves is not waited for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Whoever is ready first waits so long for the others; who comes later than that gathers anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a convoy gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Halt {
    /// Where doors are opened.
    Door = 0,
    /// Where certificates go live and doors are closed.
    Live = 1,
}

const HALTS: [Halt; 2] = [Halt::Door, Halt::Live];

/// A place in a convoy; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    convoy: Arc<Convoy>,
    /// How many halts are behind it.
    passed: Mutex<usize>,
}

#[derive(Debug)]
struct Convoy {
    crossings: [Mutex<Crossing>; HALTS.len()],
}

#[derive(Debug)]
struct Crossing {
    /// How many have not got here yet.
    missing: usize,
    /// What those who are here will do.
    waiting: Vec<Arc<Deed>>,
    /// Until when they wait.
    until: Option<Instant>,
}

/// What is done when all are there, unless whoever wants it is gone by then.
struct Deed(Mutex<Option<Act>>);

type Act = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deed")
    }
}

impl Deed {
    /// Does it, once; whoever wants to give it up meanwhile has to wait.
    fn do_it(&self) {
        let mut act = held(&self.0);
        if let Some(act) = act.take() {
            act();
        }
    }
}

/// Whoever waits for a deed; it is given up if they leave.
struct Waiting(Arc<Deed>);

impl Drop for Waiting {
    fn drop(&mut self) {
        held(&self.0.0).take();
    }
}

impl Seat {
    /// All the places of a convoy of this size.
    pub fn convoy(size: usize) -> Vec<Self> {
        let crossing = |_| {
            Mutex::new(Crossing {
                missing: size,
                waiting: Vec::new(),
                until: None,
            })
        };
        let convoy = Arc::new(Convoy {
            crossings: HALTS.map(crossing),
        });
        let seat = |_| Self {
            convoy: Arc::clone(&convoy),
            passed: Mutex::new(0),
        };
        (0..size).map(seat).collect()
    }

    /// A place among nobody else.
    pub fn alone() -> Self {
        let mut seats = Self::convoy(1);
        seats.swap_remove(0)
    }

    /// Goes on without a halt: there is nothing to be done there.
    pub fn pass(&self, halt: Halt) {
        self.arrive(halt as usize + 1);
    }

    /// Does something in one breath with all the others, once they are here as well, have passed or have left; without them if they take
    /// too long. It is not done at all if the future is dropped before.
    pub async fn together<T: Send + 'static>(
        &self,
        halt: Halt,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (sender, mut done) = oneshot::channel();
        let act = move || drop(sender.send(act()));
        let deed = Arc::new(Deed(Mutex::new(Some(Box::new(act)))));
        let _waiting = Waiting(Arc::clone(&deed));
        let crossing = &self.convoy.crossings[halt as usize];
        // Before it is counted: the last one does what all have come for.
        let until = {
            let mut crossing = held(crossing);
            crossing.waiting.push(deed);
            let until = crossing.until;
            *crossing
                .until
                .insert(until.unwrap_or_else(|| Instant::now() + PATIENCE))
        };
        self.pass(halt);
        if held(crossing).missing == 0 {
            go(crossing);
        }
        if let Ok(Ok(done)) = timeout_at(until, &mut done).await {
            return done;
        }
        go(crossing);
        match done.await {
            Ok(done) => done,
            // invariant: what is done is sent, and only a dropped `Waiting` keeps it from being done.
            Err(_) => unreachable!("a deed that somebody waits for is done"),
        }
    }

    /// Puts so many halts behind this place.
    fn arrive(&self, halts: usize) {
        let mut passed = held(&self.passed);
        let before = *passed;
        *passed = halts.max(before);
        for crossing in self.convoy.crossings.iter().take(halts).skip(before) {
            let is_last = {
                let mut crossing = held(crossing);
                crossing.missing -= 1;
                crossing.missing == 0
            };
            if is_last {
                go(crossing);
            }
        }
    }
}

/// Does what those who are here have come for.
fn go(crossing: &Mutex<Crossing>) {
    let waiting = {
        let mut crossing = held(crossing);
        crossing.until = None;
        std::mem::take(&mut crossing.waiting)
    };
    waiting.iter().for_each(|deed| deed.do_it());
}

/// Nobody panics while holding one.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.arrive(HALTS.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    /// Arrives, and notes when the deed was done.
    async fn gather(seat: &Seat, halt: Halt) -> Instant {
        seat.together(halt, Instant::now).await
    }

    #[tokio::test(start_paused = true)]
    async fn all_act_when_the_last_one_is_there() {
        let seats = Seat::convoy(3);
        let start = Instant::now();
        let mut early = std::pin::pin!(join_all(
            seats[..2].iter().map(|seat| gather(seat, Halt::Door))
        ));
        assert!(early.as_mut().now_or_never().is_none());
        assert_eq!(gather(&seats[2], Halt::Door).await, start);
        assert_eq!(early.await, [start, start]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_or_passes_by_is_not_waited_for() {
        let mut seats = Seat::convoy(3);
        let start = Instant::now();
        drop(seats.pop());
        // It has no door to open.
        let mut ahead = std::pin::pin!(gather(&seats[1], Halt::Live));
        assert!(ahead.as_mut().now_or_never().is_none());
        assert_eq!(gather(&seats[0], Halt::Door).await, start);
        assert_eq!(gather(&seats[0], Halt::Live).await, start);
        assert_eq!(ahead.await, start);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_is_waited_for_only_so_long_and_gathers_with_the_next() {
        let seats = Seat::convoy(4);
        let start = Instant::now();
        assert_eq!(gather(&seats[0], Halt::Live).await, start + PATIENCE);
        let late = join_all(seats[1..3].iter().map(|seat| gather(seat, Halt::Live)));
        assert_eq!(late.await, [start + 2 * PATIENCE; 2]);
        assert_eq!(gather(&seats[3], Halt::Live).await, start + 2 * PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_waits_for_nobody_and_may_do_several_things() {
        let start = Instant::now();
        let seat = Seat::alone();
        assert_eq!(gather(&seat, Halt::Door).await, start);
        let both = join_all([gather(&seat, Halt::Live), gather(&seat, Halt::Live)]);
        assert_eq!(both.await, [start, start]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_any_more_is_not_done() {
        let seats = Seat::convoy(2);
        let (done, mut was_done) = oneshot::channel();
        let mut gone = Box::pin(seats[0].together(Halt::Door, move || done.send(())));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        gather(&seats[1], Halt::Door).await;
        assert!(was_done.try_recv().is_err());
    }
}
