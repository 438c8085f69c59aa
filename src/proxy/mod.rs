//! The data path: what comes through a door. Knows nothing of ACME beyond the token map.
//!
//! A [`Gate`] holds what is decided (tokens, routes, settings), a [`Listener`] where clients arrive, and a [`Proxy`] the threads that
//! bring the two together. Each thread has a runtime of its own, and requests of different threads share nothing but the gate:
//!
//! - `server` starts the threads, `worker` is one of them: it ticks and drains, and `reception` accepts from a `listening` socket;
//! - `connection` serves one client with hyper's server half; `client` is what is known of it, `socket` its watched stream;
//! - `respond` answers challenges and what `check` refuses; `forward` passes the others on;
//! - `terms` are the settings a request is served under, and `places` how many may be served at once;
//! - `record` is what is remembered of a request for `meter` and `access_log`;
//! - `exchange` is one request on one upstream connection (`link`), of which `pool` keeps the resting ones and `peer` the addresses;
//! - `headers`, `request_head`, `answer_head` and `transfer` are HTTP/1.1 itself, and pure.

mod access_log;
pub mod answer_head;
pub mod challenges;
mod check;
mod client;
mod clock;
mod connection;
mod decimal;
mod exchange;
mod forward;
mod gate;
pub mod headers;
mod introduction;
mod link;
mod listener;
mod listening;
mod log_line;
mod meter;
mod peer;
mod places;
mod pool;
pub mod proxy_protocol;
mod reception;
mod record;
mod refusal;
mod reply;
pub mod request_head;
mod respond;
mod routes;
mod server;
mod settings;
mod socket;
mod stream;
mod terms;
pub mod transfer;
mod trust;
mod warm;
mod worker;

pub use crate::address::{Address, AddressError};
pub use crate::limits::Limits;
pub use crate::network::{Network, NetworkError};
pub use access_log::{AccessFormat, AccessLog};
pub use gate::Gate;
pub use listener::Listener;
pub(crate) use listening::Listening;
pub use routes::{Route, Routes};
pub use server::Proxy;
pub use settings::Settings;
pub use trust::Trust;
