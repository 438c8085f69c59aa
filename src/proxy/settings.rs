//! What a gate allows and whom it believes. The defaults are safe to run with.

use std::sync::Arc;

use super::access_log::AccessLog;
use crate::limits::Limits;
use crate::network::Network;

/// How a gate behaves towards everybody.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much of everything is allowed, and for how long.
    pub limits: Limits,
    /// Peers whose `X-Forwarded-*` and `Forwarded` are believed and added to. Peers on a unix socket always are.
    pub trusted_proxies: Vec<Network>,
    /// Whether `Forwarded` (RFC 7239) is written to upstreams. One that a trusted peer sent is added to in any case.
    pub forwarded: bool,
    /// Where a line per request goes; nowhere unless given.
    pub access_log: Option<Arc<AccessLog>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            trusted_proxies: Network::LOOPBACK.to_vec(),
            forwarded: false,
            access_log: None,
        }
    }
}

impl Settings {
    /// Whether this address may say whom it speaks for.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(address))
    }
}
