//! A request on its way to its app: which upstream, over which connection, and what becomes of it if that fails.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use super::answer_head::AnswerHead;
use super::check::Checked;
use super::client::{Client, Phase};
use super::exchange::{Exchange, ExchangeError};
use super::headers;
use super::link::Link;
use super::peer::Peer;
use super::pool;
use super::refusal::Refusal;
use super::reply::Content;
use super::request_head::{self, Framing, Origin, RequestHead};
use super::routes::App;
use super::settings::Settings;

/// Passes a request on and gives back the answer.
///
/// # Errors
/// What to say where there is no answer.
pub(super) async fn forward(
    journey: &Journey<'_>,
    body: Option<Incoming>,
) -> Result<Response<Content>, Refusal> {
    let client = journey.client;
    let tunnel = match journey.checked.upgrade {
        true => Some(
            client
                .gate
                .tunnels
                .try_take()
                .ok_or(Refusal::TooManyTunnels)?,
        ),
        false => None,
    };
    let (mut exchange, mut head) = journey.answer(body).await?;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        exchange.link.tunnel = Some(tunnel.ok_or(Refusal::BadGateway(UNASKED))?);
        client.set_tunnel(exchange.link);
        let upgrade = HeaderValue::from_static("upgrade");
        head.headers.insert(header::CONNECTION, upgrade);
        return Ok(pass_back(head, Content::Whole(Bytes::new())));
    }
    client.enter(Phase::Sending);
    let content = Content::streamed(exchange, head.announced, client, &journey.settings.limits);
    Ok(pass_back(head, content))
}

const UNASKED: &str = "the app switched to a protocol nobody asked for";

fn pass_back(head: AnswerHead, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    if let Some(reason) = head.reason
        && let Ok(reason) = ReasonPhrase::try_from(reason)
    {
        response.extensions_mut().insert(reason);
    }
    response
}

/// Everything that stays the same from one attempt to the next.
pub(super) struct Journey<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) settings: &'a Settings,
    pub(super) app: &'a App,
    pub(super) parts: &'a Parts,
    pub(super) checked: &'a Checked<'a>,
}

impl Journey<'_> {
    /// Tries once more where nobody can notice: on a fresh connection, if the one that had rested dies before a byte of an answer,
    /// the method is idempotent (RFC 9110 9.2.2) and there is no body.
    async fn answer(&self, body: Option<Incoming>) -> Result<(Exchange, AnswerHead), Refusal> {
        let may_repeat = body.is_none() && self.parts.method.is_idempotent();
        let (link, is_fresh) = self.link(true).await?;
        match self.attempt(link, is_fresh, body).await {
            Err(ExchangeError::Closed(_)) if may_repeat && !is_fresh => {
                self.client.gate.meter.retries.count();
                let (link, _) = self.link(false).await?;
                self.attempt(link, true, None).await
            }
            answer => answer,
        }
        .map_err(|error| self.refusal(&error))
    }

    /// A connection to the first upstream that takes one. Nothing has been sent yet, so any method may go to the next.
    async fn link(&self, may_have_rested: bool) -> Result<(Box<Link>, bool), Refusal> {
        let mut is_slow = false;
        for peer in self.app.in_turn() {
            if may_have_rested
                && let Some(link) = poll_fn(|cx| Poll::Ready(pool::take(peer, cx))).await
            {
                self.client.gate.meter.reuses.count();
                return Ok((link, false));
            }
            match peer.connect(self.settings.limits.connect_time).await {
                Ok(stream) => {
                    self.client.gate.meter.connects.count();
                    return Ok((Box::new(Link::new(stream, Arc::clone(peer))), true));
                }
                Err(error) => {
                    is_slow = error.kind() == std::io::ErrorKind::TimedOut;
                    self.note_failure(peer, &error);
                }
            }
        }
        Err(match is_slow {
            true => Refusal::UpstreamTooSlow,
            false => Refusal::BadGateway("the app can't be reached"),
        })
    }

    fn note_failure(&self, peer: &Peer, error: &std::io::Error) {
        peer.failed();
        self.client.gate.meter.failed_connects.count();
        tracing::warn!(app = %self.app.name, upstream = %peer.upstream, %error, "an upstream can't be reached");
    }

    async fn attempt(
        &self,
        mut link: Box<Link>,
        is_fresh: bool,
        body: Option<Incoming>,
    ) -> Result<(Exchange, AnswerHead), ExchangeError> {
        let client = self.client;
        let settings = self.settings;
        request_head::write_request(
            &RequestHead {
                method: &self.parts.method,
                uri: &self.parts.uri,
                host: self.checked.host.as_bytes(),
                headers: &self.parts.headers,
                connection: &self.checked.connection,
                upgrade: self.checked.upgrade,
                framing: self.checked.framing,
            },
            &Origin {
                address: client.address.map(|_| &*client.address_text),
                port: client.local_port,
                trusted: client.is_trusted(),
                forwarded: settings.forwarded,
            },
            &mut link.out,
        );
        let is_chunked = self.checked.framing == Framing::Chunked;
        if is_chunked && body.is_none() {
            // The server half has read an empty chunked body already.
            link.out.extend_from_slice(b"0\r\n\r\n");
        }
        let trailers = match is_chunked {
            true => headers::announced_trailers(&self.parts.headers),
            false => Vec::new(),
        };
        let allowed = settings.limits.body_bytes;
        let mut exchange = Exchange::new(link, body, is_chunked, trailers, allowed);
        client.enter(match exchange.awaits_client() {
            true => Phase::Uploading,
            false => Phase::Waiting,
        });
        let head = poll_fn(|cx| {
            if client.is_expired() {
                client.clear_expired();
                return Poll::Ready(Err(ExchangeError::Expired {
                    by_client: exchange.awaits_client(),
                }));
            }
            let head = exchange.poll_head(cx, &self.parts.method);
            if client.phase() == Phase::Uploading && exchange.is_sent() {
                client.enter(Phase::Waiting);
            }
            head
        })
        .await;
        let peer = &exchange.link.peer;
        match &head {
            Ok(_) => peer.succeeded(),
            Err(error) if error.is_upstreams_fault(is_fresh) => peer.failed(),
            Err(_) => {}
        }
        Ok((exchange, head?))
    }

    fn refusal(&self, error: &ExchangeError) -> Refusal {
        let app = &self.app.name;
        match error {
            ExchangeError::Client(source) => {
                tracing::debug!(%app, error = %source, "a request's body broke off");
                Refusal::BadRequest("the request's body breaks its framing")
            }
            ExchangeError::TooLarge => Refusal::BodyTooLarge,
            ExchangeError::Expired { by_client: true } => Refusal::ClientTooSlow,
            ExchangeError::Expired { by_client: false } => {
                tracing::warn!(%app, path = self.parts.uri.path(), "the app took too long to answer");
                Refusal::UpstreamTooSlow
            }
            error => {
                tracing::warn!(%app, path = self.parts.uri.path(), %error, "the app gave no answer");
                Refusal::BadGateway("the app gave no proper answer")
            }
        }
    }
}
