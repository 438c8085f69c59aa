//! nginx as seen from beside it: how its configuration is read, and what stands in the way of validation.

pub mod configuration;
pub mod glob;
pub mod syntax;
pub mod verdict;

mod tokens;
mod word;
