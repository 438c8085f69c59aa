//! sidedoor: a small gate beside nginx's main gate.

pub mod address;
pub mod challenge;
pub mod config;
pub mod identifier;
pub mod nginx;
pub mod proxy;
pub mod upstream;
