//! How sidedoor fares with many certificates. `cargo bench --bench scale [-- PART…]`; benches/README.md keeps the figures.
//!
//! - `idle`: `renew` with nothing due over 10,000 certificates, beside `certbot renew` over 1,000, alternating.
//! - `first`: 100 first certificates for 100 hosts, from the command's start to its end, and how often nginx was reloaded.
//! - `due`: 1,000 virtual hosts over TLS in one nginx, 50 of them due.
// A bench that can't be set up has nobody to return an error to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod hosts;
mod idle;

/// Each part, by its name.
const PARTS: [(&str, fn()); 3] = [
    ("idle", idle::run),
    ("first", hosts::first),
    ("due", hosts::due),
];

fn main() {
    // Cargo itself passes --bench.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("# {name}");
            part();
        }
    }
}
