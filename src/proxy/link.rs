//! One connection to an upstream, with what has been read ahead from it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::peer::Peer;
use super::places::Place;
use super::stream::Stream;

/// What one read asks for at first; it grows while reads come back full.
const SMALL_READ: usize = 8 * 1024;
const LARGE_READ: usize = 64 * 1024;

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) peer: Arc<Peer>,
    /// What was read and not yet used.
    pub(super) read: BytesMut,
    /// What is to be written next: a head, or the line that begins a chunk.
    pub(super) out: Vec<u8>,
    written: usize,
    next_read: usize,
    /// Held while it is a tunnel's upstream half.
    pub(super) tunnel: Option<Place>,
}

impl Link {
    pub(super) fn new(stream: Stream, peer: Arc<Peer>) -> Self {
        Self {
            stream,
            peer,
            read: BytesMut::new(),
            out: Vec::new(),
            written: 0,
            next_read: SMALL_READ,
            tunnel: None,
        }
    }

    /// Whether the upstream has neither closed it nor sent what nobody asked for.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.read.is_empty()
            && poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read).is_pending()
    }

    /// Reads more. Ready with 0 at the end.
    pub(super) fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.next_read);
        let room = self.read.capacity() - self.read.len();
        let read = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.read
        ))?;
        if read == room && self.next_read < LARGE_READ {
            self.next_read *= 2;
        }
        Poll::Ready(Ok(read))
    }

    /// Writes `out`, then `chunk`, then `tail`, and empties them.
    pub(super) fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
        tail: &mut &'static [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            let out = &self.out[self.written..];
            if out.is_empty() && chunk.is_empty() && tail.is_empty() {
                // TLS may still hold back what it has taken.
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.out.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            let stream = Pin::new(&mut self.stream);
            let mut count = if chunk.is_empty() && tail.is_empty() {
                ready!(stream.poll_write(cx, out))?
            } else {
                let pieces = [IoSlice::new(out), IoSlice::new(chunk), IoSlice::new(tail)];
                ready!(stream.poll_write_vectored(cx, &pieces))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_out = count.min(self.out.len() - self.written);
            self.written += of_out;
            count -= of_out;
            let of_chunk = count.min(chunk.len());
            chunk.advance(of_chunk);
            *tail = &tail[count - of_chunk..];
        }
    }

    /// Makes it as good as new for the next request, but for what a connection keeps.
    pub(super) fn settle(&mut self) {
        self.out.clear();
        self.written = 0;
        // A small buffer is kept: most answers fit, and it is used in place once they have been sent. A large one isn't worth its memory.
        if self.next_read > SMALL_READ {
            self.read = BytesMut::new();
            self.next_read = SMALL_READ;
        }
    }
}

/// A link that has become a tunnel: what was read ahead comes first.
impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let piece = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..piece]);
        self.read.advance(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
