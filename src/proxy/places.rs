//! A bounded number of places, of which there may be more or fewer while some are taken.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place that is taken until this is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// So many places, and no more.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    counts: Mutex<Counts>,
    /// There are more than there are to be: who gives one back gives it up.
    has_surplus: AtomicBool,
}

#[derive(Debug)]
struct Counts {
    there: usize,
    wanted: usize,
}

impl Places {
    pub(super) fn new(wanted: usize) -> Self {
        let wanted = wanted.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(wanted)),
            counts: Mutex::new(Counts {
                there: wanted,
                wanted,
            }),
            has_surplus: AtomicBool::new(false),
        }
    }

    /// Waits for a place.
    pub(super) async fn take(&self) -> Option<Place> {
        loop {
            // The semaphore is never closed.
            let place = Arc::clone(&self.free).acquire_owned().await.ok()?;
            if let Some(place) = self.unless_surplus(place) {
                return Some(place);
            }
        }
    }

    /// A place, if one is free.
    pub(super) fn try_take(&self) -> Option<Place> {
        loop {
            let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if let Some(place) = self.unless_surplus(place) {
                return Some(place);
            }
        }
    }

    /// From now on there are so many. Who has a place keeps it.
    pub(super) fn resize(&self, wanted: usize) {
        self.change(|counts, free| {
            counts.wanted = wanted.min(Semaphore::MAX_PERMITS);
            if counts.wanted > counts.there {
                free.add_permits(counts.wanted - counts.there);
                counts.there = counts.wanted;
            } else {
                counts.there -= free.forget_permits(counts.there - counts.wanted);
            }
        });
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        let mut taken = 0;
        self.change(|counts, free| taken = counts.there.saturating_sub(free.available_permits()));
        taken
    }

    fn unless_surplus(&self, place: Place) -> Option<Place> {
        if !self.has_surplus.load(Relaxed) {
            return Some(place);
        }
        let mut place = Some(place);
        self.change(|counts, _| {
            if counts.there > counts.wanted
                && let Some(place) = place.take()
            {
                place.forget();
                counts.there -= 1;
            }
        });
        place
    }

    fn change(&self, change: impl FnOnce(&mut Counts, &Semaphore)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts, &self.free);
        self.has_surplus
            .store(counts.there > counts.wanted, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_are_wanted() {
        let places = Places::new(2);
        let first = places.try_take().unwrap();
        let _second = places.try_take().unwrap();
        assert!(places.try_take().is_none());
        assert_eq!(places.taken(), 2);
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.try_take().is_some());
    }

    #[test]
    fn more_are_there_at_once() {
        let places = Places::new(0);
        assert!(places.try_take().is_none());
        places.resize(1);
        assert!(places.try_take().is_some());
    }

    #[test]
    fn surplus_ones_go_as_they_come_back() {
        let places = Places::new(3);
        let mut taken: Vec<_> = (0..3).map(|_| places.try_take().unwrap()).collect();
        places.resize(1);
        assert_eq!(places.taken(), 3);
        for left in [2, 1] {
            taken.pop();
            assert!(places.try_take().is_none());
            assert_eq!(places.taken(), left);
        }
        taken.pop();
        let _the_one = places.try_take().unwrap();
        assert!(places.try_take().is_none());
    }

    #[tokio::test]
    async fn who_waits_gets_no_surplus_one() {
        let places = Places::new(2);
        let (first, second) = (places.try_take().unwrap(), places.try_take().unwrap());
        places.resize(1);
        let mut waiting = Box::pin(places.take());
        let mut is_there = async || {
            tokio::select! {
                biased;
                _ = &mut waiting => true,
                () = std::future::ready(()) => false,
            }
        };
        assert!(!is_there().await);
        drop(first);
        assert!(!is_there().await);
        drop(second);
        assert!(is_there().await);
    }
}
