//! What a sidecar tells Prometheus of its certificates, beside what is on disk, what nginx serves and what `status` says.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Running, eventually, free_port, get};

const PATIENCE: Duration = Duration::from_secs(20);
const STORED: &str = "sidedoor_certificate_expiry_timestamp_seconds";
const SERVED: &str = "sidedoor_certificate_served_expiry_timestamp_seconds";
const SEEN: &str = "sidedoor_certificate_served_seen_timestamp_seconds";
const NEXT: &str = "sidedoor_certificate_next_attempt_timestamp_seconds";
const ATTEMPTS: &str = "sidedoor_attempts_total";
const FAILURES: &str = "sidedoor_attempt_failures_total";
const BUDGET: &str = "sidedoor_budget_left";

/// A shop whose sidecar tells its metrics.
struct Told {
    shop: Shop,
    port: u16,
    _sidecar: Running,
}

impl Told {
    fn of(mut shop: Shop) -> Self {
        let port = free_port();
        let address = format!("\"127.0.0.1:{port}\"");
        shop.sidedoor.set_at_top("metrics", &address);
        let sidecar = shop.sidedoor.run();
        Self {
            shop,
            port,
            _sidecar: sidecar,
        }
    }

    fn page(&self) -> String {
        get(self.port, "m", "/metrics").text()
    }

    /// The number of a family with just these labels.
    fn number(&self, family: &str, labels: &[(&str, &str)]) -> Option<i64> {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let series = format!("{family}{{{}}} ", labels.join(","));
        let page = self.page();
        let number = page.lines().find_map(|line| line.strip_prefix(&series))?;
        Some(number.parse().unwrap())
    }

    fn of_shop(&self, family: &str) -> Option<i64> {
        self.number(family, &[("certificate", "shop")])
    }

    fn attempts(&self, outcome: &str) -> Option<i64> {
        self.number(ATTEMPTS, &[("outcome", outcome)])
    }

    fn failures(&self, kind: &str) -> Option<i64> {
        self.number(FAILURES, &[("kind", kind)])
    }

    fn end_on_disk(&self) -> i64 {
        let file = self.shop.sidedoor.live("shop").join("fullchain.pem");
        Certificate::in_file(&file).not_after.unix_timestamp()
    }
}

#[test]
fn expiry_next_attempt_and_budget_are_told_as_they_are() {
    let told = Told::of(Shop::certified());
    let begun = OffsetDateTime::now_utc().unix_timestamp();
    let served = eventually("nginx was asked", PATIENCE, || told.of_shop(SERVED));
    assert_eq!(served, told.end_on_disk());
    assert!(told.of_shop(SEEN).unwrap() >= begun - 20);
    assert_eq!(told.of_shop(STORED), Some(told.end_on_disk()));
    let status = told.shop.sidedoor.call(["status", "--json"]).succeeded();
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let next = &status["certificates"][0]["next_attempt"];
    let at = OffsetDateTime::parse(next["at"].as_str().unwrap(), &Rfc3339).unwrap();
    let reason = next["reason"]["reason"].as_str().unwrap();
    let labels = [("certificate", "shop"), ("reason", reason)];
    assert_eq!(told.number(NEXT, &labels), Some(at.unix_timestamp()));
    let directory = told.shop.pebble.directory_url();
    let orders = |directory: &str| {
        let labels = [("directory", directory), ("limit", "orders"), ("of", "")];
        told.number(BUDGET, &labels)
    };
    let left = orders(&directory).unwrap();
    assert!((2_900..3_000).contains(&left), "{left}");
    assert_eq!(orders("https://elsewhere.example/"), None);
}

#[test]
fn attempts_are_counted_by_how_they_end_and_failures_by_kind() {
    let mut told = Told::of(Shop::certified());
    eventually("nginx was asked", PATIENCE, || told.of_shop(SERVED));
    assert_eq!(told.attempts("issued"), Some(0));
    let first = told.end_on_disk();
    // Ends are told by the second.
    eventually("a second has gone by", PATIENCE, || {
        told.shop
            .sidedoor
            .call(["renew", "shop", "--force"])
            .succeeded();
        (told.end_on_disk() > first).then_some(())
    });
    assert_eq!(told.of_shop(STORED), Some(told.end_on_disk()));
    assert_eq!(told.of_shop(SERVED), Some(told.end_on_disk()));
    assert!(told.attempts("issued") >= Some(1));
    assert_eq!(told.attempts("failed"), Some(0));

    told.shop.pebble.forget_all_names();
    let other = ["issue", "-d", NAMES[0]];
    told.shop.sidedoor.call(other).exited(1);
    assert_eq!(told.attempts("waiting"), Some(1));

    told.shop.pebble.end();
    let insisting = ["issue", "shop", "--force"];
    told.shop.sidedoor.call(insisting).exited(1);
    assert_eq!(told.attempts("failed"), Some(1));
    assert_eq!(told.failures("unavailable"), Some(1));
    assert_eq!(told.failures("validation"), Some(0));
    assert_eq!(told.of_shop(STORED), Some(told.end_on_disk()));
}

#[test]
fn every_family_of_certificates_is_told_and_described() {
    let told = Told::of(Shop::plain());
    let page = told.page();
    let readme = include_str!("../../README.md");
    for (family, kind) in [
        (STORED, "gauge"),
        (SERVED, "gauge"),
        (SEEN, "gauge"),
        (NEXT, "gauge"),
        (ATTEMPTS, "counter"),
        (FAILURES, "counter"),
        (BUDGET, "gauge"),
    ] {
        let line = format!("# TYPE {family} {kind}\n");
        assert!(page.contains(&line), "{line} not in\n{page}");
        assert!(readme.contains(&format!("`{family}")), "{family}");
    }
}
