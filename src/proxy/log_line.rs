//! How a line of the access log is written: as JSON, or in nginx's combined format. Pure.
//!
//! Bytes are pushed and numbers written by hand: formatting in the usual way costs five times as much (benches/README.md).

use std::io::Write;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::request::Parts;
use time::OffsetDateTime;
use time::macros::format_description;

use super::access_log::AccessFormat;
use super::decimal;

/// A time in UTC, in seconds since 1970, as it stands in a line.
pub(super) fn time(format: AccessFormat, seconds: u64) -> String {
    let format = match format {
        AccessFormat::Json => {
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z")
        }
        AccessFormat::Combined => {
            format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000")
        }
    };
    let time = OffsetDateTime::from_unix_timestamp(seconds as i64);
    let text = time.ok().and_then(|time| time.format(format).ok());
    text.unwrap_or_default()
}

/// What is known when a request begins.
pub(super) fn begin_json(request: Option<&Parts>, client: &str, now: &str, line: &mut Vec<u8>) {
    for piece in [
        "{\"time\":\"",
        now,
        "\",\"client\":\"",
        client,
        "\",\"method\":\"",
        method(request),
    ] {
        line.extend_from_slice(piece.as_bytes());
    }
    for (key, value) in [
        (&b"\",\"host\":\""[..], field(request, header::HOST)),
        (b"\",\"target\":\"", target(request).as_bytes()),
        (b"\",\"referer\":\"", field(request, header::REFERER)),
        (b"\",\"user_agent\":\"", field(request, header::USER_AGENT)),
    ] {
        line.extend_from_slice(key);
        push_json(value, line);
    }
}

/// What is known at the end.
pub(super) fn end_json(
    app: Option<&str>,
    status: u16,
    sent: u64,
    took: Duration,
    line: &mut Vec<u8>,
) {
    line.extend_from_slice(b"\",\"app\":\"");
    line.extend_from_slice(app.unwrap_or_default().as_bytes());
    line.extend_from_slice(b"\",\"status\":");
    decimal::push(status.into(), line);
    line.extend_from_slice(b",\"bytes\":");
    decimal::push(sent, line);
    line.extend_from_slice(b",\"seconds\":");
    decimal::push(took.as_secs(), line);
    line.push(b'.');
    decimal::push_padded(took.subsec_micros(), 6, line);
    line.push(b'}');
}

/// What stands in a JSON string. Nearly all values are plain, and need no escaping.
fn push_json(value: &[u8], line: &mut Vec<u8>) {
    // All of them, without a way out: so several are looked at at a time.
    let is_plain = value.iter().fold(true, |plain, b| {
        plain & (b.wrapping_sub(b' ') < 0x5f) & (*b != b'"') & (*b != b'\\')
    });
    if is_plain {
        line.extend_from_slice(value);
    } else if let Ok(quoted) = serde_json::to_string(&String::from_utf8_lossy(value)) {
        line.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
    }
}

/// What stands before status and size.
pub(super) fn begin_combined(request: Option<&Parts>, client: &str, now: &str, line: &mut Vec<u8>) {
    for piece in [client, " - - [", now, "] \""] {
        line.extend_from_slice(piece.as_bytes());
    }
    if let Some(parts) = request {
        push_escaped(method(request).as_bytes(), line);
        line.push(b' ');
        push_escaped(target(request).as_bytes(), line);
        // Writing to a Vec can't fail.
        let _ = write!(line, " {:?}", parts.version);
    }
    line.extend_from_slice(b"\" ");
}

/// Status and size.
pub(super) fn status_and_size(status: u16, sent: u64, line: &mut Vec<u8>) {
    decimal::push(status.into(), line);
    line.push(b' ');
    decimal::push(sent, line);
}

/// What stands behind status and size.
pub(super) fn end_combined(request: Option<&Parts>, line: &mut Vec<u8>) {
    line.extend_from_slice(b" \"");
    push_escaped(or_dash(field(request, header::REFERER)), line);
    line.extend_from_slice(b"\" \"");
    push_escaped(or_dash(field(request, header::USER_AGENT)), line);
    line.push(b'"');
}

fn method(request: Option<&Parts>) -> &str {
    request.map_or("", |request| request.method.as_str())
}

fn target(request: Option<&Parts>) -> &str {
    let Some(request) = request else {
        return "";
    };
    let target = request.uri.path_and_query();
    target.map_or("*", |target| target.as_str())
}

fn field(request: Option<&Parts>, name: HeaderName) -> &[u8] {
    let value = request.and_then(|request| request.headers.get(name));
    value.map_or(b"", |value| value.as_bytes())
}

fn or_dash(value: &[u8]) -> &[u8] {
    match value {
        [] => b"-",
        value => value,
    }
}

/// As nginx escapes: quotes, backslashes and whatever isn't printable ASCII.
fn push_escaped(value: &[u8], line: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' | ..0x20 | 0x7f.. => {
                let _ = write!(line, "\\x{byte:02X}");
            }
            byte => line.push(*byte),
        }
    }
}
