//! nginx as seen from beside it: how its configuration is read, and what stands in the way of validation.

pub mod change;
pub mod configuration;
pub mod control;
pub mod door;
pub mod glob;
pub mod listen;
pub mod master;
pub mod obstacles;
pub mod probe;
pub mod served;
pub mod server_name;
pub mod settled;
pub mod site;
pub mod socket;
pub mod survey;
pub mod syntax;
pub mod verdict;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod loopback;
mod mention;
mod obstacle;
mod reach;
mod tokens;
mod visit;
mod way;
mod word;
