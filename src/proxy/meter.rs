//! What is counted on the data path, and in which families it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::exposition::{Counter, Family, Kind, Page};
use crate::identifier::AppName;

/// The upper bounds of the latency histogram, in microseconds.
const BOUNDS: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Counts of a whole gate.
#[derive(Debug, Default)]
pub(super) struct Meter {
    apps: Mutex<BTreeMap<Option<AppName>, Arc<AppMeter>>>,
    pub(super) connects: Counter,
    pub(super) failed_connects: Counter,
    pub(super) reuses: Counter,
    pub(super) retries: Counter,
    pub(super) challenges_answered: Counter,
    pub(super) challenges_unknown: Counter,
}

/// Counts of one app, or of the requests that belong to none.
#[derive(Debug, Default)]
pub(super) struct AppMeter {
    /// From 1xx to 5xx.
    classes: [Counter; 5],
    /// How many took up to each bound, and how many took longer than all.
    latencies: [Counter; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl AppMeter {
    pub(super) fn count(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].count();
        let micros = took.as_micros() as u64;
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound);
        self.latencies[bucket.unwrap_or(BOUNDS.len())].count();
        self.micros.fetch_add(micros, Relaxed);
    }

    fn write_latencies(&self, app: &str, seconds: &mut Family<'_>) {
        let mut count = 0;
        let mut up_to = Vec::with_capacity(BOUNDS.len());
        for (at, counter) in self.latencies.iter().enumerate() {
            count += counter.value();
            if let Some(bound) = BOUNDS.get(at) {
                up_to.push((*bound as f64 / 1e6, count));
            }
        }
        let sum = self.micros.load(Relaxed) as f64 / 1e6;
        seconds.histogram(&[("app", app)], up_to, count, sum);
    }
}

/// What is open at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) connections: usize,
    pub(super) tunnels: usize,
}

impl Meter {
    /// The counts of an app, the same for each generation of routes.
    pub(super) fn app(&self, name: Option<&AppName>) -> Arc<AppMeter> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(apps.entry(name.cloned()).or_default())
    }

    pub(super) fn write(&self, open: Open, page: &mut Page) {
        let apps = self
            .apps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let label = |name: &Option<AppName>| name.as_ref().map_or("", AppName::as_str).to_owned();
        let mut requests = page.family(
            Kind::Counter,
            "sidedoor_requests_total",
            "Requests, by app and class of status.",
        );
        for (name, app) in &apps {
            for (class, counter) in (1..).zip(&app.classes) {
                let class = format!("{class}xx");
                requests.sample(
                    &[("app", &label(name)), ("status", &class)],
                    counter.value(),
                );
            }
        }
        let mut seconds = page.family(
            Kind::Histogram,
            "sidedoor_request_seconds",
            "From the head of a request to the end of its answer.",
        );
        for (name, app) in &apps {
            app.write_latencies(&label(name), &mut seconds);
        }
        page.family(
            Kind::Gauge,
            "sidedoor_connections",
            "Open client connections.",
        )
        .sample(&[], open.connections);
        page.family(Kind::Gauge, "sidedoor_tunnels", "Open tunnels.")
            .sample(&[], open.tunnels);
        page.family(
            Kind::Counter,
            "sidedoor_upstream_connects_total",
            "Connections to upstreams, by result.",
        )
        .sample(&[("result", "ok")], self.connects.value())
        .sample(&[("result", "failed")], self.failed_connects.value());
        page.family(
            Kind::Counter,
            "sidedoor_upstream_reuses_total",
            "Requests on a connection that had rested.",
        )
        .sample(&[], self.reuses.value());
        page.family(
            Kind::Counter,
            "sidedoor_retries_total",
            "Requests sent a second time.",
        )
        .sample(&[], self.retries.value());
        page.family(
            Kind::Counter,
            "sidedoor_challenges_total",
            "Requests for well-formed tokens, by result.",
        )
        .sample(&[("result", "answered")], self.challenges_answered.value())
        .sample(&[("result", "unknown")], self.challenges_unknown.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_its_class_and_in_every_bucket_above_its_time() {
        let meter = Meter::default();
        let name: AppName = "shop".parse().unwrap();
        meter.app(Some(&name)).count(204, Duration::from_millis(2));
        meter.app(Some(&name)).count(502, Duration::from_secs(60));
        let mut page = Page::default();
        let open = Open {
            connections: 3,
            tunnels: 0,
        };
        meter.write(open, &mut page);
        let out = page.finish();
        for line in [
            "sidedoor_requests_total{app=\"shop\",status=\"2xx\"} 1",
            "sidedoor_requests_total{app=\"shop\",status=\"5xx\"} 1",
            "sidedoor_request_seconds_bucket{app=\"shop\",le=\"0.001\"} 0",
            "sidedoor_request_seconds_bucket{app=\"shop\",le=\"0.0025\"} 1",
            "sidedoor_request_seconds_bucket{app=\"shop\",le=\"10\"} 1",
            "sidedoor_request_seconds_bucket{app=\"shop\",le=\"+Inf\"} 2",
            "sidedoor_request_seconds_sum{app=\"shop\"} 60.002",
            "sidedoor_connections 3",
        ] {
            assert!(
                out.lines().any(|each| each == line),
                "{line} is not in\n{out}"
            );
        }
    }
}
