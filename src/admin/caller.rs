//! Whoever has connected to the admin socket: requests come in, messages go out, a line each.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::protocol::{Message, Request};

/// A request is a line of a few hundred bytes; thousands of names still fit.
const LONGEST_REQUEST: u64 = 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Caller {
    reading: BufReader<Take<OwnedReadHalf>>,
    writing: OwnedWriteHalf,
}

impl Caller {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (reading, writing) = stream.into_split();
        Self {
            reading: BufReader::new(reading.take(LONGEST_REQUEST)),
            writing,
        }
    }

    /// The next request, if one comes within this time; an error if it isn't understood.
    pub async fn request(&mut self, limit: Duration) -> Option<serde_json::Result<Request>> {
        let mut line = String::new();
        let read = tokio::time::timeout(limit, self.reading.read_line(&mut line)).await;
        matches!(read, Ok(Ok(length)) if length > 0).then(|| serde_json::from_str(&line))
    }

    /// Says something.
    ///
    /// # Errors
    /// If nobody hears it.
    pub async fn tell(&mut self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.writing.write_all(&line).await
    }

    /// Resolves when the other end has closed the connection.
    pub async fn gone(&mut self) {
        let mut byte = [0];
        let reading = self.reading.get_mut().get_mut();
        while reading.read(&mut byte).await.is_ok_and(|length| length > 0) {}
    }
}
