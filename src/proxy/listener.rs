//! A bound socket, taken before any thread starts, that becomes one listening socket per worker thread.
//!
//! Each worker has a socket of its own in one `SO_REUSEPORT` group, so that the kernel spreads connections over them. The group is closed
//! to strangers: the first socket binds WITHOUT the option, which fails if anybody else listens there, and takes the option on afterwards.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use crate::address::Address;
use crate::files;

/// The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// A socket that is bound and listens.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    proxy_protocol: bool,
}

/// Who else may listen on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    WithNobody,
    WithOurUser,
}

impl Listener {
    /// Binds. Blocking, so before any runtime starts.
    ///
    /// Port 0 takes a free port, one for all worker threads. A unix socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if anybody listens there, another sidedoor included; otherwise whatever the kernel says.
    pub fn bind(address: &Address) -> io::Result<Self> {
        Self::listen(address, Sharing::WithNobody)
    }

    /// Binds beside another process of the same user that listens on the same TCP port, so as to take over from it while it drains.
    /// A unix socket is put in the place of the other's, which keeps those who have connected already.
    ///
    /// # Errors
    /// Whatever the kernel says; `AddrInUse` also if the other process has not opened its port to others.
    pub fn bind_beside(address: &Address) -> io::Result<Self> {
        Self::listen(address, Sharing::WithOurUser)
    }

    /// A socket that somebody else has bound and set to listen, such as systemd.
    ///
    /// # Errors
    /// If its address can't be told, or is of no kind that we serve.
    pub fn inherited(socket: std::os::fd::OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        // It is nothing for nginx or a hook that we start.
        socket.set_cloexec(true)?;
        let local = socket.local_addr()?;
        let address = match (local.as_socket(), local.as_pathname()) {
            (Some(address), _) => Address::Tcp(address),
            (None, Some(path)) => Address::Unix(path.to_owned()),
            (None, None) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the socket that was handed over is neither TCP nor a unix socket with a path",
                ));
            }
        };
        Ok(Self {
            socket,
            address,
            proxy_protocol: false,
        })
    }

    /// Asks every client to begin with a PROXY protocol header (version 1 or 2), which is believed. Only for listeners that nobody but a
    /// load balancer can reach.
    #[must_use]
    pub fn with_proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn listen(address: &Address, sharing: Sharing) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let socket = tcp(*address, sharing)?;
                let bound = socket.local_addr()?.as_socket().unwrap_or(*address);
                Ok(Self {
                    socket,
                    address: Address::Tcp(bound),
                    proxy_protocol: false,
                })
            }
            Address::Unix(path) => Ok(Self {
                socket: match sharing {
                    Sharing::WithNobody => unix(path)?,
                    Sharing::WithOurUser => unix_instead(path)?,
                },
                address: address.clone(),
                proxy_protocol: false,
            }),
        }
    }

    /// One socket for each of `threads` workers, ready for a runtime.
    pub(super) fn split(self, threads: usize) -> io::Result<Vec<Acceptor>> {
        let mut sockets = Vec::with_capacity(threads);
        for _ in 1..threads {
            sockets.push(match self.address {
                // A socket that was handed over may not share its port; then all threads accept from the one.
                Address::Tcp(address) if self.socket.reuse_port()? => {
                    tcp(address, Sharing::WithOurUser)?
                }
                _ => self.socket.try_clone()?,
            });
        }
        sockets.push(self.socket);
        let is_tcp = matches!(self.address, Address::Tcp(_));
        let proxy_protocol = self.proxy_protocol;
        sockets
            .into_iter()
            .map(|socket| {
                socket.set_nonblocking(true)?;
                Ok(Acceptor {
                    socket: match is_tcp {
                        true => AcceptorSocket::Tcp(socket.into()),
                        false => AcceptorSocket::Unix(socket.into()),
                    },
                    proxy_protocol,
                })
            })
            .collect()
    }
}

/// One worker's listening socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) socket: AcceptorSocket,
    /// Whether clients begin with a PROXY protocol header.
    pub(super) proxy_protocol: bool,
}

#[derive(Debug)]
pub(super) enum AcceptorSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

fn tcp(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // So that a restart needn't wait for TIME_WAIT to end.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Whoever wants both families lists both addresses.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(sharing == Sharing::WithOurUser)?;
    socket.bind(&address.into())?;
    // SO_REUSEADDR lets two processes bind, but only one listen: this is where AddrInUse comes from at the latest.
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn unix(path: &Path) -> io::Result<Socket> {
    let address = socket2::SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                // Whoever listened has gone and left its file.
                Err(refused)
                    if refused.kind() == io::ErrorKind::ConnectionRefused
                        && std::fs::symlink_metadata(path)?.file_type().is_socket() =>
                {
                    std::fs::remove_file(path)?;
                    socket.bind(&address)?;
                }
                _ => return Err(error),
            }
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Bound under another name first: at no moment is there nobody at this one.
fn unix_instead(path: &Path) -> io::Result<Socket> {
    let unfinished = files::temporary(path);
    files::discard(&unfinished)?;
    let socket = unix(&unfinished)?;
    std::fs::rename(&unfinished, path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> Address {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn port_zero_becomes_one_port_for_all_threads() {
        let listener = Listener::bind(&any_port()).unwrap();
        let address = listener.address().clone();
        assert_ne!(address, any_port());
        for acceptor in listener.split(3).unwrap() {
            let AcceptorSocket::Tcp(socket) = acceptor.socket else {
                panic!("not TCP");
            };
            assert_eq!(Address::Tcp(socket.local_addr().unwrap()), address);
        }
    }

    #[test]
    fn a_port_somebody_listens_on_is_in_use() {
        let first = Listener::bind(&any_port()).unwrap();
        let address = first.address().clone();
        let _threads = first.split(2).unwrap();
        let error = Listener::bind(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_is_shared_where_both_sides_want_it() {
        let first = Listener::bind(&any_port()).unwrap();
        Listener::bind_beside(first.address()).unwrap();
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("http.sock"));
        let first = Listener::bind(&address).unwrap();
        let error = Listener::bind(&address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        Listener::bind(&address).unwrap();
    }

    #[test]
    fn a_unix_socket_is_put_in_the_place_of_another_and_nobody_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let address = Address::Unix(path.clone());
        let old = Listener::bind(&address).unwrap();
        let _early = UnixStream::connect(&path).unwrap();
        let new = Listener::bind_beside(&address).unwrap();
        let _late = UnixStream::connect(&path).unwrap();
        assert_eq!(*new.address(), address);
        for listener in [old, new] {
            listener.socket.set_nonblocking(true).unwrap();
            listener.socket.accept().unwrap();
            let nobody_else = listener.socket.accept().unwrap_err();
            assert_eq!(nobody_else.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(Listener::bind(&Address::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
