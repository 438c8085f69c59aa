//! The answers that are our own: a status and a sentence, as text or, for who accepts nothing else, as JSON.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

/// Why a request isn't passed on, or has got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400: it could be read in two ways, or not at all.
    BadRequest(&'static str),
    /// 404: an app without upstreams.
    NothingHere,
    /// 405: a challenge is asked for with a method that answers nothing.
    MethodNotAllowed,
    /// 408: the client was too slow.
    ClientTooSlow,
    /// 413
    BodyTooLarge,
    /// 414
    TargetTooLong,
    /// 421: nobody here answers to that name.
    UnknownHost,
    /// 431
    HeaderTooLarge,
    /// 501: CONNECT.
    NotImplemented,
    /// 502: the app can't be reached or its answer is none.
    BadGateway(&'static str),
    /// 503: too many tunnels.
    TooManyTunnels,
    /// 504: the app was too slow.
    UpstreamTooSlow,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NothingHere => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::TooManyTunnels => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTooSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::BadRequest(reason) | Self::BadGateway(reason) => reason,
            Self::NothingHere => "there is nothing here but answers to challenges",
            Self::MethodNotAllowed => "only GET and HEAD are answered here",
            Self::ClientTooSlow => "the request took too long to arrive",
            Self::BodyTooLarge => "the request's body is larger than allowed",
            Self::TargetTooLong => "the request's target is longer than allowed",
            Self::UnknownHost => "no app answers to this host",
            Self::HeaderTooLarge => "the request's header is larger than allowed",
            Self::NotImplemented => "this method is not served here",
            Self::TooManyTunnels => "too many tunnels are open, try again later",
            Self::UpstreamTooSlow => "the app took too long to answer",
        }
    }

    /// Whether the connection ends with the answer, because what follows on it can't be trusted or isn't worth reading.
    pub(super) fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::ClientTooSlow
                | Self::BodyTooLarge
                | Self::TargetTooLong
                | Self::HeaderTooLarge
                | Self::NotImplemented
        )
    }

    /// The answer for whoever sent this request header.
    pub(super) fn answer(self, request: &HeaderMap) -> Response<Bytes> {
        let (kind, body) = if accepts_only_json(request) {
            let body = serde_json::json!({
                "status": self.status().as_u16(),
                "error": self.sentence(),
            });
            ("application/json", format!("{body}\n"))
        } else {
            (
                "text/plain; charset=utf-8",
                format!("{}\n", self.sentence()),
            )
        };
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if self.closes() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// The whole answer as bytes, for a request whose head hyper has not read.
    pub(super) fn bytes(self) -> Vec<u8> {
        let status = self.status();
        let body = self.sentence();
        format!(
            "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len() + 1,
        )
        .into_bytes()
    }

    /// What a status means that hyper has found for a head.
    pub(super) fn of_head(status: u16) -> Self {
        match status {
            414 => Self::TargetTooLong,
            431 => Self::HeaderTooLarge,
            _ => Self::BadRequest("this is no HTTP/1.1 request"),
        }
    }
}

/// Whether JSON is accepted and text is not (RFC 9110 12.5.1, without weights).
fn accepts_only_json(request: &HeaderMap) -> bool {
    let mut json = false;
    for line in request.get_all(header::ACCEPT) {
        for range in line.as_bytes().split(|b| *b == b',') {
            let range = range.split(|b| *b == b';').next().unwrap_or(range);
            match range.trim_ascii().to_ascii_lowercase().as_slice() {
                b"*/*" | b"text/*" | b"text/plain" | b"text/html" => return false,
                range if range.ends_with(b"json") => json = true,
                _ => {}
            }
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(accept: &str) -> String {
        let mut request = HeaderMap::new();
        request.insert(header::ACCEPT, accept.parse().unwrap());
        let answer = Refusal::UnknownHost.answer(&request);
        answer.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .into()
    }

    #[test]
    fn answers_json_to_who_accepts_nothing_else() {
        for accept in [
            "application/json",
            "application/problem+json, application/json;q=0.5",
        ] {
            assert_eq!(content_type(accept), "application/json", "{accept}");
        }
        for accept in [
            "*/*",
            "application/json, */*;q=0.1",
            "text/html, application/json",
            "image/png",
        ] {
            assert_eq!(
                content_type(accept),
                "text/plain; charset=utf-8",
                "{accept}"
            );
        }
    }

    #[test]
    fn its_bytes_are_as_long_as_they_say() {
        let text = String::from_utf8(Refusal::HeaderTooLarge.bytes()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
    }
}
