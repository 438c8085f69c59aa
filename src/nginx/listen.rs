//! The addresses at which nginx listens: the `listen` directive, parsed (`ngx_parse_url`). Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::syntax::Directive;

/// An address of a `listen`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port; unspecified (`0.0.0.0`, `[::]`) where nginx listens on all.
    Ip(SocketAddr),
    /// A name that nginx resolves when it starts.
    Name {
        /// The name.
        host: String,
        /// 80 unless given.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Every address on port 80 that IPv4 has: where a server without `listen` listens (if nginx is started by root).
    pub const DEFAULT: Self = Self::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80));

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Name { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Where to connect from the same machine: loopback, where nginx listens on all addresses.
    pub fn from_here(&self) -> Self {
        let Self::Ip(address) = self else {
            return self.clone();
        };
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self::Ip(SocketAddr::new(ip, address.port()))
    }
}

/// As nginx writes it in its own messages.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address of one `listen`, with what the directive says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// `ssl`.
    pub tls: bool,
    /// `default_server`, or `default` as it was once called.
    pub default_server: bool,
    /// `proxy_protocol`: every connection must begin with a PROXY line.
    pub proxy_protocol: bool,
    /// `http2`. Before nginx 1.25.1 a plain listener then speaks nothing else.
    pub http2: bool,
    /// `quic`: UDP, so nothing of the other listeners is shared.
    pub quic: bool,
}

impl Listen {
    /// What a server without a `listen` has.
    pub const DEFAULT: Self = Self {
        address: Address::DEFAULT,
        tls: false,
        default_server: false,
        proxy_protocol: false,
        http2: false,
        quic: false,
    };

    /// What one directive says: several for a range of ports, none if nginx would refuse it.
    pub fn of(directive: &Directive) -> Vec<Self> {
        let says = |parameter: &str| {
            directive
                .arguments()
                .iter()
                .skip(1)
                .any(|w| *w == parameter)
        };
        let with = |address| Self {
            address,
            tls: says("ssl"),
            default_server: says("default_server") || says("default"),
            proxy_protocol: says("proxy_protocol"),
            http2: says("http2"),
            quic: says("quic"),
        };
        if let Some(path) = directive.argument().strip_prefix("unix:") {
            return vec![with(Address::Unix(path.into()))];
        }
        let written = directive.argument();
        let Some((host, ports)) = host_and_ports(&written) else {
            return Vec::new();
        };
        ports.map(|port| with(address(host, port))).collect()
    }
}

/// `host:port`, `port`, or `host`; a port may be a range.
fn host_and_ports(written: &str) -> Option<(&str, std::ops::RangeInclusive<u16>)> {
    let (host, port) = if written.starts_with('[') {
        let (host, rest) = written.split_at(written.find(']')? + 1);
        (host, rest.strip_prefix(':'))
    } else {
        match written.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None if ports(written).is_some() => ("*", Some(written)),
            None => (written, None),
        }
    };
    let ports = match port {
        Some(port) => ports(port)?,
        None => 80..=80,
    };
    (!host.is_empty()).then_some((host, ports))
}

fn ports(written: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let port = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
    match written.split_once('-') {
        Some((first, last)) => Some(port(first)?..=port(last)?),
        None => port(written).map(|port| port..=port),
    }
}

fn address(host: &str, port: u16) -> Address {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match (host, bare.parse::<IpAddr>()) {
        ("*", _) => Address::Ip((Ipv4Addr::UNSPECIFIED, port).into()),
        // The one name whose address needs no resolver.
        ("localhost", _) => Address::Ip((Ipv4Addr::LOCALHOST, port).into()),
        (_, Ok(ip)) => Address::Ip((ip, port).into()),
        (_, Err(_)) => Address::Name {
            host: host.to_ascii_lowercase(),
            port,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::syntax::parse;
    use super::*;

    fn listens(arguments: &str) -> Vec<Listen> {
        let line = format!("listen {arguments};");
        Listen::of(&parse(line.as_bytes(), &Path::new("x").into()).unwrap()[0])
    }

    #[test]
    fn reads_every_form_of_address() {
        for (written, address, from_here) in [
            ("80", "0.0.0.0:80", "127.0.0.1:80"),
            ("*:8080", "0.0.0.0:8080", "127.0.0.1:8080"),
            ("0.0.0.0", "0.0.0.0:80", "127.0.0.1:80"),
            ("192.0.2.1", "192.0.2.1:80", "192.0.2.1:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::]:80", "[::]:80", "[::1]:80"),
            ("[2001:db8::1]", "[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("localhost:81", "127.0.0.1:81", "127.0.0.1:81"),
            ("Example.com:81", "example.com:81", "example.com:81"),
            ("unix:/run/n.sock", "unix:/run/n.sock", "unix:/run/n.sock"),
        ] {
            let listens = listens(written);
            assert_eq!(listens.len(), 1, "{written}");
            assert_eq!(listens[0].address.to_string(), address);
            assert_eq!(listens[0].address.from_here().to_string(), from_here);
        }
        assert_eq!(Address::DEFAULT.to_string(), "0.0.0.0:80");
    }

    #[test]
    fn a_range_of_ports_is_as_many_listeners() {
        let ports: Vec<_> = listens("127.0.0.1:8000-8002")
            .iter()
            .filter_map(|listen| listen.address.port())
            .collect();
        assert_eq!(ports, [8000, 8001, 8002]);
        assert_eq!(listens("90-91").len(), 2);
    }

    #[test]
    fn what_nginx_refuses_is_no_listener() {
        for written in ["", "a:0", "a:x", ":80", "[::1"] {
            assert!(listens(written).is_empty(), "{written}");
        }
    }

    #[test]
    fn reads_what_is_said_of_the_address() {
        let listen = &listens("443 ssl http2 proxy_protocol default_server backlog=5")[0];
        assert!(listen.tls && listen.http2 && listen.proxy_protocol && listen.default_server);
        assert!(!listen.quic);
        assert!(listens("443 quic reuseport")[0].quic);
        assert!(listens("80 default")[0].default_server);
    }
}
