//! `resolver`: whom to ask whether a name resolves yet.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::reader::Section;

/// Whom to ask whether a name resolves yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolver {
    /// The name servers of the system.
    System,
    /// These name servers, one after the other; nobody, if there is none.
    Servers(Vec<SocketAddr>),
}

/// A name server: an address, with a port unless it is 53.
struct Server(SocketAddr);

impl FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = || text.parse::<IpAddr>().map(|ip| (ip, 53).into());
        text.parse()
            .or_else(|_| plain())
            .map(Self)
            .map_err(|_| "an address such as \"127.0.0.1:53\" is expected here")
    }
}

impl Resolver {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        match root.list::<Server>("resolver") {
            Some(servers) => Self::Servers(servers.into_iter().map(|server| server.0).collect()),
            None => Self::System,
        }
    }
}
