//! Where an app is reached: the address in its `upstream`, parsed.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use crate::identifier::DnsName;

/// The address of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// `http://host:port`, or `https://host:port` where `tls` is set.
    Tcp {
        /// An address, or a name that is resolved when it is needed.
        host: UpstreamHost,
        /// 80 and 443 unless given.
        port: u16,
        /// Whether TLS is spoken to it.
        tls: bool,
    },
    /// `unix:/path/to/socket`, plain HTTP.
    Unix(PathBuf),
}

/// The host in an upstream's URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamHost {
    /// Needs no resolver.
    Ip(IpAddr),
    /// Resolved when needed, and again when the answer has aged.
    Name(String),
}

/// Why an upstream was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is not an upstream ({reason}): write \"http://127.0.0.1:5000\", \"https://app.internal:8443\" or \"unix:/run/app.sock\""
)]
pub struct UpstreamError {
    given: String,
    reason: &'static str,
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(given: &str) -> Result<Self, UpstreamError> {
        let refuse = |reason| {
            Err(UpstreamError {
                given: given.to_owned(),
                reason,
            })
        };
        // Upstreams are also written into doors, so what nginx would read as syntax is no path.
        if given
            .bytes()
            .any(|b| b.is_ascii_control() || b.is_ascii_whitespace() || b"\"'\\;{}$#".contains(&b))
        {
            return refuse("white space, quotes, and the characters ; { } $ # can't stand in it");
        }
        if let Some(path) = given.strip_prefix("unix:") {
            return match path.starts_with('/') && !path.contains(':') {
                true => Ok(Self::Unix(path.into())),
                false => refuse("the socket's path has to be absolute and without a colon"),
            };
        }
        let (tls, rest) = match given.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return refuse("it has to begin with http://, https:// or unix:"),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '@']) {
            return refuse("a path, a query or a user can't stand in it");
        }
        let Ok(authority) = authority.parse::<http::uri::Authority>() else {
            return refuse("there is no host and port in it");
        };
        let bare = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => UpstreamHost::Ip(address),
            Err(_) if is_host_name(bare) => UpstreamHost::Name(bare.to_ascii_lowercase()),
            Err(_) => return refuse("its host is neither an address nor a name"),
        };
        let port = match (authority.as_str().strip_prefix(authority.host()), tls) {
            (Some(""), true) => 443,
            (Some(""), false) => 80,
            (rest, _) => match rest
                .and_then(|rest| rest.strip_prefix(':'))
                .map(str::parse::<NonZeroU16>)
            {
                Some(Ok(port)) => port.get(),
                _ => return refuse("what follows the host is no port"),
            },
        };
        Ok(Self::Tcp { host, port, tls })
    }
}

/// A domain name, or a container's name such as `web_1`, which DNS servers of container engines resolve.
fn is_host_name(host: &str) -> bool {
    host.replace('_', "-")
        .parse::<DnsName>()
        .is_ok_and(|name| !name.is_wildcard())
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                match host {
                    UpstreamHost::Ip(IpAddr::V6(address)) => {
                        write!(f, "{scheme}://[{address}]:{port}")
                    }
                    UpstreamHost::Ip(address) => write!(f, "{scheme}://{address}:{port}"),
                    UpstreamHost::Name(name) => write!(f, "{scheme}://{name}:{port}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_names_and_sockets() {
        for (given, shown) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("http://App.internal", "http://app.internal:80"),
            ("https://app.internal", "https://app.internal:443"),
            ("http://web_1:3000", "http://web_1:3000"),
            ("unix:/run/shop.sock", "unix:/run/shop.sock"),
        ] {
            assert_eq!(given.parse::<Upstream>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_upstream() {
        for given in [
            "",
            "127.0.0.1:5000",
            "ftp://a",
            "http://",
            "http://a:",
            "http://a:0",
            "http://a:99999",
            "http://a/b",
            "http://u@a",
            "http://a b",
            "http://a;b",
            "http://*.a",
            "unix:run/x",
            "unix:",
            "unix:/a;b",
            "unix:/a\n",
            "unix:/a:/b",
            "http://${x}",
        ] {
            assert!(
                given.parse::<Upstream>().is_err(),
                "{given:?} was taken for an upstream"
            );
        }
    }
}
