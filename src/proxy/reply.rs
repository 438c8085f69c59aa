//! The body of an answer on its way to the client. When it goes, the request is over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::client::Client;
use super::exchange::Exchange;
use super::pool;
use super::record::Record;
use crate::limits::Limits;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    content: Content,
    record: Record,
}

/// What a body is made of.
#[derive(Debug)]
pub(super) enum Content {
    /// Our own.
    Whole(Bytes),
    /// Streamed from an upstream; gone once it has been read to its end.
    Streamed(Option<Exchange>),
    /// Announced, but not sent (HEAD, 304): so that the server half keeps the `Content-Length`.
    Announced(u64),
}

impl Content {
    /// An upstream's answer. `announced` is the length of a body that isn't sent.
    pub(super) fn streamed(
        exchange: Exchange,
        announced: Option<u64>,
        client: &Client,
        limits: &Limits,
    ) -> Self {
        if !exchange.transfer().has_ended() {
            return Self::Streamed(Some(exchange));
        }
        finish(exchange, client, limits);
        announced.map_or(Self::Streamed(None), Self::Announced)
    }
}

impl Reply {
    pub(super) fn new(content: Content, record: Record) -> Self {
        Self { content, record }
    }
}

/// The exchange is over: its link serves the next one, or is closed.
fn finish(exchange: Exchange, client: &Client, limits: &Limits) {
    if exchange.is_sent() {
        client.set_unread(false);
    }
    if exchange.is_reusable() {
        pool::put(exchange.link, limits);
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            Content::Announced(_) | Content::Streamed(None) => None,
            Content::Streamed(streamed @ Some(_)) => {
                ready!(poll_streamed(streamed, &this.record, cx))
            }
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.record.sent += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Streamed(streamed) => streamed.is_none(),
            Content::Announced(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(None) => SizeHint::with_exact(0),
            Content::Streamed(Some(exchange)) => exchange
                .transfer()
                .length()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Content::Announced(length) => SizeHint::with_exact(*length),
        }
    }
}

fn poll_streamed(
    streamed: &mut Option<Exchange>,
    record: &Record,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Frame<Bytes>>>> {
    let Some(exchange) = streamed else {
        return Poll::Ready(None);
    };
    let frame = ready!(exchange.poll_frame(cx));
    let is_over = !matches!(frame, Some(Ok(_))) || exchange.transfer().has_ended();
    if is_over && let Some(exchange) = streamed.take() {
        finish(exchange, &record.client, &record.terms.settings.limits);
    }
    Poll::Ready(frame)
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.record.client.answered();
    }
}
