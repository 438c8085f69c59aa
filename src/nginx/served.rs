//! Which certificate nginx really serves for a name: asked by a TLS handshake, as any visitor would.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::reach;
use super::settled::{Patience, Question, settle};
use crate::address::Address;
use crate::identifier::Identifier;

/// A TLS server of nginx's, and the name to ask it for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsServer {
    /// An address on which it listens.
    pub address: Address,
    /// Whether that listener wants a PROXY protocol header first.
    pub proxy_protocol: bool,
    /// The name to ask for.
    pub name: Identifier,
}

/// What came of asking for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// The one that was expected.
    Expected,
    /// Another one, in DER.
    Other(Vec<u8>),
    /// None: something listens, but no handshake came about.
    Failed(String),
    /// Nobody can be asked: nothing listens there, as seen from here.
    Unreachable(String),
}

/// The question whether a server serves a certificate.
struct Leaf<'a> {
    server: &'a TlsServer,
    leaf: &'a [u8],
}

impl Question for Leaf<'_> {
    type Other = Served;

    async fn ask(&self) -> Result<(), Served> {
        match ask(self.server).await {
            Ok(der) if der == self.leaf => Ok(()),
            Ok(der) => Err(Served::Other(der)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Err(Served::Unreachable(error.to_string()))
            }
            Err(error) => Err(Served::Failed(error.to_string())),
        }
    }

    fn no_answer(&self, limit: Duration) -> Served {
        Served::Failed(format!("no handshake within {} s", limit.as_secs()))
    }
}

/// Asks until the expected certificate is served for good, or the time is over; the last answer counts.
pub async fn wait_for(server: &TlsServer, leaf: &[u8], patience: Patience) -> Served {
    match settle(&Leaf { server, leaf }, patience).await {
        Ok(_) => Served::Expected,
        Err(other) => other,
    }
}

/// The certificate that is served now, in DER.
async fn ask(server: &TlsServer) -> io::Result<Vec<u8>> {
    let stream = reach::connect(&server.address, server.proxy_protocol).await?;
    let host = match &server.name {
        Identifier::Ip(address) => address.to_string(),
        // A wildcard is served to whatever it covers.
        Identifier::Dns(name) => name.as_str().replace('*', "any"),
    };
    let mut tls = reach::shake_hands(stream, &host).await?;
    let leaf = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|leaf| leaf.to_vec());
    let _ = tls.shutdown().await;
    leaf.ok_or_else(|| io::Error::other("no certificate was sent"))
}

#[cfg(test)]
mod tests;
