//! One line per request, where asked for: as JSON, or in nginx's combined format.
//!
//! Lines are gathered per thread and written by a thread of their own. A disk that is too slow costs lines, never requests.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;

use super::log_line;

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
    /// Entries to write the next lines to: their memory costs as much as what is written there.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Entry>>,
}

/// So much is gathered by a thread before it is handed over; what is less waits for the next tick.
const HANDED_OVER: usize = 16 * 1024;
/// So many entries are kept for the next lines.
const SPARE: usize = 32;
/// So many pieces may wait for the writer.
const WAITING: usize = 256;

thread_local! {
    static GATHERED: RefCell<Gathered> = const {
        RefCell::new(Gathered {
            lines: Vec::new(),
            writer: None,
            spare: Vec::new(),
        })
    };
    static NOW: RefCell<Now> = const {
        RefCell::new(Now {
            text: String::new(),
            format: AccessFormat::Json,
            until: None,
        })
    };
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
    pub(super) fn begin(
        &self,
        request: Option<&Parts>,
        client: &str,
        begun: Instant,
    ) -> Box<Entry> {
        let mut entry =
            GATHERED.with_borrow_mut(|gathered| gathered.spare.pop().unwrap_or_default());
        let line = &mut entry.line;
        line.clear();
        NOW.with_borrow_mut(|now| {
            let now = now.text(self.format, begun);
            match self.format {
                AccessFormat::Json => log_line::begin_json(request, client, now, line),
                AccessFormat::Combined => log_line::begin_combined(request, client, now, line),
            }
        });
        entry.split = line.len();
        if self.format == AccessFormat::Combined {
            log_line::end_combined(request, line);
        }
        entry
    }

    /// The end of it.
    pub(super) fn end(
        &self,
        entry: Box<Entry>,
        app: Option<&str>,
        status: u16,
        sent: u64,
        took: Duration,
    ) {
        GATHERED.with_borrow_mut(|gathered| {
            let lines = gathered.lines_for(&self.writer);
            let (before, after) = entry.line.split_at(entry.split);
            lines.extend_from_slice(before);
            match self.format {
                AccessFormat::Json => log_line::end_json(app, status, sent, took, lines),
                AccessFormat::Combined => log_line::status_and_size(status, sent, lines),
            }
            lines.extend_from_slice(after);
            lines.push(b'\n');
            if lines.len() >= HANDED_OVER {
                gathered.hand_over();
            }
            if gathered.spare.len() < SPARE {
                gathered.spare.push(entry);
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
#[derive(Debug, Default)]
pub(super) struct Entry {
    line: Vec<u8>,
    /// Where the end goes: what follows comes after it.
    split: usize,
}

/// The time as text, which changes once a second.
#[derive(Debug)]
struct Now {
    text: String,
    format: AccessFormat,
    until: Option<Instant>,
}

impl Now {
    fn text(&mut self, format: AccessFormat, now: Instant) -> &str {
        if self.format != format || self.until.is_none_or(|until| now >= until) {
            self.format = format;
            // Only here is the clock on the wall looked at.
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let since = since.unwrap_or_default();
            let left = Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
            self.until = Some(now + left);
            self.text = log_line::time(format, since.as_secs());
        }
        &self.text
    }
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
            let entry = log.begin(Some(&request), "203.0.113.7", Instant::now());
            log.end(entry, Some("shop"), 200, 5, Duration::from_micros(1_500));
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
