//! The ACME side on a real Pebble: registration, orders, renewal of what is there, and what Pebble does to be difficult.

// A test that unwraps says where it broke; clippy only knows that of functions marked as tests.
#![allow(clippy::unwrap_used)]

mod accounts;
#[path = "../support/newer.rs"]
mod newer;
mod orders;
mod pebble;
mod renewals;
mod responder;
