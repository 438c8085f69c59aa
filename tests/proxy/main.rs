//! The data path from outside: raw bytes in, raw bytes out.

// The doubles are test code too, though no `#[test]`.
#![allow(clippy::unwrap_used)]

mod accounts;
mod bodies;
mod challenge;
mod changes;
mod exhaustion;
mod faults;
mod forwarding;
mod framing;
mod hops;
mod introductions;
mod lifecycle;
mod limits;
mod metrics;
mod smuggling;
mod support;
mod tunnels;
mod upstreams;
