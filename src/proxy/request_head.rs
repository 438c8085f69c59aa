//! The head of a request on its way to the app: what is kept, what is added, and in which bytes. Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::decimal;
use super::headers::{APP, ConnectionOptions, is_hop_by_hop};

/// How a request's body goes to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// As long as its own `Content-Length` says.
    Length,
    /// In chunks.
    Chunked,
}

/// Where a request came from, as the peer's address and our own side of the connection tell.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The peer's address; none on a unix socket.
    pub address: Option<&'a str>,
    /// The port it came in by.
    pub port: Option<u16>,
    /// Whether what the peer says about whom it speaks for is believed.
    pub trusted: bool,
    /// Whether `Forwarded` is written anew.
    pub forwarded: bool,
}

/// A request's head as far as it is passed on.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target as it came.
    pub uri: &'a Uri,
    /// What `Host` has to be: the authority of an absolute target replaces the field (RFC 9112 3.2.2).
    pub host: &'a [u8],
    /// The fields as they came.
    pub headers: &'a HeaderMap,
    /// What its `Connection` lines say.
    pub connection: &'a ConnectionOptions,
    /// Whether another protocol is asked for, and passed on.
    pub upgrade: bool,
    /// How the body goes.
    pub framing: Framing,
}

/// What a trusted peer has told already.
#[derive(Default)]
struct Told {
    forwarded_for: bool,
    proto: bool,
    host: bool,
    port: bool,
    real_ip: bool,
    forwarded: bool,
}

/// Writes a request's head as it goes to the app, always in HTTP/1.1 and with the path's bytes as they came.
pub fn write_request(head: &RequestHead<'_>, origin: &Origin<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    write_target(head, out);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(head.host);
    out.extend_from_slice(b"\r\n");
    let mut told = Told::default();
    for (name, value) in head.headers {
        let text = name.as_str();
        if is_hop_by_hop(text) || head.connection.names(name) {
            continue;
        }
        match text {
            "host" | "expect" | APP => continue,
            "content-length" if head.framing != Framing::Length => continue,
            _ if text.starts_with("x-") || text == "forwarded" => {
                if is_origin(text, &mut told, origin) {
                    continue;
                }
                write_name(text, out);
                out.extend_from_slice(value.as_bytes());
                // Several lines are as good as one, so only the last gets our part.
                if text == "x-forwarded-for" && is_last(head.headers, name, value) {
                    write_more(origin.address, out);
                } else if text == "forwarded" && is_last(head.headers, name, value) {
                    out.extend_from_slice(b", ");
                    write_forwarded(head, origin, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => {
                write_name(text, out);
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
    write_origin(head, origin, &told, out);
    if head.framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    write_connection(head, out);
    out.extend_from_slice(b"\r\n");
}

fn write_target(head: &RequestHead<'_>, out: &mut Vec<u8>) {
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    // `OPTIONS http://host` has no path and means `*` (RFC 9112 3.2.4).
    match target {
        "" | "/" if *head.method == Method::OPTIONS && head.uri.authority().is_some() => {
            out.push(b'*');
        }
        "" => out.push(b'/'),
        target if target.starts_with('?') => {
            out.push(b'/');
            out.extend_from_slice(target.as_bytes());
        }
        target => out.extend_from_slice(target.as_bytes()),
    }
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
}

/// Whether a field that tells a request's origin has to go because its sender isn't trusted.
fn is_origin(name: &str, told: &mut Told, origin: &Origin<'_>) -> bool {
    let seen = match name {
        "x-forwarded-for" => &mut told.forwarded_for,
        "x-forwarded-proto" => &mut told.proto,
        "x-forwarded-host" => &mut told.host,
        "x-forwarded-port" => &mut told.port,
        "x-real-ip" => &mut told.real_ip,
        "forwarded" => &mut told.forwarded,
        _ => return false,
    };
    *seen = origin.trusted;
    !origin.trusted
}

fn is_last(headers: &HeaderMap, name: &HeaderName, value: &HeaderValue) -> bool {
    headers
        .get_all(name)
        .iter()
        .next_back()
        .is_some_and(|last| std::ptr::eq(last, value))
}

fn write_more(address: Option<&str>, out: &mut Vec<u8>) {
    if let Some(address) = address {
        out.extend_from_slice(b", ");
        out.extend_from_slice(address.as_bytes());
    }
}

fn write_origin(head: &RequestHead<'_>, origin: &Origin<'_>, told: &Told, out: &mut Vec<u8>) {
    if let Some(address) = origin.address {
        if !told.forwarded_for {
            out.extend_from_slice(b"x-forwarded-for: ");
            out.extend_from_slice(address.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !told.real_ip {
            out.extend_from_slice(b"x-real-ip: ");
            out.extend_from_slice(address.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    if !told.proto {
        out.extend_from_slice(b"x-forwarded-proto: http\r\n");
    }
    if !told.host {
        out.extend_from_slice(b"x-forwarded-host: ");
        out.extend_from_slice(head.host);
        out.extend_from_slice(b"\r\n");
    }
    if !told.port
        && let Some(port) = origin.port
    {
        out.extend_from_slice(b"x-forwarded-port: ");
        decimal::push(port.into(), out);
        out.extend_from_slice(b"\r\n");
    }
    if origin.forwarded && !told.forwarded {
        out.extend_from_slice(b"forwarded: ");
        write_forwarded(head, origin, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// One element of `Forwarded` (RFC 7239 4). The host is quoted, since it may hold a colon.
fn write_forwarded(head: &RequestHead<'_>, origin: &Origin<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"for=");
    match origin.address {
        Some(address) if address.contains(':') => {
            out.extend_from_slice(b"\"[");
            out.extend_from_slice(address.as_bytes());
            out.extend_from_slice(b"]\"");
        }
        Some(address) => out.extend_from_slice(address.as_bytes()),
        None => out.extend_from_slice(b"unknown"),
    }
    if head.host.iter().all(|b| !matches!(b, b'"' | b'\\')) {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(head.host);
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=http");
}

fn write_connection(head: &RequestHead<'_>, out: &mut Vec<u8>) {
    let wants_trailers = head.connection.names_te() && says_trailers(head.headers);
    if head.upgrade {
        for protocol in head.headers.get_all(header::UPGRADE) {
            out.extend_from_slice(b"upgrade: ");
            out.extend_from_slice(protocol.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    if wants_trailers {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    out.extend_from_slice(match (head.upgrade, wants_trailers) {
        (true, true) => b"connection: upgrade, te\r\n",
        (true, false) => b"connection: upgrade\r\n",
        (false, true) => b"connection: te\r\n",
        (false, false) => b"",
    });
}

fn says_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|line| {
        line.as_bytes()
            .split(|b| *b == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::headers::is_kept_though_named;
    use proptest::prelude::*;

    /// The head that goes to the app, as lines.
    fn written(target: &str, headers: &HeaderMap, trusted: bool) -> Vec<String> {
        let mut out = Vec::new();
        let head = RequestHead {
            method: &Method::GET,
            uri: &target.parse().unwrap(),
            host: b"a.example",
            headers,
            connection: &ConnectionOptions::of(headers),
            upgrade: false,
            framing: Framing::None,
        };
        let origin = Origin {
            address: Some("203.0.113.7"),
            port: Some(80),
            trusted,
            forwarded: true,
        };
        write_request(&head, &origin, &mut out);
        let text = String::from_utf8(out).unwrap();
        let head = text.strip_suffix("\r\n\r\n").expect("a head has an end");
        head.split("\r\n").map(str::to_owned).collect()
    }

    fn header_map(fields: &[(String, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    proptest! {
        #[test]
        fn no_field_that_a_connection_line_names_survives(
            fields in prop::collection::vec(("[a-zA-Z][a-zA-Z0-9-]{0,8}", "[ -~]{0,12}"), 0..12),
            named in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            separator in prop::sample::select(vec![",", ", ", " ,\t,", ",,"]),
            lines in 1_usize..4,
        ) {
            let mut fields = fields;
            let names: Vec<String> = match fields.is_empty() {
                true => Vec::new(),
                false => named.iter().map(|index| index.get(&fields).0.to_uppercase()).collect(),
            };
            for part in names.chunks(names.len().div_ceil(lines).max(1)) {
                fields.push(("Connection".into(), part.join(separator)));
            }
            let written = written("/", &header_map(&fields), false);
            for line in &written[1..] {
                let (name, _) = line.split_once(": ").expect("a line has a name");
                let is_named = names.iter().any(|named| named.eq_ignore_ascii_case(name));
                prop_assert!(!is_named || is_kept_though_named(name), "{line}");
                prop_assert!(!is_hop_by_hop(name), "{line}");
            }
        }

        #[test]
        fn every_other_field_passes_once_and_unchanged(
            fields in prop::collection::vec(("y-[a-z0-9]{1,8}", "[!-~]([ -~]{0,12}[!-~])?"), 0..12),
        ) {
            let written = written("/", &header_map(&fields), false);
            for (name, value) in &fields {
                let sent = fields.iter().filter(|(n, v)| n == name && v == value).count();
                let line = format!("{name}: {value}");
                prop_assert_eq!(written.iter().filter(|each| **each == line).count(), sent);
            }
        }

        #[test]
        fn the_bytes_of_a_path_are_unchanged(path in "/[!-~]{0,12}") {
            // What the server half refuses never gets here.
            prop_assume!(!path.contains('#') && path.parse::<Uri>().is_ok());
            let first = written(&path, &HeaderMap::new(), true).swap_remove(0);
            prop_assert_eq!(first, format!("GET {path} HTTP/1.1"));
        }
    }

    #[test]
    fn the_asterisk_stays_one() {
        let head = RequestHead {
            method: &Method::OPTIONS,
            uri: &"*".parse().unwrap(),
            host: b"a",
            headers: &HeaderMap::new(),
            connection: &ConnectionOptions::default(),
            upgrade: false,
            framing: Framing::None,
        };
        let mut out = Vec::new();
        write_target(&head, &mut out);
        assert_eq!(out, b"*");
    }
}
