//! The admin socket: how a command reaches a running sidecar. Its file's mode is what guards it.

pub mod account;
pub mod caller;
pub mod client;
pub mod predecessor;
pub mod protocol;
pub mod server;
