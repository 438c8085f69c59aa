//! What all worker threads share: the tokens, the routes of the moment, the settings.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::challenges::Challenges;
use super::meter::{AppMeter, Meter, Open};
use super::places::Places;
use super::routes::{App, Routes};
use super::settings::Settings;
use super::terms::CurrentTerms;
use crate::exposition::Page;

/// Decides for every request who answers it.
#[derive(Debug)]
pub struct Gate {
    pub(super) challenges: Arc<Challenges>,
    pub(super) terms: CurrentTerms,
    routes: ArcSwap<Routes>,
    pub(super) meter: Meter,
    /// Counts of requests that belong to no app.
    pub(super) nobody: Arc<AppMeter>,
    /// One for each open client connection.
    pub(super) connections: Places,
    /// One for each open tunnel.
    pub(super) tunnels: Places,
}

impl Gate {
    /// A gate for these tokens and apps.
    pub fn new(challenges: Arc<Challenges>, routes: Routes, settings: Settings) -> Arc<Self> {
        let meter = Meter::default();
        Arc::new(Self {
            nobody: meter.app(None),
            meter,
            connections: Places::new(settings.limits.connections.max(1)),
            tunnels: Places::new(settings.limits.tunnels),
            terms: CurrentTerms::new(settings),
            challenges,
            routes: ArcSwap::from_pointee(routes),
        })
    }

    /// Replaces the apps. Requests that are under way keep theirs.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// Replaces the settings. Requests that are under way keep theirs.
    pub fn set_settings(&self, settings: Settings) {
        self.connections.resize(settings.limits.connections.max(1));
        self.tunnels.resize(settings.limits.tunnels);
        self.terms.set(settings);
    }

    /// Everything that is counted here.
    pub fn write_metrics(&self, page: &mut Page) {
        let open = Open {
            connections: self.connections.taken(),
            tunnels: self.tunnels.taken(),
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
