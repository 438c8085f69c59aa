//! Where a listener waits: a TCP address or a unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:8888` or `[::1]:8888`; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:/run/sidedoor/http.sock`.
    Unix(PathBuf),
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no address to listen on: write \"127.0.0.1:8888\", \"[::1]:8888\" or \"unix:/run/sidedoor/http.sock\""
)]
pub struct AddressError {
    given: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(given: &str) -> Result<Self, AddressError> {
        let refused = || AddressError {
            given: given.to_owned(),
        };
        match given.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') && !path.contains('\0') => {
                Ok(Self::Unix(path.into()))
            }
            Some(_) => Err(refused()),
            None => given.parse().map(Self::Tcp).map_err(|_| refused()),
        }
    }
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
    fn reads_what_it_shows() {
        for given in ["127.0.0.1:8888", "[::1]:0", "unix:/run/x.sock"] {
            assert_eq!(given.parse::<Address>().unwrap().to_string(), given);
        }
    }

    #[test]
    fn refuses_names_relative_paths_and_missing_ports() {
        for given in [
            "",
            "localhost:80",
            "127.0.0.1",
            ":80",
            "unix:x.sock",
            "unix:",
            "/x",
        ] {
            assert!(given.parse::<Address>().is_err(), "{given:?}");
        }
    }
}
