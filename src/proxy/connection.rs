//! Serves one client connection from its first byte to its last: HTTP by hyper's server half, then perhaps a tunnel.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::client::{Client, Phase};
use super::places::Place;
use super::record::Record;
use super::refusal::Refusal;
use super::reply::Reply;
use super::respond::respond;
use super::socket::Socket;
use super::stream::Stream;
use super::warm;
use crate::limits::Limits;

/// hyper's own count of header lines is a fixed array, cheap up to here.
const HYPER_HEADER_COUNT: usize = 100;

/// How hyper is to read requests under these limits.
pub(super) fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Ours is kept by the worker's clock.
    http.header_read_timeout(None);
    // What is a little too large still gets our answer; what is far beyond gets hyper's status with our text.
    let largest_head = limits.header_bytes.max(limits.target_bytes) * 2;
    http.max_buf_size(largest_head.max(64 * 1024));
    if limits.header_count > HYPER_HEADER_COUNT {
        http.max_headers(limits.header_count);
    }
    http
}

/// Serves a connection until it ends.
///
/// An `async fn` would keep its arguments twice, once as given and once as used; what rests has to be small.
pub(super) fn serve(
    stream: Stream,
    client: Arc<Client>,
    permit: Option<Place>,
) -> impl Future<Output = ()> {
    serve_with(stream, Bytes::new(), client, permit)
}

/// The same, for a connection from which something has been read already.
pub(super) fn serve_with(
    stream: Stream,
    ahead: Bytes,
    client: Arc<Client>,
    permit: Option<Place>,
) -> impl Future<Output = ()> {
    let mut socket = Socket::new(stream, Arc::clone(&client));
    socket.unread(ahead);
    async move {
        let _held_until_the_end = permit;
        converse(socket, &client).await;
        client.end();
    }
}

async fn converse(mut socket: Socket, client: &Arc<Client>) {
    poll_fn(|cx| {
        client.set_waker(cx.waker());
        Poll::Ready(())
    })
    .await;
    loop {
        let service = {
            let client = Arc::clone(client);
            service_fn(move |request| respond(Arc::clone(&client), request))
        };
        // In a box, as what comes after is: a connection that rests is to be as small as its socket.
        let (mut conversation, generation) = {
            let terms = client.renew_terms();
            let conversation = terms.http.serve_connection(TokioIo::new(socket), service);
            (Box::new(conversation), terms.generation)
        };
        let is_outdated = || client.gate.terms.generation() != generation;
        let end = poll_fn(|cx| match client.is_resting() && is_outdated() {
            // Built anew when something comes, under the terms of then.
            true => Poll::Ready(End::Folded),
            false => poll_conversation(&mut conversation, client, cx),
        })
        .await;
        let parts = conversation.into_parts();
        socket = parts.io.into_inner();
        socket.unread(parts.read_buf);
        match end {
            End::Folded => {
                if !rests(&socket, client).await {
                    return;
                }
            }
            End::Finished => return Box::pin(finish(socket, client)).await,
            End::HeadTooSlow => {
                return Box::pin(refuse(&mut socket, client, Refusal::ClientTooSlow)).await;
            }
            End::Http2 => return Box::pin(refuse(&mut socket, client, HTTP_2)).await,
            End::Silent => return,
            End::Broken => return socket.reset_on_drop(),
        }
    }
}

const HTTP_2: Refusal = Refusal::BadRequest("HTTP/2 is not spoken here");

/// Why hyper's part is over.
enum End {
    /// Orderly, or with a head that is no request.
    Finished,
    /// In the middle of an answer. A close would look like its end where nothing else marks it.
    Broken,
    /// With HTTP/2, which hyper leaves unanswered.
    Http2,
    /// The client's time for a head is over.
    HeadTooSlow,
    /// The client's time to rest or to linger is over.
    Silent,
    /// There is nothing to do: only the socket is kept.
    Folded,
}

fn poll_conversation<S>(
    conversation: &mut http1::Connection<TokioIo<Socket>, S>,
    client: &Arc<Client>,
    cx: &mut Context<'_>,
) -> Poll<End>
where
    S: HttpService<hyper::body::Incoming, ResBody = Reply>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if client.is_to_end() {
        Pin::new(&mut *conversation).graceful_shutdown();
    }
    if let Poll::Ready(end) = Pin::new(&mut *conversation).poll(cx) {
        return Poll::Ready(match end {
            Ok(()) => End::Finished,
            Err(error) if error.is_parse_version_h2() => End::Http2,
            Err(error) if error.is_parse() => End::Finished,
            Err(_) if client.is_between_requests() => End::Finished,
            Err(_) => End::Broken,
        });
    }
    if client.is_resting() {
        warm::note(client);
    }
    if client.is_signalled() {
        if client.is_expired() {
            match client.phase() {
                // These end inside the request, with an answer.
                Phase::Uploading | Phase::Waiting => {}
                Phase::ReadingHead => return Poll::Ready(End::HeadTooSlow),
                Phase::Sending => return Poll::Ready(End::Broken),
                Phase::Resting | Phase::Lingering | Phase::Tunnel => {
                    return Poll::Ready(End::Silent);
                }
            }
        }
        if client.take_fold() && client.is_resting() {
            return Poll::Ready(End::Folded);
        }
    }
    Poll::Pending
}

/// Waits with nothing but the socket. Says whether there is more to serve.
async fn rests(socket: &Socket, client: &Client) -> bool {
    poll_fn(|cx| {
        if client.is_to_end() || client.is_expired() {
            return Poll::Ready(false);
        }
        let _asked_to_fold_and_has = client.take_fold();
        socket.poll_read_ready(cx).map(|ready| ready.is_ok())
    })
    .await
}

async fn finish(mut socket: Socket, client: &Arc<Client>) {
    if let Some(link) = client.take_tunnel() {
        return tunnel(socket, link, client).await;
    }
    if let Some(status) = socket.refused() {
        let refusal = match Refusal::of_head(status) {
            // Not even its first line fits.
            Refusal::HeaderTooLarge if !socket.has_line_ahead() => Refusal::TargetTooLong,
            refusal => refusal,
        };
        refuse(&mut socket, client, refusal).await;
    } else if client.has_unread() && client.phase() != Phase::Lingering {
        // hyper doesn't close what might have been upgraded.
        let closed = poll_fn(|cx| Pin::new(&mut socket).poll_shutdown(cx));
        let _gone_or_too_slow = until_expired(client, closed).await;
    }
}

/// Answers a head that never became a request, and takes care that the answer isn't overtaken by a reset.
async fn refuse(socket: &mut Socket, client: &Arc<Client>, refusal: Refusal) {
    client.clear_expired();
    socket.take_refused();
    client.set_unread(true);
    client.enter(Phase::Sending);
    let status = refusal.status().as_u16();
    let _counted_at_the_end = Record::of_unread(Arc::clone(client), status);
    let answer = refusal.bytes();
    let sent = until_expired(client, async {
        socket.write_all(&answer).await?;
        poll_fn(|cx| Pin::new(&mut *socket).poll_shutdown(cx)).await
    });
    let _gone_or_too_slow = sent.await;
}

/// Passes bytes both ways until both ends have closed, or nothing moves for too long.
async fn tunnel(mut socket: Socket, mut link: Box<super::link::Link>, client: &Client) {
    client.enter(Phase::Tunnel);
    let passed = until_expired(
        client,
        tokio::io::copy_bidirectional(&mut socket, &mut *link),
    );
    let _either_end_is_gone = passed.await;
}

/// `None` if the client's time is over first.
async fn until_expired<T>(client: &Client, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if client.is_expired() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
