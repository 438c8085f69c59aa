//! The data path: what comes through a door. Knows nothing of ACME beyond the token map.

pub mod challenges;
