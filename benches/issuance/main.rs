//! How long from command to live certificate: sidedoor beside the clients people come from, on one nginx and one Pebble, alternating.
//! `cargo bench --bench issuance [-- ROUNDS [CLIENT…]]`; benches/README.md keeps the figures.
//!
//! *Live* is when nginx (Caddy: Caddy) first serves the new certificate for the client's name, asked every few milliseconds from outside.
//! Accounts exist before; no authorization is reused; webroot clients install by copying two files and `nginx -s reload`.
// A bench that can't be set up has nobody to return an error to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod clients;
mod ours;

use std::thread;
use std::time::{Duration, Instant};

use clients::Client;
use support::{Certificate, Nginx, Pebble, Process, Server};
use tempfile::TempDir;

/// Between two looks at the served certificate: a hundredth of what the fastest client takes.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// No client takes this long unless it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    // Cargo itself passes --bench.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let rounds: usize = arguments
        .next()
        .map_or(5, |rounds| rounds.parse().expect("the number of rounds"));
    let wanted: Vec<String> = arguments.map(|name| name.to_lowercase()).collect();

    let mut nginx = Nginx::stopped([Server::of(&["nobody.example"])]);
    nginx.start();
    let pebble = Pebble::visiting(&nginx)
        .rejecting_nonces(0)
        .reusing_authorizations(0)
        .start();
    let directory = TempDir::with_prefix("clients-").unwrap();
    let mut clients = clients::all(&mut nginx, &pebble, directory.path());
    clients.extend(ours::all(&mut nginx, &pebble));
    clients.retain(|client| {
        let name = client.name.to_lowercase();
        wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted))
    });
    nginx.reload();

    println!(
        "{rounds} rounds of {} clients, one after the other",
        clients.len()
    );
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); clients.len()];
    // The first round registers accounts and warms caches; it doesn't count.
    for round in 0..=rounds {
        for (client, took) in clients.iter().zip(&mut took) {
            let live = issue(client, directory.path());
            println!(
                "  round {round}  {:24} {:>7.3} s",
                client.name,
                live.as_secs_f64()
            );
            if round > 0 {
                took.push(live);
            }
        }
    }
    for client in clients.iter().filter(|client| client.ours) {
        let log = directory.path().join(format!("{}.log", client.domain));
        println!(
            "\n{}, the last run's own words:\n{}",
            client.name,
            std::fs::read_to_string(&log).unwrap_or_default()
        );
    }
    report(&clients, took);
}

/// From the command's start until its certificate is served.
fn issue(client: &Client, directory: &std::path::Path) -> Duration {
    (client.before)();
    let before = Certificate::seen(client.port, &client.domain).map(|old| old.serial);
    let command = (client.command)();
    let log = directory.join(format!("{}.log", client.domain));
    let start = Instant::now();
    let mut process = Process::start(&command, &log);
    let live = loop {
        let now = Certificate::seen(client.port, &client.domain);
        if now.is_some_and(|now| Some(now.serial) != before) {
            break start.elapsed();
        }
        let ended = process.ended().filter(|status| !status.success());
        assert!(
            ended.is_none() && start.elapsed() < DEADLINE,
            "{} {ended:?}: {}",
            client.name,
            process.output()
        );
        thread::sleep(LOOK_AGAIN);
    };
    if !client.stays {
        let status = process.wait();
        assert!(
            status.success(),
            "{} {status}: {}",
            client.name,
            process.output()
        );
    }
    live
}

fn report(clients: &[Client], took: Vec<Vec<Duration>>) {
    let mut rows: Vec<_> = clients
        .iter()
        .zip(took)
        .map(|(client, mut took)| {
            took.sort();
            (client, took[took.len() / 2], took[0], took[took.len() - 1])
        })
        .collect();
    rows.sort_by_key(|(_, median, ..)| *median);
    let fastest_peer = rows
        .iter()
        .find(|(client, ..)| !client.ours)
        .map(|(_, median, ..)| median.as_secs_f64());
    println!("\n| client | median s | lowest | highest | of the fastest peer's |");
    println!("|---|---|---|---|---|");
    for (client, median, lowest, highest) in rows {
        let [median, lowest, highest] = [median, lowest, highest].map(|took| took.as_secs_f64());
        let share = fastest_peer.map_or_else(String::new, |peer| format!("{:.2}", median / peer));
        println!(
            "| {} | {median:.3} | {lowest:.3} | {highest:.3} | {share} |",
            client.name
        );
    }
}
