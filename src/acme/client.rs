//! The HTTP client that instant-acme is given: it keeps what instant-acme would lose of each answer, hands out nonces
//! from a stock of its own, and turns every error page into a problem document.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::ca::Directory;
use super::call::{Answer, CallError, LAST_ANSWER};
use super::problem::{document, plain};
use super::transport::{Transport, TransportError};

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
/// Nonces older than this are likely to have been forgotten by the CA.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// More than this many requests to one CA are never under way.
const NONCES_KEPT: usize = 32;
/// A CA that asks for more patience than this is misunderstood.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// What all calls to one CA share.
pub(super) struct Client {
    transport: Transport,
    nonces: Mutex<Vec<(Instant, HeaderValue)>>,
}

impl Client {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            nonces: Mutex::default(),
        }
    }

    /// Reads a resource that needs no signature.
    pub(super) async fn get(&self, what: &'static str, uri: &str) -> Result<Answer, CallError> {
        let request = Request::get(uri)
            .body(Bytes::new())
            .map_err(|error| CallError::Broken {
                what,
                reason: error.to_string(),
            })?;
        self.answer(what, request).await?.success()
    }

    /// The answer to a request, whatever it says.
    pub(super) async fn answer(
        &self,
        what: &'static str,
        request: Request<Bytes>,
    ) -> Result<Answer, CallError> {
        let sent = self.send(request).await;
        let (answer, _) = sent.map_err(|error| CallError::of_transport(what, error))?;
        Ok(answer)
    }

    /// A nonce, from stock or from the CA (RFC 8555 7.2).
    pub(super) async fn fresh_nonce(
        &self,
        what: &'static str,
        directory: &Directory,
    ) -> Result<String, CallError> {
        let broken = |reason: String| CallError::Broken { what, reason };
        let request = Request::head(directory.new_nonce())
            .body(Bytes::new())
            .map_err(|error| broken(error.to_string()))?;
        let sent = self.nonce(request).await;
        let (answer, parts) = sent.map_err(|error| CallError::of_transport(what, error))?;
        answer.success()?;
        let nonce = parts.headers.get(REPLAY_NONCE);
        let nonce = nonce.and_then(|nonce| nonce.to_str().ok());
        nonce
            .map(str::to_owned)
            .ok_or_else(|| broken("the CA gives out no nonce".to_owned()))
    }

    /// Sends a request, puts the answer's nonce in stock, and makes sure that an error explains itself.
    async fn send(&self, request: Request<Bytes>) -> Result<(Answer, Parts), TransportError> {
        let (answer, mut parts) = self.send_for_nonce(request).await?;
        if let Some(nonce) = parts.headers.remove(REPLAY_NONCE) {
            self.keep(nonce);
        }
        Ok((answer, parts))
    }

    async fn send_for_nonce(
        &self,
        request: Request<Bytes>,
    ) -> Result<(Answer, Parts), TransportError> {
        let (mut parts, mut body) = self.transport.send(request).await?.into_parts();
        let status = parts.status;
        let problem = if status.is_success() {
            None
        } else {
            let (mut problem, explained) = document(status, &body);
            if status.is_redirection()
                && let Some(location) = parts.headers.get(LOCATION)
            {
                let location = String::from_utf8_lossy(location.as_bytes());
                problem.detail = plain(&format!("HTTP {status}, which leads to {location}"), 300);
            }
            body = explained.into();
            // instant-acme takes a redirection for a success; no ACME resource has any.
            if !(status.is_client_error() || status.is_server_error()) {
                parts.status = StatusCode::BAD_GATEWAY;
            }
            Some(problem)
        };
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let answer = Answer {
            status,
            retry_after: retry_after(&parts.headers, SystemTime::now()),
            location: parts.headers.get(LOCATION).and_then(text),
            alternates: alternates(&parts.headers),
            problem,
            body,
        };
        // instant-acme adds these seconds to the clock unchecked, and nobody looks at its sum.
        parts.headers.remove(RETRY_AFTER);
        Ok((answer, parts))
    }

    fn keep(&self, nonce: HeaderValue) {
        let mut nonces = self.nonces();
        if nonces.len() == NONCES_KEPT {
            nonces.remove(0);
        }
        nonces.push((Instant::now(), nonce));
    }

    fn take_nonce(&self) -> Option<HeaderValue> {
        let mut nonces = self.nonces();
        let (received, nonce) = nonces.pop()?;
        if received.elapsed() > NONCE_LIFETIME {
            nonces.clear();
            return None;
        }
        Some(nonce)
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, HeaderValue)>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request for a nonce, from stock if there is one: a round trip less for each order.
    async fn nonce(&self, request: Request<Bytes>) -> Result<(Answer, Parts), TransportError> {
        if let Some(nonce) = self.take_nonce() {
            let mut parts = Response::new(()).into_parts().0;
            parts.headers.insert(REPLAY_NONCE, nonce);
            return Ok((Answer::default(), parts));
        }
        let (answer, mut parts) = self.send_for_nonce(request).await?;
        if answer.status.is_success() {
            // 200 for HEAD and 204 for GET, but some CAs confuse the two, and instant-acme insists (RFC 8555 7.2).
            parts.status = StatusCode::OK;
        }
        Ok((answer, parts))
    }
}

/// A [`Client`] as instant-acme sees it: with the directory at hand, which was read before.
pub(super) struct Http {
    pub(super) client: Arc<Client>,
    pub(super) directory: Bytes,
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        // The only unsigned GET that instant-acme makes for us is for the directory.
        if request.method() == Method::GET {
            let response = Response::new(Full::new(self.directory.clone()));
            return Box::pin(async { Ok(response.into()) });
        }
        let client = Arc::clone(&self.client);
        let slot = LAST_ANSWER.try_with(Arc::clone).unwrap_or_default();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let wants_nonce = parts.method == Method::HEAD;
            let request = Request::from_parts(parts, body.to_bytes());
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let sent = if wants_nonce {
                client.nonce(request).await
            } else {
                client.send(request).await
            };
            let (answer, parts) = sent.map_err(|error| instant_acme::Error::Other(error.into()))?;
            let response = Response::from_parts(parts, Full::new(answer.body.clone()));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            Ok(response.into())
        })
    }
}

/// When the CA wants to be asked again: seconds from now or an HTTP date, if it lies ahead (RFC 9110 10.2.3). A date is taken by the CA's
/// own clock, if that shows: ours may be wrong.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let date = |value: &str| {
        OffsetDateTime::parse(value, &Rfc2822)
            .ok()
            .map(SystemTime::from)
    };
    let at = match value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for 64 bits is above the limit as well.
        true if !value.is_empty() => {
            let seconds = value.parse().map_or(LONGEST_WAIT, Duration::from_secs);
            now + seconds.min(LONGEST_WAIT)
        }
        _ => {
            let theirs = headers
                .get(DATE)
                .and_then(|theirs| date(theirs.to_str().ok()?));
            let wait = date(value)?.duration_since(theirs.unwrap_or(now)).ok()?;
            now + wait.min(LONGEST_WAIT)
        }
    };
    (at > now).then_some(at)
}

/// The targets of all links of relation `alternate` (RFC 8288 3, RFC 8555 7.4.2).
fn alternates(headers: &HeaderMap) -> Vec<String> {
    let links = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let each = links.flat_map(|value| value.split(",").map(str::trim));
    each.filter_map(|link| {
        let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').map(str::trim);
        parameters
            .any(|parameter| matches!(parameter, "rel=\"alternate\"" | "rel=alternate"))
            .then(|| target.to_owned())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value: &str| {
            let at = retry_after(&headers(RETRY_AFTER, &[value]), now)?;
            Some(at.duration_since(now).unwrap().as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(
            read("99999999999999999999999"),
            Some(LONGEST_WAIT.as_secs())
        );
        assert_eq!(read("18446744073709551615"), Some(LONGEST_WAIT.as_secs()));
        assert_eq!(
            read("Sun, 06 Nov 9999 08:50:37 GMT"),
            Some(LONGEST_WAIT.as_secs())
        );
        for nothing in [
            "0",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "",
            "-1",
            "soon",
            "1.5",
        ] {
            assert_eq!(read(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn links_to_alternate_chains_are_found() {
        let found = alternates(&headers(
            LINK,
            &[
                "<https://ca.example/directory>;rel=\"index\"",
                "<https://ca.example/cert/1/1>; rel=\"alternate\", <https://ca.example/cert/1/2>;rel=alternate",
            ],
        ));
        assert_eq!(
            found,
            ["https://ca.example/cert/1/1", "https://ca.example/cert/1/2"]
        );
    }

    #[test]
    fn the_newest_nonce_is_used_first_and_each_once() {
        let transport = Transport::new(b"", super::super::Limits::default()).unwrap();
        let client = Client::new(transport);
        for nonce in ["one", "two"] {
            client.keep(HeaderValue::from_static(nonce));
        }
        assert_eq!(client.take_nonce().unwrap(), "two");
        assert_eq!(client.take_nonce().unwrap(), "one");
        assert_eq!(client.take_nonce(), None);
    }
}
