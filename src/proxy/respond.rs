//! One request: checked, and answered by ourselves or passed on.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};

use crate::challenge;

use super::challenges::{Answer, Visit};
use super::check::check;
use super::client::{Client, Phase};
use super::forward::forward;
use super::refusal::Refusal;
use super::reply::Reply;

/// Answers one request.
pub(super) async fn respond(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    client.enter(Phase::Waiting);
    let (request, body) = request.into_parts();
    let length = body.size_hint().exact();
    let checked = match check(&request, length, &client.gate.settings.limits) {
        Ok(checked) => checked,
        Err(refusal) => return Ok(refuse(refusal, &request, &body, &client)),
    };
    if let Some(answer) = asked_for(&request, &client) {
        return Ok(answer_challenge(&answer, &request, &body, client));
    }
    let Some(app) = client.gate.app(checked.host) else {
        return Ok(refuse(Refusal::UnknownHost, &request, &body, &client));
    };
    if app.peers.is_empty() {
        return Ok(refuse(Refusal::NothingHere, &request, &body, &client));
    }
    let body = (!body.is_end_stream()).then_some(body);
    Ok(forward(&client, &app, &request, &checked, body).await)
}

/// The answer to a challenge, if that is what is asked for. Only a path under the prefix touches the map.
fn asked_for(request: &Parts, client: &Client) -> Option<Arc<Answer>> {
    let token = challenge::token_in(request.uri.path())?;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    client.gate.challenges.answer(token)
}

fn answer_challenge(
    answer: &Answer,
    request: &Parts,
    body: &Incoming,
    client: Arc<Client>,
) -> Response<Reply> {
    answer.visited(visit(request, &client));
    if !body.is_end_stream() {
        client.set_unread();
    }
    let text = answer.body();
    let length = text.len();
    // The server half leaves a body out for HEAD, and keeps the length.
    let mut response = Response::new(Reply::whole(text, client));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn visit(request: &Parts, client: &Client) -> Visit {
    let text = |name| {
        let value: Option<&HeaderValue> = request.headers.get(name);
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
fn client_address(request: &Parts, client: &Client) -> Option<IpAddr> {
    if !client.trusted {
        return client.address;
    }
    let mut found = client.address;
    for line in request.headers.get_all("x-forwarded-for").iter().rev() {
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
fn refuse(
    refusal: Refusal,
    request: &Parts,
    body: &Incoming,
    client: &Arc<Client>,
) -> Response<Reply> {
    if !body.is_end_stream() {
        client.set_unread();
    }
    refused(refusal, &request.headers, client)
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
