//! A listening socket in the runtime of whoever accepts from it: the next connection, and how newcomers are sent elsewhere.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};

use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::listener::{Acceptor, AcceptorSocket, Listener};
use super::stream::Stream;

/// A listening socket in the runtime.
#[derive(Debug)]
pub(crate) struct Listening {
    socket: ListeningSocket,
    pub(super) port: Option<u16>,
    pub(super) proxy_protocol: bool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    pub(super) fn new(acceptor: Acceptor) -> io::Result<Self> {
        let (socket, port) = match acceptor.socket {
            AcceptorSocket::Tcp(socket) => {
                let port = socket.local_addr()?.port();
                let socket = TcpListener::from_std(socket)?;
                (ListeningSocket::Tcp(socket), Some(port))
            }
            AcceptorSocket::Unix(socket) => {
                let socket = UnixListener::from_std(socket)?;
                (ListeningSocket::Unix(socket), None)
            }
        };
        Ok(Self {
            socket,
            port,
            proxy_protocol: acceptor.proxy_protocol,
        })
    }

    /// A socket that one task alone accepts from.
    pub(crate) fn alone(listener: Listener) -> io::Result<Self> {
        let mut acceptors = listener.split(1)?;
        acceptors
            .pop()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(Self::new)
    }

    /// The next connection.
    pub(crate) async fn accept(
        &self,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static + use<>> {
        let (stream, _) = poll_fn(|cx| self.poll_accept(cx)).await?;
        Ok(stream)
    }

    /// Lets no further handshake begin here, so that it begins at another socket of the same port; what has begun goes on.
    ///
    /// Without this, connections that the kernel has given to this socket but nobody has accepted would be reset when it closes. A client
    /// whose first packet is dropped sends it again, and by then this socket is gone (classic BPF: drop what has SYN set).
    pub(super) fn refuse_newcomers(&self) {
        const FILTER: [SockFilter; 4] = [
            SockFilter::new(0x30, 0, 0, 13), // the byte with TCP's flags
            SockFilter::new(0x45, 0, 1, 2),  // is SYN set?
            SockFilter::new(0x06, 0, 0, 0),  // then drop
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        if let ListeningSocket::Tcp(socket) = &self.socket
            && let Err(error) = SockRef::from(socket).attach_filter(&FILTER)
        {
            tracing::warn!(%error, "connections may be lost in the hand-over: newcomers can't be sent away");
        }
    }

    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Option<IpAddr>)>> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| {
                // Small answers are never worth waiting for.
                let _gone_already = stream.set_nodelay(true);
                (Stream::Tcp(stream), Some(peer.ip()))
            }),
            ListeningSocket::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), None)),
        }
    }
}
