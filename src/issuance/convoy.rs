//! A convoy: issuances that are under way together and wait for one another where nginx is reloaded, so that one reload does for all.
//! Nobody waits for long, and whoever fails or leaves is not waited for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Whoever is ready first waits so long for the others; who comes later than that gathers anew.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a convoy gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Halt {
    /// Before doors are opened.
    Door = 0,
    /// Before certificates go live and doors are closed.
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
    moved: [Notify; HALTS.len()],
}

#[derive(Debug)]
struct Crossing {
    /// How many have not got here yet.
    missing: usize,
    /// Until when those who are here wait; nothing while nobody does.
    until: Option<Instant>,
}

impl Convoy {
    fn of(size: usize) -> Arc<Self> {
        let crossing = |_| {
            Mutex::new(Crossing {
                missing: size,
                until: None,
            })
        };
        Arc::new(Self {
            crossings: HALTS.map(crossing),
            moved: Default::default(),
        })
    }
}

impl Seat {
    /// All the places of a convoy of this size.
    pub fn convoy(size: usize) -> Vec<Self> {
        let convoy = Convoy::of(size);
        (0..size).map(|_| Self::of(&convoy)).collect()
    }

    /// The only place of a convoy.
    pub fn alone() -> Self {
        Self::of(&Convoy::of(1))
    }

    fn of(convoy: &Arc<Convoy>) -> Self {
        Self {
            convoy: Arc::clone(convoy),
            passed: Mutex::new(0),
        }
    }

    /// Goes on without a halt: there is nothing to be done there.
    pub fn pass(&self, halt: Halt) {
        self.arrive(halt as usize + 1);
    }

    /// Waits until all the others are here as well, have passed or have left, though not for long. Who has passed a halt is not held there again.
    pub async fn gather(&self, halt: Halt) {
        if !self.arrive(halt as usize + 1) {
            return;
        }
        let Convoy { crossings, moved } = &*self.convoy;
        let (crossing, moved) = (&crossings[halt as usize], &moved[halt as usize]);
        let until = *held(crossing)
            .until
            .get_or_insert_with(|| Instant::now() + PATIENCE);
        loop {
            let mut woken = std::pin::pin!(moved.notified());
            woken.as_mut().enable();
            if held(crossing).missing == 0 {
                return;
            }
            if timeout_at(until, woken).await.is_err() {
                let mut crossing = held(crossing);
                // Who comes now waits for the next ones.
                if crossing.until == Some(until) {
                    crossing.until = None;
                }
                return;
            }
        }
    }

    /// Puts so many halts behind this place; `false` if they were already.
    fn arrive(&self, halts: usize) -> bool {
        let mut passed = held(&self.passed);
        let before = *passed;
        *passed = halts.max(before);
        let Convoy { crossings, moved } = &*self.convoy;
        for (crossing, moved) in crossings.iter().zip(moved).take(halts).skip(before) {
            let mut crossing = held(crossing);
            crossing.missing -= 1;
            if crossing.missing == 0 {
                moved.notify_waiters();
            }
        }
        before < halts
    }
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

    #[tokio::test(start_paused = true)]
    async fn all_pass_when_the_last_one_is_there() {
        let seats = Seat::convoy(3);
        let start = Instant::now();
        let [one, two, three] = &seats[..] else {
            unreachable!()
        };
        let mut early = std::pin::pin!(join_all([one.gather(Halt::Door), two.gather(Halt::Door)]));
        assert!(early.as_mut().now_or_never().is_none());
        three.gather(Halt::Door).await;
        early.await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_or_passes_by_is_not_waited_for() {
        let mut seats = Seat::convoy(3);
        let start = Instant::now();
        drop(seats.pop());
        // It has no door to open.
        let mut ahead = std::pin::pin!(seats[1].gather(Halt::Live));
        assert!(ahead.as_mut().now_or_never().is_none());
        seats[0].gather(Halt::Door).await;
        seats[0].gather(Halt::Live).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_is_waited_for_only_so_long_and_gathers_with_the_next() {
        let seats = Seat::convoy(4);
        let start = Instant::now();
        seats[0].gather(Halt::Live).await;
        assert_eq!(start.elapsed(), PATIENCE);
        let late = join_all([seats[1].gather(Halt::Live), seats[2].gather(Halt::Live)]);
        late.await;
        assert_eq!(start.elapsed(), 2 * PATIENCE);
        seats[3].gather(Halt::Live).await;
        assert_eq!(start.elapsed(), 2 * PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_waits_for_nobody() {
        let start = Instant::now();
        let seat = Seat::alone();
        seat.gather(Halt::Door).await;
        seat.gather(Halt::Live).await;
        seat.gather(Halt::Live).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
