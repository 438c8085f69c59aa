//! Why the parts don't run, and what to do about it.

use std::io;

use crate::address::Address;
use crate::serving::ServingError;
use crate::store::StoreError;

/// Why the parts don't run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory is not to be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address is not to be had.
    #[error("{address} can't be listened on: {source}")]
    Bind {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody has handed us a socket that we know no use for.
    #[error(
        "{address} was handed over by whoever started sidedoor, but stands neither in `listen` nor in `metrics`"
    )]
    Unclaimed {
        /// Where it listens.
        address: Address,
    },
    /// Threads or sockets are not to be had.
    #[error("the proxy can't be started: {0}")]
    Proxy(io::Error),
    /// The data path can't be as the configuration wants it.
    #[error(transparent)]
    Serving(#[from] ServingError),
}

impl StartError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::Store(error) => error.next_step(),
            Self::Bind { source, address } if source.kind() == io::ErrorKind::AddrInUse => {
                format!("find what listens on {address} with `ss -ltnp`, stop it, or choose another address for `listen`")
            }
            Self::Bind { .. } => "choose another address for `listen`, or let the user who runs sidedoor use this one".into(),
            Self::Unclaimed { address } => format!("add {address} to `listen`, or take it out of the socket unit"),
            Self::Serving(error) => error.next_step(),
            Self::Proxy(_) => "see that the system has threads and file descriptors left".into(),
        }
    }
}
