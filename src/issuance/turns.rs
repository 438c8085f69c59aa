//! Turns at the CAs: so many orders of ours talk to one CA at a time, and nobody waits for another CA's.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many at a time at each CA; what each mostly does is wait for it.
const AT_ONCE: usize = 16;

/// Who talks to which CA.
#[derive(Debug, Default)]
pub struct Turns {
    by_directory: DashMap<String, Arc<Semaphore>>,
}

impl Turns {
    /// Waits for a turn at a CA, which lasts until what is returned is dropped.
    pub async fn at(&self, directory_url: &str) -> Option<OwnedSemaphorePermit> {
        let known = self
            .by_directory
            .get(directory_url)
            .map(|turns| Arc::clone(&turns));
        let turns = known.unwrap_or_else(|| {
            let new = || Arc::new(Semaphore::new(AT_ONCE));
            let entry = self.by_directory.entry(directory_url.to_owned());
            Arc::clone(&entry.or_insert_with(new))
        });
        // It is never closed.
        turns.acquire_owned().await.ok()
    }
}
