//! What the crate believes of nginx's configuration, held against the real nginx. Fails where nginx is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod choosing;
mod detours;
mod door;
mod obstacles;
mod private_nginx;
mod reading;
