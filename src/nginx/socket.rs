//! The sockets nginx listens on, and which of the servers behind one answers a host.

use std::collections::HashMap;
use std::path::Path;

use super::configuration::Configuration;
use super::listen::{Address, Listen};
use super::server_name::{Choice, ServerName, choose};
use super::site::Server;

/// A socket nginx listens on, with the servers behind it.
#[derive(Debug, Clone)]
pub struct Socket<'a> {
    /// Its address, and what any of its servers says of it: nginx joins their parameters.
    pub listen: Listen,
    servers: Vec<(Server<'a>, Vec<ServerName>)>,
    default: Server<'a>,
}

impl<'a> Socket<'a> {
    fn new(server: Server<'a>, listen: Listen) -> Self {
        Self {
            listen,
            servers: vec![(server, server.names())],
            default: server,
        }
    }

    fn join(&mut self, server: Server<'a>, listen: Listen) {
        self.listen.tls |= listen.tls;
        self.listen.http2 |= listen.http2;
        self.listen.proxy_protocol |= listen.proxy_protocol;
        if listen.default_server {
            self.listen.default_server = true;
            self.default = server;
        }
        self.servers.push((server, server.names()));
    }

    /// Its servers in nginx's order.
    pub fn servers(&self) -> impl Iterator<Item = Server<'a>> {
        self.servers.iter().map(|(server, _)| *server)
    }

    /// The server that answers hosts which none names.
    pub fn default(&self) -> Server<'a> {
        self.default
    }

    /// The server that nginx chooses for a host (lower case, no port).
    pub fn chosen(&self, host: &str) -> Choice<Server<'a>> {
        let servers = self.servers.iter().map(|(s, names)| (*s, names.as_slice()));
        choose(servers, self.default, host)
    }
}

impl Configuration {
    /// The TCP and unix sockets on which HTTP servers listen, each with all of its servers, in nginx's order.
    pub fn sockets(&self) -> Vec<Socket<'_>> {
        let mut sockets: Vec<Socket<'_>> = Vec::new();
        let mut known: HashMap<Address, usize> = HashMap::new();
        for server in self.servers() {
            for listen in server.listens().into_iter().filter(|listen| !listen.quic) {
                match known.get(&listen.address) {
                    Some(at) => sockets[*at].join(server, listen),
                    None => {
                        known.insert(listen.address.clone(), sockets.len());
                        sockets.push(Socket::new(server, listen));
                    }
                }
            }
        }
        sockets
    }

    /// The sockets at which a request reaches a server that includes the door of this directory: where a probe must knock.
    pub fn sockets_of_door(&self, include_dir: &Path) -> Vec<Socket<'_>> {
        let mut sockets = self.sockets();
        sockets.retain(|socket| {
            let mut servers = socket.servers.iter();
            servers.any(|(server, _)| server.includes(include_dir).is_some())
        });
        sockets
    }
}
