//! The head of an upstream's answer: parsed, its framing decided, freed of what concerns one hop only. Pure.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::headers::{self, ConnectionOptions};
use super::transfer::{Chunk, Transfer};

const MOST_FIELDS: usize = 128;
/// The longest head that is read from an upstream.
pub const LONGEST_HEAD: usize = 256 * 1024;

/// The head of an answer, ready to be passed on.
#[derive(Debug)]
pub struct AnswerHead {
    /// The status; never 1xx but 101.
    pub status: StatusCode,
    /// The reason, where it isn't the usual one.
    pub reason: Option<Bytes>,
    /// What is left for the client.
    pub headers: HeaderMap,
    /// How the body is framed.
    pub transfer: Transfer,
    /// The length that is announced for a body that isn't sent (HEAD, 304).
    pub announced: Option<u64>,
    /// Whether the connection may be used again after the body.
    pub keeps_alive: bool,
}

/// The upstream's answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer is no HTTP: {0}")]
pub struct Malformed(&'static str);

/// Takes the head of the final answer to a request off the front of what was read; `None` if more has to be read.
///
/// Interim answers are dropped: our server half can't send them.
///
/// # Errors
/// If it can't be an answer, or could be read in two ways.
pub fn take(read: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, Malformed> {
    loop {
        let head = match take_one(read, method)? {
            Some(head) => head,
            None if read.len() > LONGEST_HEAD => return Err(Malformed("its head is too long")),
            None => return Ok(None),
        };
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
}

/// Places of a field in the head, as offsets.
#[derive(Clone, Copy, Default)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

fn take_one(read: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut places = [Place::default(); MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut answer, read, &mut fields)
        .map_err(|error| Malformed(describe(error)))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let (Some(code), Some(minor), Some(reason)) = (answer.code, answer.version, answer.reason)
    else {
        return Err(Malformed("it has no status line"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed("its status is no status"))?;
    let place_of = |part: &[u8]| {
        let start = part.as_ptr() as usize - read.as_ptr() as usize;
        (start as u32, (start + part.len()) as u32)
    };
    let count = answer.headers.len();
    for (place, field) in places.iter_mut().zip(answer.headers.iter()) {
        *place = Place {
            name: place_of(field.name.as_bytes()),
            value: place_of(field.value),
        };
    }
    let reason = (Some(reason) != status.canonical_reason())
        .then(|| Bytes::copy_from_slice(reason.as_bytes()));
    let bytes = read.split_to(length).freeze();
    let fields = places[..count].iter().map(|place| {
        let part = |(start, end): (u32, u32)| start as usize..end as usize;
        (&bytes[part(place.name)], bytes.slice(part(place.value)))
    });
    read_fields(fields, count, status, minor == 1, method)
        .map(|head| Some(AnswerHead { reason, ..head }))
}

fn read_fields<'a>(
    fields: impl Iterator<Item = (&'a [u8], Bytes)>,
    count: usize,
    status: StatusCode,
    is_http_11: bool,
    method: &Method,
) -> Result<AnswerHead, Malformed> {
    // Room for what the server half adds, so that the map isn't grown right away.
    let mut headers = HeaderMap::with_capacity(count + 2);
    let mut connection = ConnectionOptions::default();
    let mut length = None;
    let mut is_chunked = false;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed("a field has no name"))?;
        let value = HeaderValue::from_maybe_shared(value)
            .map_err(|_| Malformed("a field's value holds control characters"))?;
        match name {
            header::CONTENT_LENGTH => {
                let this = headers::content_length(&value)
                    .ok_or(Malformed("its Content-Length is no length"))?;
                match length {
                    None => {
                        length = Some(this);
                        headers.append(name, value);
                    }
                    Some(that) if that == this => {}
                    Some(_) => return Err(Malformed("it has two lengths")),
                }
            }
            header::TRANSFER_ENCODING => {
                if is_chunked || !is_http_11 || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("its Transfer-Encoding isn't just \"chunked\""));
                }
                is_chunked = true;
            }
            header::CONNECTION => connection.read(&value),
            // An upgrade names its protocol in the 101.
            header::UPGRADE if status == StatusCode::SWITCHING_PROTOCOLS => {
                headers.append(name, value);
            }
            name if headers::is_hop_by_hop(name.as_str()) => {}
            name => {
                headers.append(name, value);
            }
        }
    }
    connection.remove_named(&mut headers);
    let has_body = *method != Method::HEAD
        && !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_chunked {
        headers.remove(header::CONTENT_LENGTH);
    }
    let transfer = match (has_body, is_chunked, length) {
        (false, ..) => Transfer::Ended,
        (true, true, _) => Transfer::Chunked(Chunk::Size),
        (true, false, Some(length)) => Transfer::Length(length),
        (true, false, None) => Transfer::UntilClose,
    };
    let keeps_alive = match is_http_11 {
        true => !connection.closes(),
        false => connection.keeps_alive(),
    };
    Ok(AnswerHead {
        status,
        reason: None,
        headers,
        announced: length.filter(|_| !has_body && !is_chunked),
        // Both a length and chunks: whoever sent this is not to be asked again on the same connection (RFC 9112 6.3).
        keeps_alive: keeps_alive
            && transfer != Transfer::UntilClose
            && !(is_chunked && length.is_some()),
        transfer,
    })
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::TooManyHeaders => "it has too many fields",
        httparse::Error::Version => "its version is none",
        httparse::Error::Status => "its status line is none",
        _ => "its head is malformed",
    }
}

/// Skips the empty lines that some upstreams leave behind a body.
pub fn skip_empty_lines(read: &mut BytesMut) {
    let blank = read
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    read.advance(blank);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &str) -> Result<Option<AnswerHead>, Malformed> {
        take(&mut BytesMut::from(head), &Method::GET)
    }

    #[test]
    fn decides_the_framing_as_rfc_9112_says() {
        for (head, transfer, keeps_alive) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Transfer::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Transfer::Chunked(Chunk::Size),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Transfer::Chunked(Chunk::Size),
                false,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Transfer::UntilClose, false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
                Transfer::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\n",
                Transfer::Length(5),
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Transfer::Ended, true),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                Transfer::Ended,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
                Transfer::Length(5),
                false,
            ),
        ] {
            let head_read = get(head).unwrap().unwrap();
            assert_eq!(head_read.transfer, transfer, "{head}");
            assert_eq!(head_read.keeps_alive, keeps_alive, "{head}");
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert!(get(head).is_err(), "{head}");
        }
    }

    #[test]
    fn drops_interim_answers_and_what_concerns_one_hop() {
        let head = get(concat!(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 Fine\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-End: 2\r\n\r\n"
        ))
        .unwrap()
        .unwrap();
        assert_eq!(head.reason.as_deref(), Some(&b"Fine"[..]));
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers["x-end"], "2");
    }

    #[test]
    fn waits_for_the_end_of_the_head_and_leaves_the_body() {
        let mut read = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
        assert!(take(&mut read, &Method::GET).unwrap().is_none());
        read.extend_from_slice(b"\r\nhi");
        assert!(take(&mut read, &Method::GET).unwrap().is_some());
        assert_eq!(read, "hi");
    }
}
