//! The ACME protocol (RFC 8555): accounts, orders, and the transport they use. The only code that names instant-acme;
//! it touches no file and knows neither nginx nor the configuration.

mod account;
mod ca;
mod call;
mod client;
mod connect;
#[cfg(test)]
mod fake_ca;
mod order;
mod pace;
mod problem;
mod renewal;
mod transport;
mod upkeep;

pub use account::{Account, AccountError, Credentials, Eab, Registration};
pub use ca::{Ca, Directory};
pub use call::CallError;
pub use connect::CaError;
pub use order::{Failure, Order, OrderError, OrderOptions, OrderStatus, Pending, Presenter};
pub use problem::{Problem, ProblemPart};
pub use renewal::RenewalInfo;
pub use transport::{Limits, TransportError};
pub use upkeep::{RevocationReason, UnknownReason};
