//! Certificates and the keys that belong to them. Pure: no file, no clock, no network; the time comes as an argument.

mod chain;
mod jose;
mod key;
mod placeholder;

pub use chain::{Chain, ChainError};
pub use key::{KeyError, KeyKind, PrivateKey, UnknownKeyKind};
pub use placeholder::{PLACEHOLDER_ORGANISATION, placeholder};
