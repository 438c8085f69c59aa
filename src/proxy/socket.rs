//! The client's end of a connection, which notes what passes so that time limits, folding and error answers know where the connection stands.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{Client, Phase};
use super::stream::Stream;

/// A client's stream, watched.
#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    client: Arc<Client>,
    /// What was read before and is to be read again. Rare, so it takes as little room as can be.
    again: Option<Box<Bytes>>,
    /// The status of the bare answer with which hyper refuses a head. It is held back: we send one with a text.
    refused: Option<u16>,
}

impl Socket {
    pub(super) fn new(stream: Stream, client: Arc<Client>) -> Self {
        Self {
            stream,
            client,
            again: None,
            refused: None,
        }
    }

    /// Puts back what was read too early.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        // An empty piece would still pin the buffer it was cut from.
        if bytes.is_empty() {
            return;
        }
        let bytes = match self.again.take() {
            None => bytes,
            Some(later) => [bytes.as_ref(), later.as_ref()].concat().into(),
        };
        self.again = Some(Box::new(bytes));
    }

    /// Whether the end of a line is among what was put back.
    pub(super) fn has_line_ahead(&self) -> bool {
        self.again
            .as_ref()
            .is_some_and(|again| again.trim_ascii_start().contains(&b'\n'))
    }

    /// The status with which a head was refused.
    pub(super) fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// From here on writes go through again.
    pub(super) fn take_refused(&mut self) {
        self.refused = None;
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.again.is_none() {
            self.stream.poll_read_ready(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Ends with a reset: what was sent must not be taken for the whole.
    pub(super) fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }

    /// hyper writes without a request under way only to refuse a head.
    fn holds_back(&mut self, bytes: &[u8]) -> bool {
        if !self.client.is_between_requests() {
            return false;
        }
        if self.refused.is_none() {
            self.refused = status_of(bytes);
        }
        self.refused.is_some()
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scrap = [0; 4_096];
        // A bound on what one poll throws away, so that a flood starves nobody.
        for _ in 0..64 {
            let mut buf = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The status in a status line.
fn status_of(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let phase = this.client.phase();
        if phase == Phase::Tunnel && this.client.is_draining() {
            // The tunnel's upstream is asked to end by telling it that the client has.
            return Poll::Ready(Ok(()));
        }
        if let Some(again) = &mut this.again {
            let piece = again.len().min(buf.remaining());
            buf.put_slice(&again[..piece]);
            again.advance(piece);
            if again.is_empty() {
                this.again = None;
            }
            if phase == Phase::Resting {
                this.client.enter(Phase::ReadingHead);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            match phase {
                Phase::Resting => this.client.enter(Phase::ReadingHead),
                Phase::ReadingHead => {}
                _ => this.client.touch(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.client.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bufs.first()
            && self.holds_back(first)
        {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.client.touch();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes us only once its own buffer is empty.
        self.client.set_flushed();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            // Our own answer comes first.
            return Poll::Ready(Ok(()));
        }
        if self.client.phase() != Phase::Lingering {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.client.has_unread() {
                return Poll::Ready(Ok(()));
            }
            self.client.enter(Phase::Lingering);
        }
        self.poll_discard(cx)
    }
}
