//! One HTTP/1.1 exchange, read to the byte: a user's client that hides nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// No answer of our servers takes this long.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields in their order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's first value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the server closes the connection after this answer.
    pub fn closes(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// The connection was closed or reset before the first byte of an answer. On a reused connection a client may repeat the request
    /// (RFC 9112 9.3.1).
    Unanswered(String),
    /// Anything else.
    Broken(String),
}

impl Fault {
    /// What happened, in words.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unanswered(reason) | Self::Broken(reason) => reason,
        }
    }
}

/// Sends one request and reads its answer.
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Result<Answer, Fault> {
    // An answer (or a close) may be there although the request couldn't be written: reading tells which.
    let written = stream.write_all(request).and_then(|()| stream.flush());
    let mut received = Vec::with_capacity(1024);
    let head = loop {
        if let Some(end) = find(&received, b"\r\n\r\n") {
            break end;
        }
        match read_more(stream, &mut received) {
            Ok(0) if received.is_empty() => {
                let reason = written.err().map_or_else(
                    || "closed before the answer".to_owned(),
                    |error| format!("not written: {error}"),
                );
                return Err(Fault::Unanswered(reason));
            }
            Ok(0) => return Err(Fault::Broken("closed in the answer's head".into())),
            Ok(_) => {}
            Err(error) if received.is_empty() && is_a_close(error.kind()) => {
                return Err(Fault::Unanswered(format!("before the answer: {error}")));
            }
            Err(error) => return Err(Fault::Broken(format!("no answer: {error}"))),
        }
    };
    let mut answer = parse_head(&received[..head])?;
    answer.body = body_of(stream, &answer, received.split_off(head + 4))?;
    Ok(answer)
}

/// A GET over a connection of its own; panics if there is no whole answer.
pub fn get(port: u16, host: &str, path: &str) -> Answer {
    let mut stream = connect(port).unwrap();
    exchange(&mut stream, &request(host, path, true)).unwrap_or_else(|fault| panic!("{fault:?}"))
}

pub(super) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn request(host: &str, path: &str, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{connection}\r\n").into_bytes()
}

fn is_a_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            // TLS without its closing message.
            | ErrorKind::UnexpectedEof
    )
}

fn read_more(stream: &mut impl Read, received: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut piece = [0; 8192];
    let count = stream.read(&mut piece)?;
    received.extend_from_slice(&piece[..count]);
    Ok(count)
}

fn parse_head(head: &[u8]) -> Result<Answer, Fault> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| Fault::Broken(format!("no status line: {status_line:?}")))?;
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Answer {
        status,
        fields,
        body: Vec::new(),
    })
}

fn body_of(
    stream: &mut impl Read,
    answer: &Answer,
    mut received: Vec<u8>,
) -> Result<Vec<u8>, Fault> {
    let length = answer.field("content-length").map(str::parse::<usize>);
    let chunked = answer.field("transfer-encoding") == Some("chunked");
    loop {
        match &length {
            Some(Ok(length)) if received.len() == *length => return Ok(received),
            Some(Ok(length)) if received.len() > *length => {
                return Err(Fault::Broken("more than Content-Length said".into()));
            }
            Some(Err(_)) => return Err(Fault::Broken("no number in Content-Length".into())),
            None if chunked => {
                if let Some(body) = dechunked(&received) {
                    return Ok(body);
                }
            }
            _ => {}
        }
        match read_more(stream, &mut received) {
            Ok(0) if length.is_none() && !chunked => return Ok(received),
            Ok(0) => return Err(Fault::Broken("closed in the body".into())),
            Ok(_) => {}
            Err(error) => return Err(Fault::Broken(format!("in the body: {error}"))),
        }
    }
}

/// The body, once its last chunk is there (RFC 9112 7.1).
fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let chunk = rest.get(line + 2..line + 2 + size)?;
        rest = rest.get(line + 2 + size + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
