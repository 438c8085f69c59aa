//! Which header fields concern one hop only, and what a request's head is on its way to the app (RFC 9110 7.6). Pure.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

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
fn is_kept_though_named(name: &str) -> bool {
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
            "host" | "expect" => continue,
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
        write_decimal(port, out);
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
    let wants_trailers = head.connection.te && says_trailers(head.headers);
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

fn write_decimal(number: u16, out: &mut Vec<u8>) {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
