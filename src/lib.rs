//! sidedoor: a small gate beside nginx's main gate.

pub mod acme;
pub mod address;
pub mod certificate;
pub mod challenge;
pub mod command;
pub mod config;
pub mod files;
pub mod identifier;
pub mod lock;
pub mod nginx;
pub mod proxy;
pub mod store;
pub mod upstream;
