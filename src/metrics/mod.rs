//! What is told to Prometheus: who has something to tell, and the small server that is asked for it.

mod server;

use std::fmt;

use crate::exposition::Page;

pub use server::MetricsServer;

type Source = Box<dyn Fn(&mut Page) + Send + Sync>;

/// Everybody who counts something, in the order of the page. Each writes whole families, of names that no other has.
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
