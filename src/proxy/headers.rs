//! Which header fields concern one hop only (RFC 9110 7.6). Pure.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The field by which a door names its app: one of nginx's servers may have names that the app doesn't know of. It is believed if the peer
/// is trusted, and never passed on.
pub const APP: &str = "x-sidedoor-app";

/// What all `Connection` lines of a message say (RFC 9110 7.6.1).
#[derive(Debug, Default)]
pub struct ConnectionOptions {
    named: Vec<HeaderName>,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    te: bool,
}

impl ConnectionOptions {
    /// The options in a message's header.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut this = Self::default();
        for value in headers.get_all(header::CONNECTION) {
            this.read(value);
        }
        this
    }

    /// Adds one line.
    pub fn read(&mut self, line: &HeaderValue) {
        for option in line.as_bytes().split(|b| *b == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if option.eq_ignore_ascii_case(b"te") {
                self.te = true;
            } else if let Ok(name) = HeaderName::from_bytes(option)
                && !is_kept_though_named(name.as_str())
            {
                self.named.push(name);
            }
        }
    }

    /// Whether the sender wants to end the connection.
    pub fn closes(&self) -> bool {
        self.close
    }

    /// Whether an HTTP/1.0 sender wants to keep the connection.
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.close
    }

    /// Whether the sender wants another protocol.
    pub fn upgrades(&self) -> bool {
        self.upgrade
    }

    /// Whether the sender's `TE` is meant for us.
    pub(super) fn names_te(&self) -> bool {
        self.te
    }

    /// Whether a field concerns this hop only because a `Connection` line names it.
    pub fn names(&self, name: &HeaderName) -> bool {
        // Mostly empty, and never long.
        !self.named.is_empty() && self.named.contains(name)
    }

    /// Removes the fields that are named.
    pub fn remove_named(&self, headers: &mut HeaderMap) {
        for name in &self.named {
            headers.remove(name);
        }
    }
}

/// Fields that a `Connection` line may not take away: they frame the message or tell where it comes from.
pub(super) fn is_kept_though_named(name: &str) -> bool {
    matches!(name, "host" | "content-length" | "forwarded" | "x-real-ip")
        || name.starts_with("x-forwarded-")
}

/// Whether a field concerns one hop only, whoever names it.
pub fn is_hop_by_hop(name: &str) -> bool {
    match name.as_bytes() {
        [b'c', ..] => name == "connection",
        [b'k', ..] => name == "keep-alive",
        [b't', ..] => matches!(name, "te" | "transfer-encoding"),
        [b'u', ..] => name == "upgrade",
        // `Proxy` is no field of HTTP, but turns into HTTP_PROXY in a CGI's environment (CVE-2016-5385).
        [b'p', ..] => name == "proxy" || name.starts_with("proxy-") && name != "proxy-status",
        _ => false,
    }
}

/// The fields that `Trailer` names (RFC 9110 6.6.2).
pub fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::TRAILER).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Keeps the trailers that were announced and that can't be taken for framing, routing or authentication (RFC 9110 6.5.1).
pub fn keep_trailers(trailers: &mut HeaderMap, announced: &[HeaderName]) {
    let unwanted: Vec<_> = trailers
        .keys()
        .filter(|name| !announced.contains(name) || is_no_trailer(name.as_str()))
        .cloned()
        .collect();
    for name in unwanted {
        trailers.remove(name);
    }
}

fn is_no_trailer(name: &str) -> bool {
    is_hop_by_hop(name)
        || is_kept_though_named(name)
        || name.starts_with("content-")
        || matches!(
            name,
            "authorization" | "cookie" | "set-cookie" | "expect" | "range" | "trailer"
        )
}

/// A `Content-Length`, digits only (RFC 9110 8.6).
pub fn content_length(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, digit| {
        length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        for (given, expected) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("1 ", None),
            ("1,1", None),
        ] {
            let value = HeaderValue::from_str(given).unwrap();
            assert_eq!(content_length(&value), expected, "{given:?}");
        }
    }
}
