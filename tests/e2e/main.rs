//! sidedoor end to end, on a real nginx and a real Pebble. One binary for all of it, so that linking is paid once.
// Nothing here but tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod archive;
mod authority;
mod crash;
mod damage;
mod delete;
mod doors;
mod doubles;
mod due;
mod full;
mod hooks;
mod import;
mod installed;
mod issue;
mod metrics;
mod names;
mod operators;
mod quirks;
mod refusals;
mod rehearsal;
mod revoke;
mod rollback;
mod several;
mod shop;
mod sidecar;
mod state;
mod stopped;
mod succession;
mod suggestions;
mod supervised;
mod users;
mod workers;
