//! One request: checked, and answered by ourselves or passed on.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::{Body, Incoming};

use crate::challenge::{self, Token};

use super::challenges::{Answer, Visit};
use super::check::check;
use super::client::{Client, Phase};
use super::forward::{Journey, forward};
use super::record::Record;
use super::refusal::Refusal;
use super::reply::{Content, Reply};
use super::settings::Settings;

/// Answers one request.
pub(super) async fn respond(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    client.enter(Phase::Waiting);
    let (request, body) = request.into_parts();
    let mut record = Record::new(client, &request);
    let answer = match decide(&mut record, &request, body).await {
        Ok(answer) => answer,
        Err(refusal) => {
            if refusal.closes() {
                record.client.set_unread(true);
            }
            refusal.answer(&request.headers).map(Content::Whole)
        }
    };
    record.status = answer.status().as_u16();
    Ok(answer.map(|content| Reply::new(content, record)))
}

async fn decide(
    record: &mut Record,
    request: &Parts,
    body: Incoming,
) -> Result<Response<Content>, Refusal> {
    let length = body.size_hint().exact();
    if !body.is_end_stream() {
        // Until somebody has read it.
        record.client.set_unread(true);
    }
    let checked = check(request, length, &record.terms.settings.limits)?;
    if let Some(answer) = asked_for(request, &record.client) {
        answer.visited_with(|| visit(request, record));
        return Ok(challenge_answer(&answer));
    }
    let gate = &record.client.gate;
    let named = checked.app.filter(|_| record.client.is_trusted());
    let app = gate.app(named, checked.host).ok_or(Refusal::UnknownHost)?;
    let app = record.app.insert(app);
    if app.peers.is_empty() {
        return Err(Refusal::NothingHere);
    }
    let body = (!body.is_end_stream()).then_some(body);
    let journey = Journey {
        client: &record.client,
        settings: &record.terms.settings,
        app,
        parts: request,
        checked: &checked,
    };
    forward(&journey, body).await
}

/// The answer to a challenge, if that is what is asked for. Only a path under the prefix touches the map.
fn asked_for(request: &Parts, client: &Client) -> Option<Arc<Answer>> {
    let name = request.uri.path().strip_prefix(challenge::PREFIX)?;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    let answer = client.gate.challenges.answer(name);
    let meter = &client.gate.meter;
    if answer.is_some() {
        meter.challenges_answered.count();
    } else if Token::is_well_formed(name.as_bytes()) {
        meter.challenges_unknown.count();
    }
    answer
}

fn challenge_answer(answer: &Answer) -> Response<Content> {
    // The server half writes the length by itself, and leaves the body out for HEAD.
    let mut response = Response::new(Content::Whole(answer.body()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

fn visit(request: &Parts, record: &Record) -> Visit {
    let client = &record.client;
    let text = |name| {
        let value: Option<&HeaderValue> = request.headers.get(name);
        value.map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let proto = text(header::HeaderName::from_static("x-forwarded-proto"));
    Visit {
        client: client_address(request, client, &record.terms.settings),
        https: client.is_trusted() && proto.trim().eq_ignore_ascii_case("https"),
        host: text(header::HOST),
        user_agent: text(header::USER_AGENT),
    }
}

/// Whom the peer speaks for: the last address in `X-Forwarded-For` that isn't itself one of the trusted.
pub(super) fn client_address(
    request: &Parts,
    client: &Client,
    settings: &Settings,
) -> Option<IpAddr> {
    if !client.is_trusted() {
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
            if !settings.trusts(address) {
                return found;
            }
        }
    }
    found
}
