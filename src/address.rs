//! Where one of our own sockets listens: an address and port, or a unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `127.0.0.1:8888` or `[::1]:8888`.
    Tcp(SocketAddr),
    /// `unix:/run/sidedoor/http.sock`.
    Unix(PathBuf),
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not an address to listen on: write \"127.0.0.1:8888\", \"[::1]:8888\" or \"unix:/run/sidedoor/http.sock\""
)]
pub struct AddressError {
    given: String,
}

impl Address {
    /// The address by which nginx on the same machine reaches it: "any address" becomes the loopback one.
    pub fn reachable(&self) -> Self {
        match self {
            Self::Tcp(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                    ip => ip,
                };
                Self::Tcp((ip, address.port()).into())
            }
            unix => unix.clone(),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Self, AddressError> {
        let refuse = || AddressError {
            given: given.chars().take(128).collect(),
        };
        match given.strip_prefix("unix:") {
            // The path is written into doors, so what nginx would read as syntax is no path.
            Some(path) => match path.starts_with('/') && path.bytes().all(is_plain) {
                true => Ok(Self::Unix(path.into())),
                false => Err(refuse()),
            },
            None => given.parse().map(Self::Tcp).map_err(|_| refuse()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(given: String) -> Result<Self, AddressError> {
        given.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+@=,~".contains(&byte)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_sockets() {
        for text in [
            "127.0.0.1:8888",
            "[::1]:8888",
            "unix:/run/sidedoor/http.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "8888",
            "localhost:8888",
            "127.0.0.1",
            "unix:",
            "unix:x",
            "unix:/a;b",
            "unix:/a b",
            "unix:/a\n",
            "unix:/a:b",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nginx_reaches_any_address_by_the_loopback() {
        for (listen, reach) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("unix:/a", "unix:/a"),
        ] {
            assert_eq!(
                listen.parse::<Address>().unwrap().reachable().to_string(),
                reach
            );
        }
    }
}
