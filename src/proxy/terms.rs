//! The settings under which a request is served. A request keeps those it began under, whatever they are changed to meanwhile.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use tokio::sync::watch;

use super::connection;
use super::settings::Settings;

/// Settings, and what follows from them.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) settings: Settings,
    /// How requests are read under these settings.
    pub(super) http: http1::Builder,
    /// No other terms of this process have the same.
    pub(super) generation: u64,
}

impl Terms {
    fn new(settings: Settings) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            http: connection::http(&settings.limits),
            settings,
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

thread_local! {
    /// A copy for each thread, so that threads don't fight over one count of references.
    static OWN: RefCell<Option<Arc<Terms>>> = const { RefCell::new(None) };
}

/// The terms of the moment.
#[derive(Debug)]
pub(super) struct CurrentTerms {
    terms: ArcSwap<Terms>,
    generation: AtomicU64,
    changes: watch::Sender<()>,
}

impl CurrentTerms {
    pub(super) fn new(settings: Settings) -> Self {
        let terms = Terms::new(settings);
        Self {
            generation: AtomicU64::new(terms.generation),
            terms: ArcSwap::from_pointee(terms),
            changes: watch::Sender::default(),
        }
    }

    pub(super) fn set(&self, settings: Settings) {
        let terms = Terms::new(settings);
        let generation = terms.generation;
        self.terms.store(Arc::new(terms));
        // Whoever sees the number sees the terms.
        self.generation.store(generation, Ordering::Release);
        self.changes.send_replace(());
    }

    /// Tells terms apart without looking at them.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Wakes at each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The terms of now.
    pub(super) fn get(&self) -> Arc<Terms> {
        let generation = self.generation();
        OWN.with_borrow_mut(|own| match own {
            Some(terms) if terms.generation == generation => Arc::clone(terms),
            _ => {
                let terms = Arc::new(Terms::clone(&self.terms.load()));
                *own = Some(Arc::clone(&terms));
                terms
            }
        })
    }
}

/// The thread ends.
pub(super) fn forget() {
    OWN.set(None);
}
