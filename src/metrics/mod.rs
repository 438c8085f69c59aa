//! What is told to Prometheus: who has something to tell, and the small server that is asked for it.

mod attempts;
mod certificates;
mod server;
mod sightings;

use std::fmt;

use crate::exposition::Page;

pub use attempts::Attempts;
pub use certificates::{write_budgets, write_certificates};
pub use server::MetricsServer;
pub use sightings::{Sighting, Sightings};

type Source = Box<dyn Fn(&mut Page) + Send + Sync>;

/// Everybody who counts something, in the order of the page. Each writes whole families, of names that no other has, and may read files.
#[derive(Default)]
pub struct Metrics {
    sources: Vec<Source>,
}

impl Metrics {
    /// With one more who has something to tell.
    #[must_use]
    pub fn with(mut self, source: impl Fn(&mut Page) + Send + Sync + 'static) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// All of it, as it is now.
    pub fn page(&self) -> String {
        let mut page = Page::default();
        self.sources.iter().for_each(|source| source(&mut page));
        page.finish()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("sources", &self.sources.len())
            .finish()
    }
}
