//! What a request has to be before anybody acts on it: within the limits, and with one reading only (RFC 9112 3.2, 6.1). Pure.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use super::headers::{self, ConnectionOptions};
use super::refusal::Refusal;
use super::request_head::Framing;
use crate::limits::Limits;

/// What the checks have found out.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    /// What `Host` is, or has to be: an absolute target replaces it (RFC 9112 3.2.2).
    pub(super) host: &'a str,
    /// The app that the request's door names.
    pub(super) app: Option<&'a str>,
    pub(super) framing: Framing,
    pub(super) connection: ConnectionOptions,
    /// Whether another protocol is asked for.
    pub(super) upgrade: bool,
}

const BAD_HOST: Refusal = Refusal::BadRequest("the request's host is none");

/// Checks a request whose body has this length, where it is known.
pub(super) fn check<'a>(
    request: &'a Parts,
    length: Option<u64>,
    limits: &Limits,
) -> Result<Checked<'a>, Refusal> {
    if request.method == Method::CONNECT {
        return Err(Refusal::NotImplemented);
    }
    let target = check_target(request, limits)?;
    let mut size = target.len();
    let mut host = None;
    let mut app = None;
    let mut framing = Framing::None;
    let mut connection = ConnectionOptions::default();
    let mut names_protocol = false;
    // One pass: a look-up for each costs more than all of them together.
    for (name, value) in &request.headers {
        size += name.as_str().len() + value.len() + 4;
        match *name {
            header::HOST if host.replace(value).is_some() => return Err(BAD_HOST),
            header::CONNECTION => connection.read(value),
            header::CONTENT_LENGTH if framing == Framing::None => framing = Framing::Length,
            header::TRANSFER_ENCODING => {
                let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                if !is_chunked || framing == Framing::Chunked {
                    return Err(Refusal::BadRequest(
                        "the only transfer coding that is read here is \"chunked\"",
                    ));
                }
                framing = Framing::Chunked;
            }
            header::UPGRADE => names_protocol = true,
            _ if name.as_str() == headers::APP => app = value.to_str().ok(),
            _ => {}
        }
    }
    if size > limits.header_bytes || request.headers.len() > limits.header_count {
        return Err(Refusal::HeaderTooLarge);
    }
    if let (Some(allowed), Some(length)) = (limits.body_bytes, length)
        && length > allowed
    {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(Checked {
        host: check_host(request, host)?,
        app,
        framing,
        upgrade: names_protocol && connection.upgrades(),
        connection,
    })
}

/// Origin form, absolute form, or the asterisk (RFC 9112 3.2).
fn check_target<'a>(request: &'a Parts, limits: &Limits) -> Result<&'a str, Refusal> {
    let uri = &request.uri;
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let is_origin = uri.authority().is_none() && target.starts_with('/');
    let is_asterisk = || target == "*" && request.method == Method::OPTIONS;
    let is_absolute = || matches!(uri.scheme_str(), Some("http" | "https"));
    match is_origin || is_asterisk() || is_absolute() {
        true => Ok(target),
        false => Err(Refusal::BadRequest("the request's target is none")),
    }
}

fn check_host<'a>(request: &'a Parts, field: Option<&'a HeaderValue>) -> Result<&'a str, Refusal> {
    let field = match field {
        Some(host) => host.to_str().map_err(|_| BAD_HOST)?,
        // HTTP/1.0 knew no Host.
        None if request.version == Version::HTTP_10 => "",
        None => return Err(Refusal::BadRequest("the request names no host")),
    };
    let host = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => field,
    };
    let is_odd = |b: &u8| matches!(b, b' ' | b'\t' | b',' | b'/' | b'@' | b'?' | b'#' | b'\\');
    match host.as_bytes().iter().any(is_odd) {
        true => Err(BAD_HOST),
        false => Ok(host),
    }
}
