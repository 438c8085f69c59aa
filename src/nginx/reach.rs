//! How we come to nginx: a new connection to one of its listeners, with a PROXY protocol header where it wants one, and
//! TLS that takes any certificate, as a CA's validation does.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::Address;
use crate::tls;

/// A connection, of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A new connection, ready for HTTP or TLS.
pub(super) async fn connect(
    address: &Address,
    proxy_protocol: bool,
) -> io::Result<Box<dyn Stream>> {
    let mut stream: Box<dyn Stream> = match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    if proxy_protocol {
        stream.write_all(b"PROXY UNKNOWN\r\n").await?;
    }
    Ok(stream)
}

/// TLS over a connection, whatever certificate is shown. `host` is a name or an IP address, without brackets.
pub(super) async fn shake_hands(
    stream: Box<dyn Stream>,
    host: &str,
) -> io::Result<TlsStream<Box<dyn Stream>>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let client = tls::unchecked_client().map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(client.with_no_client_auth()));
    connector.connect(name, stream).await
}
