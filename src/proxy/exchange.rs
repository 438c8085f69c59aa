//! One request and its answer on one upstream connection. The answer may begin while the request's body is still on its way.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use super::answer_head::{self, AnswerHead};
use super::headers;
use super::link::Link;
use super::transfer::{self, Piece, Transfer};

/// A request under way at an upstream.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) link: Box<Link>,
    upload: Upload,
    transfer: Transfer,
    keeps_alive: bool,
}

/// The request's side.
#[derive(Debug)]
struct Upload {
    body: Option<Incoming>,
    chunk: Bytes,
    tail: &'static [u8],
    is_chunked: bool,
    /// Which trailers may pass: those that the request's `Trailer` names.
    trailers: Vec<HeaderName>,
    /// How much the body may still have.
    allowed: u64,
    state: UploadState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadState {
    /// The client has more to send.
    AwaitsClient,
    /// The upstream has to take what we have.
    AwaitsUpstream,
    /// All is sent.
    Complete,
    /// The upstream takes no more; it may still answer.
    Refused,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The request's body broke off or broke its framing.
    #[error("the request's body can't be read: {0}")]
    Client(#[source] hyper::Error),
    /// The request's body is longer than allowed.
    #[error("the request's body is longer than allowed")]
    TooLarge,
    /// The connection ended before a byte of an answer.
    #[error("the upstream closed the connection without an answer")]
    Closed(#[source] Option<io::Error>),
    /// The connection ended in the answer's head.
    #[error("the upstream's answer breaks off in its head")]
    BrokenOff(#[source] Option<io::Error>),
    /// It took too long.
    #[error("it took too long")]
    Expired {
        /// It was the client whom everybody waited for.
        by_client: bool,
    },
    /// What came is no answer.
    #[error(transparent)]
    Malformed(#[from] answer_head::Malformed),
}

impl ExchangeError {
    /// Whether it speaks against the upstream. That it closes a connection that has rested is its good right.
    pub(super) fn is_upstreams_fault(&self, is_fresh: bool) -> bool {
        match self {
            Self::Client(_) | Self::TooLarge | Self::Expired { by_client: true } => false,
            Self::Closed(_) => is_fresh,
            Self::BrokenOff(_) | Self::Malformed(_) | Self::Expired { by_client: false } => true,
        }
    }
}

impl Exchange {
    /// Begins; the request's head stands in the link's `out`.
    pub(super) fn new(
        link: Box<Link>,
        body: Option<Incoming>,
        is_chunked: bool,
        trailers: Vec<HeaderName>,
        allowed: Option<u64>,
    ) -> Self {
        Self {
            link,
            upload: Upload {
                state: match body {
                    Some(_) => UploadState::AwaitsClient,
                    None => UploadState::AwaitsUpstream,
                },
                body,
                chunk: Bytes::new(),
                tail: b"",
                is_chunked,
                trailers,
                allowed: allowed.unwrap_or(u64::MAX),
            },
            transfer: Transfer::Ended,
            keeps_alive: false,
        }
    }

    /// Whether the request has been sent, or as much of it as the upstream took.
    pub(super) fn is_sent(&self) -> bool {
        matches!(
            self.upload.state,
            UploadState::Complete | UploadState::Refused
        )
    }

    /// Whether it is the client whom everybody waits for.
    pub(super) fn awaits_client(&self) -> bool {
        self.upload.state == UploadState::AwaitsClient
    }

    /// Sends the request and waits for the head of its answer.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<AnswerHead, ExchangeError>> {
        let _sent_or_pending = self.poll_upload(cx)?;
        loop {
            if !self.link.read.is_empty()
                && let Some(head) = answer_head::take(&mut self.link.read, method)?
            {
                self.transfer = head.transfer.clone();
                self.keeps_alive = head.keeps_alive;
                return Poll::Ready(Ok(head));
            }
            let (read, error) = match ready!(self.link.poll_read_more(cx)) {
                Ok(read) => (read, None),
                Err(error) => (0, Some(error)),
            };
            if read == 0 {
                return Poll::Ready(Err(match self.link.read.is_empty() {
                    true => ExchangeError::Closed(error),
                    false => ExchangeError::BrokenOff(error),
                }));
            }
        }
    }

    /// Passes on what there is of the request. An upstream that takes no more is no error: it may have answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ExchangeError> {
        let Self { link, upload, .. } = self;
        loop {
            match upload.state {
                UploadState::Complete | UploadState::Refused => return Ok(Poll::Ready(())),
                UploadState::AwaitsClient => {
                    // Head and first piece leave together where the piece is there already.
                    let waits = upload.poll_piece(cx, &mut link.out)?.is_pending();
                    if waits && link.out.is_empty() {
                        return Ok(Poll::Pending);
                    }
                    upload.state = UploadState::AwaitsUpstream;
                }
                UploadState::AwaitsUpstream => {
                    match link.poll_write_all(cx, &mut upload.chunk, &mut upload.tail) {
                        Poll::Pending => return Ok(Poll::Pending),
                        Poll::Ready(Ok(())) if upload.body.is_some() => {
                            upload.state = UploadState::AwaitsClient;
                        }
                        Poll::Ready(Ok(())) => upload.state = UploadState::Complete,
                        Poll::Ready(Err(_)) => {
                            upload.body = None;
                            upload.state = UploadState::Refused;
                        }
                    }
                }
            }
        }
    }

    /// The next frame of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.is_sent()
            && let Err(error) = self.poll_upload(cx)
        {
            return Poll::Ready(Some(Err(io::Error::other(error))));
        }
        loop {
            match self.transfer.next(&mut self.link.read).map_err(malformed)? {
                Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Piece::Trailers(trailers) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Piece::End => return Poll::Ready(None),
                Piece::More => {
                    if ready!(self.link.poll_read_more(cx))? == 0 {
                        self.transfer.close().map_err(malformed)?;
                    }
                }
            }
        }
    }

    /// How the answer's body is framed.
    pub(super) fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// Whether all is over and the link may serve the next request.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps_alive
            && self.transfer.has_ended()
            && self.upload.state == UploadState::Complete
            && self.link.read.is_empty()
    }
}

fn malformed(error: transfer::Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Upload {
    /// Takes the next piece of the body, if there is one already.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Poll<()>, ExchangeError> {
        let Some(body) = &mut self.body else {
            return Ok(Poll::Ready(()));
        };
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(frame) => frame.transpose().map_err(ExchangeError::Client)?,
        };
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.allowed = self
                    .allowed
                    .checked_sub(data.len() as u64)
                    .ok_or(ExchangeError::TooLarge)?;
                if self.is_chunked && !data.is_empty() {
                    // Writing to a Vec can't fail.
                    let _ = write!(out, "{:x}\r\n", data.len());
                    self.tail = b"\r\n";
                } else if body.is_end_stream() {
                    self.body = None;
                }
                self.chunk = data;
            }
            Some(Err(frame)) => {
                if let Ok(mut trailers) = frame.into_trailers()
                    && self.is_chunked
                {
                    headers::keep_trailers(&mut trailers, &self.trailers);
                    write_end(Some(&trailers), out);
                }
                self.body = None;
            }
            None => {
                if self.is_chunked {
                    write_end(None, out);
                }
                self.body = None;
            }
        }
        Ok(Poll::Ready(()))
    }
}

/// The last chunk, and the trailers behind it.
fn write_end(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
