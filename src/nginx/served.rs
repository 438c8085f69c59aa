//! Which certificate nginx really serves for a name: asked by a TLS handshake, as any visitor would.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

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
    match &server.address {
        Address::Tcp(address) => shake_hands(connect(*address).await?, server).await,
        Address::Unix(path) => shake_hands(UnixStream::connect(path).await?, server).await,
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    server: &TlsServer,
) -> io::Result<Vec<u8>> {
    if server.proxy_protocol {
        stream.write_all(b"PROXY UNKNOWN\r\n").await?;
    }
    let name = match &server.name {
        Identifier::Ip(address) => ServerName::from(*address),
        // A wildcard is served to whatever it covers.
        Identifier::Dns(name) => {
            ServerName::try_from(name.as_str().replace('*', "any")).map_err(io::Error::other)?
        }
    };
    let connector = TlsConnector::from(Arc::new(client_config()?));
    let mut tls = connector.connect(name, stream).await?;
    let leaf = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|leaf| leaf.to_vec());
    let _ = tls.shutdown().await;
    leaf.ok_or_else(|| io::Error::other("no certificate was sent"))
}

fn client_config() -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth())
}

/// Takes any certificate: it is only looked at, nothing is sent to whoever serves it.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            leaf,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
