//! One line per request, where asked for: as JSON, or in nginx's combined format.
//!
//! Lines are gathered per thread and written by a thread of their own. A disk that is too slow costs lines, never requests.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderName};
use http::request::Parts;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// One object per line.
    Json,
    /// What nginx calls `combined`, in UTC.
    Combined,
}

/// Where lines go.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessFormat,
    writer: Arc<Writer>,
}

/// The way to the thread that writes.
#[derive(Debug)]
struct Writer {
    pieces: SyncSender<Vec<u8>>,
    /// Lines have been lost, and that has been said.
    is_behind: AtomicBool,
}

/// Lines that a thread has gathered, and where they go.
#[derive(Debug)]
struct Gathered {
    lines: Vec<u8>,
    writer: Option<Arc<Writer>>,
}

/// So much is gathered by a thread before it is handed over; what is less waits for the next tick.
const HANDED_OVER: usize = 16 * 1024;
/// So many pieces may wait for the writer.
const WAITING: usize = 256;

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered { lines: Vec::new(), writer: None }) };
    static NOW: RefCell<(i64, String)> = const { RefCell::new((0, String::new())) };
}

impl AccessLog {
    /// Writes lines there, from a thread that ends with the log.
    ///
    /// # Errors
    /// If the thread can't be had.
    pub fn new(format: AccessFormat, mut to: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (sender, pieces) = sync_channel::<Vec<u8>>(WAITING);
        std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || {
                for piece in pieces {
                    if let Err(error) = to.write_all(&piece).and_then(|()| to.flush()) {
                        tracing::error!(%error, "the access log can't be written");
                    }
                }
            })?;
        Ok(Self {
            format,
            writer: Arc::new(Writer {
                pieces: sender,
                is_behind: AtomicBool::new(false),
            }),
        })
    }

    /// The beginning of a request's line. A head that can't be read has no request.
    pub(super) fn begin(&self, request: Option<&Parts>, client: Option<IpAddr>) -> Entry {
        let mut line = String::with_capacity(256);
        let split = match self.format {
            AccessFormat::Json => {
                begin_json(request, client, &mut line);
                line.len()
            }
            AccessFormat::Combined => begin_combined(request, client, &mut line),
        };
        Entry { line, split }
    }

    /// The end of it.
    pub(super) fn end(
        &self,
        entry: &Entry,
        app: Option<&str>,
        status: u16,
        sent: u64,
        took: Duration,
    ) {
        GATHERED.with_borrow_mut(|gathered| {
            let lines = gathered.lines_for(&self.writer);
            let (before, after) = entry.line.split_at(entry.split);
            lines.extend_from_slice(before.as_bytes());
            // Writing to a Vec can't fail.
            let _ = match self.format {
                AccessFormat::Json => {
                    let app = app.unwrap_or_default();
                    // Whole numbers: writing a float costs more than all the rest of the line.
                    let (seconds, micros) = (took.as_secs(), took.subsec_micros());
                    writeln!(
                        lines,
                        ",\"app\":\"{app}\",\"status\":{status},\"bytes\":{sent},\"seconds\":{seconds}.{micros:06}}}"
                    )
                }
                AccessFormat::Combined => writeln!(lines, "{status} {sent}{after}"),
            };
            if lines.len() >= HANDED_OVER {
                gathered.hand_over();
            }
        });
    }
}

/// Hands over what this thread has gathered.
pub(super) fn flush() {
    GATHERED.with_borrow_mut(Gathered::hand_over);
}

impl Gathered {
    /// Where lines for this writer are gathered. What was gathered for another goes there first.
    fn lines_for(&mut self, writer: &Arc<Writer>) -> &mut Vec<u8> {
        if !self
            .writer
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, writer))
        {
            self.hand_over();
            self.writer = Some(Arc::clone(writer));
        }
        &mut self.lines
    }

    fn hand_over(&mut self) {
        // Taken, so that a log that is no longer wanted comes to its end.
        let Some(writer) = self.writer.take() else {
            return;
        };
        if self.lines.is_empty() {
            return;
        }
        match writer.pieces.try_send(std::mem::take(&mut self.lines)) {
            Ok(()) => writer.is_behind.store(false, Relaxed),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                if !writer.is_behind.swap(true, Relaxed) {
                    tracing::warn!("the access log is written too slowly; lines are lost");
                }
            }
        }
    }
}

/// A line whose end isn't known yet.
#[derive(Debug)]
pub(super) struct Entry {
    line: String,
    /// Where the end goes: what follows comes after it.
    split: usize,
}

fn begin_json(request: Option<&Parts>, client: Option<IpAddr>, line: &mut String) {
    line.push_str("{\"time\":\"");
    push_now(
        line,
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"),
    );
    line.push('"');
    let client = client.map_or_else(|| "unix:".to_owned(), |address| address.to_string());
    for (key, value) in [
        ("client", client.as_bytes()),
        ("method", method(request).as_bytes()),
        ("host", field(request, header::HOST)),
        ("target", target(request).as_bytes()),
        ("referer", field(request, header::REFERER)),
        ("user_agent", field(request, header::USER_AGENT)),
    ] {
        line.push_str(",\"");
        line.push_str(key);
        line.push_str("\":");
        push_json(value, line);
    }
}

/// A JSON string. Nearly all values are plain, and need no escaping.
fn push_json(value: &[u8], line: &mut String) {
    let is_plain = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
    match std::str::from_utf8(value) {
        Ok(text) if value.iter().all(is_plain) => {
            line.push('"');
            line.push_str(text);
            line.push('"');
        }
        _ => match serde_json::to_string(&String::from_utf8_lossy(value)) {
            Ok(quoted) => line.push_str(&quoted),
            Err(_) => line.push_str("null"),
        },
    }
}

fn begin_combined(request: Option<&Parts>, client: Option<IpAddr>, line: &mut String) -> usize {
    // Writing to a String can't fail.
    let _ = match client {
        Some(client) => write!(line, "{client}"),
        None => write!(line, "unix:"),
    };
    line.push_str(" - - [");
    push_now(
        line,
        format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000"),
    );
    line.push_str("] \"");
    if let Some(parts) = request {
        push_escaped(method(request).as_bytes(), line);
        line.push(' ');
        push_escaped(target(request).as_bytes(), line);
        let _ = write!(line, " {:?}", parts.version);
    }
    line.push_str("\" ");
    let split = line.len();
    line.push_str(" \"");
    push_escaped(or_dash(field(request, header::REFERER)), line);
    line.push_str("\" \"");
    push_escaped(or_dash(field(request, header::USER_AGENT)), line);
    line.push('"');
    split
}

fn method(request: Option<&Parts>) -> &str {
    request.map_or("", |request| request.method.as_str())
}

fn target(request: Option<&Parts>) -> &str {
    let Some(request) = request else {
        return "";
    };
    let target = request.uri.path_and_query();
    target.map_or("*", |target| target.as_str())
}

fn field(request: Option<&Parts>, name: HeaderName) -> &[u8] {
    let value = request.and_then(|request| request.headers.get(name));
    value.map_or(b"", |value| value.as_bytes())
}

fn or_dash(value: &[u8]) -> &[u8] {
    match value {
        [] => b"-",
        value => value,
    }
}

/// As nginx escapes: quotes, backslashes and whatever isn't printable ASCII.
fn push_escaped(value: &[u8], line: &mut String) {
    for byte in value {
        match byte {
            b'"' | b'\\' | ..0x20 | 0x7f.. => {
                let _ = write!(line, "\\x{byte:02X}");
            }
            byte => line.push(char::from(*byte)),
        }
    }
}

/// The time, formatted once a second.
fn push_now(line: &mut String, format: &[BorrowedFormatItem<'_>]) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_secs() as i64);
    NOW.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            let now = OffsetDateTime::from_unix_timestamp(now);
            *text = now
                .ok()
                .and_then(|now| now.format(format).ok())
                .unwrap_or_default();
        }
        line.push_str(text);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::sync::mpsc::{Receiver, Sender, channel};

    struct Lines(Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn line(format: AccessFormat) -> String {
        let (sender, receiver): (_, Receiver<Vec<u8>>) = channel();
        let log = AccessLog::new(format, Box::new(Lines(sender))).unwrap();
        let (request, ()) = Request::get("/a\"b?c")
            .header("host", "a.example")
            .header("user-agent", b"x\"\\\xff".as_slice())
            .body(())
            .unwrap()
            .into_parts();
        // A thread of its own, so that nobody else's time or lines are in the way.
        std::thread::spawn(move || {
            let entry = log.begin(Some(&request), Some("203.0.113.7".parse().unwrap()));
            log.end(&entry, Some("shop"), 200, 5, Duration::from_micros(1_500));
            flush();
        })
        .join()
        .unwrap();
        String::from_utf8(receiver.recv().unwrap()).unwrap()
    }

    #[test]
    fn a_combined_line_is_nginxs() {
        let line = line(AccessFormat::Combined);
        assert!(line.starts_with("203.0.113.7 - - ["), "{line}");
        assert!(
            line.ends_with("+0000] \"GET /a\\x22b?c HTTP/1.1\" 200 5 \"-\" \"x\\x22\\x5C\\xFF\"\n"),
            "{line}"
        );
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line: serde_json::Value = serde_json::from_str(&line(AccessFormat::Json)).unwrap();
        assert_eq!(line["client"], "203.0.113.7");
        assert_eq!(line["target"], "/a\"b?c");
        assert_eq!(line["user_agent"], "x\"\\\u{fffd}");
        assert_eq!(line["app"], "shop");
        assert_eq!(line["status"], 200);
        assert_eq!(line["bytes"], 5);
        assert_eq!(line["seconds"], 0.0015);
    }
}
