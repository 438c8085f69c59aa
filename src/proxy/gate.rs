//! What all worker threads share: the tokens, the routes of the moment, the settings.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use tokio::sync::Semaphore;

use super::challenges::Challenges;
use super::connection;
use super::meter::{AppMeter, Meter, Open};
use super::routes::{App, Routes};
use super::settings::Settings;
use crate::exposition::Page;

/// Decides for every request who answers it.
#[derive(Debug)]
pub struct Gate {
    pub(super) challenges: Arc<Challenges>,
    pub(super) settings: Settings,
    /// How requests are read under these settings.
    pub(super) http: http1::Builder,
    routes: ArcSwap<Routes>,
    pub(super) meter: Meter,
    /// Counts of requests that belong to no app.
    pub(super) nobody: Arc<AppMeter>,
    /// One permit per open client connection.
    pub(super) connections: Arc<Semaphore>,
    /// One permit per open tunnel.
    pub(super) tunnels: Arc<Semaphore>,
}

impl Gate {
    /// A gate for these tokens and apps.
    pub fn new(challenges: Arc<Challenges>, routes: Routes, settings: Settings) -> Arc<Self> {
        let permits = |limit: usize| Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        let meter = Meter::default();
        Arc::new(Self {
            nobody: meter.app(None),
            meter,
            connections: permits(settings.limits.connections.max(1)),
            tunnels: permits(settings.limits.tunnels),
            http: connection::http(&settings.limits),
            challenges,
            settings,
            routes: ArcSwap::from_pointee(routes),
        })
    }

    /// Replaces the apps. Requests that are under way keep theirs.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// Everything that is counted here.
    pub fn write_metrics(&self, page: &mut Page) {
        let limits = &self.settings.limits;
        let taken = |limit: usize, free: &Semaphore| {
            limit
                .min(Semaphore::MAX_PERMITS)
                .saturating_sub(free.available_permits())
        };
        let open = Open {
            connections: taken(limits.connections.max(1), &self.connections),
            tunnels: taken(limits.tunnels, &self.tunnels),
        };
        self.meter.write(open, page);
    }

    /// The app that a door has named, if there is one of that name, else the one that answers to this `Host`.
    pub(super) fn app(&self, named: Option<&str>, host: &str) -> Option<Arc<App>> {
        let routes = self.routes.load();
        named
            .and_then(|name| routes.named(name))
            .or_else(|| routes.find(host))
            .cloned()
    }
}
