//! Numbers that keep things apart: enough to spread attempts and to tell probes from one another, not to keep a secret.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Any number.
pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Any number of twice the size.
pub fn wide_number() -> u128 {
    u128::from(number()) << 64 | u128::from(number())
}
