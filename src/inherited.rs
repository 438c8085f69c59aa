//! Listening sockets that were open before we were: handed over by whoever starts us, such as systemd's socket activation (sd_listen_fds(3)).
//! Who keeps them open over a restart refuses nobody meanwhile.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use crate::address::Address;
use crate::proxy::Listener;

/// Sockets that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<Listener>,
}

impl Inherited {
    /// Takes those that the environment names (`LISTEN_FDS`, `LISTEN_PID`), and the names from the environment. Before any thread starts.
    ///
    /// # Errors
    /// If one of them is nothing that we could listen on.
    pub fn take() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for at in 0..handed.len() {
            let tcp = handed.take_tcp_listener(at);
            let socket = match tcp {
                Ok(socket) => socket.map(OwnedFd::from),
                Err(_) => handed.take_unix_listener(at)?.map(OwnedFd::from),
            };
            if let Some(socket) = socket {
                listeners.push(Listener::inherited(socket)?);
            }
        }
        Ok(Self { listeners })
    }

    /// The socket that listens there.
    pub fn take_at(&mut self, address: &Address) -> Option<Listener> {
        let at = self
            .listeners
            .iter()
            .position(|listener| listener.address() == address)?;
        Some(self.listeners.swap_remove(at))
    }

    /// One that nobody has asked for.
    pub fn unclaimed(&self) -> Option<&Address> {
        self.listeners.first().map(Listener::address)
    }
}
