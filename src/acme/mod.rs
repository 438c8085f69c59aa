//! The ACME protocol (RFC 8555): accounts, orders, and the transport they use. The only code that names instant-acme;
//! it touches no file and knows neither nginx nor the configuration.
//!
//! - [`Ca`]: one directory, and the connection, nonces and trust anchors that its accounts share; renewal information too
//! - [`Account`]: registered once, restored from [`Credentials`], then used by every order
//! - [`Order`]: placed, prepared, validated, finalised, downloaded; each step can be taken up again by the order's URL
//! - [`Presenter`]: whoever shows the CA what it wants to see, and notices its visits
//!
//! Below them: `call` repeats what a refused nonce spoilt and says what a failure comes down to; `client` is the HTTP client that
//! instant-acme is given, `signed` is for what that has no words for; `transport` and `connect` are HTTP and TLS with a limit on everything; `pace` says when to ask again.

mod account;
mod account_key;
mod ca;
mod call;
mod client;
mod connect;
#[cfg(test)]
pub(crate) mod fake_ca;
#[cfg(test)]
mod faults;
mod order;
mod pace;
mod problem;
mod proof;
mod renewal;
mod signed;
mod transport;
mod upkeep;

pub use account::{Account, AccountError, Credentials, Eab, Registration};
pub use account_key::AccountKeyError;
pub use ca::{Ca, Directory};
pub use call::CallError;
pub use connect::CaError;
pub use order::{Failure, Order, OrderError, OrderOptions, OrderStatus};
pub use problem::{Problem, ProblemPart};
pub use proof::{ChallengeKind, Pending, Presenter, UnknownChallenge};
pub use renewal::RenewalInfo;
pub use transport::{Limits, TransportError};
pub use upkeep::{AccountState, RevocationReason, UnknownReason};
