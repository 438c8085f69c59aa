//! What is counted, and how Prometheus reads it (text exposition format 0.0.4).
//!
//! Plain atomics: counting stands on the path of every request.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
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

    pub(super) fn write(&self, open: Open, out: &mut String) -> fmt::Result {
        let apps = self
            .apps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let label = |name: &Option<AppName>| name.as_ref().map_or("", AppName::as_str).to_owned();
        head(
            out,
            "sidedoor_requests_total",
            "counter",
            "Requests, by app and class of status.",
        )?;
        for (name, app) in &apps {
            for (class, counter) in (1..).zip(&app.classes) {
                writeln!(
                    out,
                    "sidedoor_requests_total{{app=\"{}\",status=\"{class}xx\"}} {}",
                    label(name),
                    counter.value()
                )?;
            }
        }
        head(
            out,
            "sidedoor_request_seconds",
            "histogram",
            "From the head of a request to the end of its answer.",
        )?;
        for (name, app) in &apps {
            write_latencies(&label(name), app, out)?;
        }
        gauge(
            out,
            "sidedoor_connections",
            "Open client connections.",
            open.connections,
        )?;
        gauge(out, "sidedoor_tunnels", "Open tunnels.", open.tunnels)?;
        head(
            out,
            "sidedoor_upstream_connects_total",
            "counter",
            "Connections to upstreams, by result.",
        )?;
        for (result, counter) in [("ok", &self.connects), ("failed", &self.failed_connects)] {
            writeln!(
                out,
                "sidedoor_upstream_connects_total{{result=\"{result}\"}} {}",
                counter.value()
            )?;
        }
        head(
            out,
            "sidedoor_upstream_reuses_total",
            "counter",
            "Requests on a connection that had rested.",
        )?;
        writeln!(
            out,
            "sidedoor_upstream_reuses_total {}",
            self.reuses.value()
        )?;
        head(
            out,
            "sidedoor_retries_total",
            "counter",
            "Requests sent a second time.",
        )?;
        writeln!(out, "sidedoor_retries_total {}", self.retries.value())?;
        head(
            out,
            "sidedoor_challenges_total",
            "counter",
            "Requests for well-formed tokens, by result.",
        )?;
        for (result, counter) in [
            ("answered", &self.challenges_answered),
            ("unknown", &self.challenges_unknown),
        ] {
            writeln!(
                out,
                "sidedoor_challenges_total{{result=\"{result}\"}} {}",
                counter.value()
            )?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn gauge(out: &mut String, name: &str, help: &str, value: usize) -> fmt::Result {
    head(out, name, "gauge", help)?;
    writeln!(out, "{name} {value}")
}

fn write_latencies(label: &str, app: &AppMeter, out: &mut String) -> fmt::Result {
    const NAME: &str = "sidedoor_request_seconds";
    let mut count = 0;
    for (at, counter) in app.latencies.iter().enumerate() {
        count += counter.value();
        match BOUNDS.get(at) {
            Some(bound) => {
                let bound = *bound as f64 / 1e6;
                writeln!(
                    out,
                    "{NAME}_bucket{{app=\"{label}\",le=\"{bound}\"}} {count}"
                )?;
            }
            None => writeln!(out, "{NAME}_bucket{{app=\"{label}\",le=\"+Inf\"}} {count}")?,
        }
    }
    let sum = app.micros.load(Relaxed) as f64 / 1e6;
    writeln!(
        out,
        "{NAME}_sum{{app=\"{label}\"}} {sum}\n{NAME}_count{{app=\"{label}\"}} {count}"
    )
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
        let mut out = String::new();
        let open = Open {
            connections: 3,
            tunnels: 0,
        };
        meter.write(open, &mut out).unwrap();
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
