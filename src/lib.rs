//! sidedoor: a small gate beside nginx's main gate.

pub mod challenge;
pub mod identifier;
pub mod proxy;
pub mod upstream;
