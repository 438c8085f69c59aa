//! One request: checked, and answered by ourselves or passed on.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};

use crate::challenge;

use super::challenges::{Answer, Visit};
use super::client::{Client, Phase};
use super::forward::forward;
use super::headers::Framing;
use super::refusal::Refusal;
use super::reply::Reply;

/// Answers one request.
pub(super) async fn respond(client: Arc<Client>, request: Request<Incoming>) -> Response<Reply> {
    client.enter(Phase::Waiting);
    let checked = match check(&request, &client) {
        Ok(checked) => checked,
        Err(refusal) => return refuse(refusal, request, &client),
    };
    if let Some(answer) = asked_for(&request, &client) {
        return answer_challenge(&answer, &request, client);
    }
    let Some(app) = client.gate.app(&checked.host) else {
        return refuse(Refusal::UnknownHost, request, &client);
    };
    if app.peers.is_empty() {
        return refuse(Refusal::NothingHere, request, &client);
    }
    forward(&client, &app, request, checked).await
}

/// What the checks have found out.
pub(super) struct Checked {
    /// The value that `Host` has, or would have.
    pub(super) host: Box<str>,
    pub(super) framing: Framing,
}

/// Refuses what could be read in two ways (RFC 9112 3.2, 6.1) or exceeds a limit.
fn check(request: &Request<Incoming>, client: &Client) -> Result<Checked, Refusal> {
    let limits = &client.gate.settings.limits;
    let headers = request.headers();
    if *request.method() == Method::CONNECT {
        return Err(Refusal::NotImplemented);
    }
    let uri = request.uri();
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size + target.len() > limits.header_bytes || headers.len() > limits.header_count {
        return Err(Refusal::HeaderTooLarge);
    }
    let is_origin = uri.authority().is_none() && target.starts_with('/');
    let is_absolute = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_asterisk = target == "*" && *request.method() == Method::OPTIONS;
    if !(is_origin || is_absolute || is_asterisk) {
        return Err(Refusal::BadRequest("the request's target is none"));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| BAD_HOST)?,
        (Some(_), Some(_)) => return Err(BAD_HOST),
        // HTTP/1.0 knew no Host.
        (None, _) if request.version() == Version::HTTP_10 => "",
        (None, _) => return Err(Refusal::BadRequest("the request names no host")),
    };
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => host,
    };
    if host
        .bytes()
        .any(|b| b.is_ascii_whitespace() || matches!(b, b',' | b'/' | b'@' | b'?' | b'#' | b'\\'))
    {
        return Err(BAD_HOST);
    }
    Ok(Checked {
        host: host.into(),
        framing: framing(request, limits.body_bytes)?,
    })
}

const BAD_HOST: Refusal = Refusal::BadRequest("the request's host is none");

fn framing(request: &Request<Incoming>, allowed: Option<u64>) -> Result<Framing, Refusal> {
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), _) => Err(Refusal::BadRequest(
            "the only transfer coding that is read here is \"chunked\"",
        )),
        (None, _) => {
            if let (Some(allowed), Some(length)) = (allowed, request.body().size_hint().exact())
                && length > allowed
            {
                return Err(Refusal::BodyTooLarge);
            }
            Ok(
                match request.headers().contains_key(header::CONTENT_LENGTH) {
                    true => Framing::Length,
                    false => Framing::None,
                },
            )
        }
    }
}

/// The answer to a challenge, if that is what is asked for. Only a path under the prefix touches the map.
fn asked_for(request: &Request<Incoming>, client: &Client) -> Option<Arc<Answer>> {
    let token = challenge::token_in(request.uri().path())?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    client.gate.challenges.answer(token)
}

fn answer_challenge(
    answer: &Answer,
    request: &Request<Incoming>,
    client: Arc<Client>,
) -> Response<Reply> {
    answer.visited(visit(request, &client));
    if !request.body().is_end_stream() {
        client.set_unread();
    }
    let body = answer.body();
    let length = body.len();
    // The server half leaves a body out for HEAD, and keeps the length.
    let mut response = Response::new(Reply::whole(body, client));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn visit(request: &Request<Incoming>, client: &Client) -> Visit {
    let text = |name| {
        let value: Option<&HeaderValue> = request.headers().get(name);
        value.map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let proto = text(header::HeaderName::from_static("x-forwarded-proto"));
    Visit {
        client: client_address(request, client),
        https: client.trusted && proto.trim().eq_ignore_ascii_case("https"),
        host: text(header::HOST),
        user_agent: text(header::USER_AGENT),
    }
}

/// Whom the peer speaks for: the last address in `X-Forwarded-For` that isn't itself one of the trusted.
pub(super) fn client_address(request: &Request<Incoming>, client: &Client) -> Option<IpAddr> {
    if !client.trusted {
        return client.address;
    }
    let mut found = client.address;
    for line in request.headers().get_all("x-forwarded-for").iter().rev() {
        for address in line.as_bytes().rsplit(|b| *b == b',') {
            let Some(address) = std::str::from_utf8(address)
                .ok()
                .and_then(|address| address.trim().parse::<IpAddr>().ok())
            else {
                return found;
            };
            found = Some(address);
            if !client.gate.settings.trusts(address) {
                return found;
            }
        }
    }
    found
}

/// Our own answer to a request that isn't passed on.
fn refuse(refusal: Refusal, request: Request<Incoming>, client: &Arc<Client>) -> Response<Reply> {
    if !request.body().is_end_stream() {
        client.set_unread();
    }
    refused(refusal, request.headers(), client)
}

/// Our own answer, where the request's body has been seen to.
pub(super) fn refused(
    refusal: Refusal,
    request: &http::HeaderMap,
    client: &Arc<Client>,
) -> Response<Reply> {
    if refusal.closes() {
        client.set_unread();
    }
    refusal
        .answer(request)
        .map(|body: Bytes| Reply::whole(body, Arc::clone(client)))
}

/// A 101 has no body, and ends HTTP on the connection.
pub(super) fn switching(headers: http::HeaderMap, client: &Arc<Client>) -> Response<Reply> {
    let mut response = Response::new(Reply::whole(Bytes::new(), Arc::clone(client)));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}
