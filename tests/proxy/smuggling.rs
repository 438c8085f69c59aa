//! Requests that two parsers could read in two ways: each has one reading here, which is also the app's, or is refused and the connection closed.

use crate::support::{App, Site};

/// What has to become of the bytes.
enum Fate {
    /// 400 (or another 4xx that says why), nothing reaches the app, the connection ends.
    Refused,
    /// The app sees these requests: a beginning and an end of each.
    Seen(&'static [(&'static str, &'static str)]),
}
use Fate::{Refused, Seen};

const TABLE: &[(&str, &str, Fate)] = &[
    // Content-Length against Transfer-Encoding: chunks win, the length goes, and the connection ends (RFC 9112 6.3).
    (
        "CL.TE",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        Seen(&[("POST / ", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n")]),
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nZ\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        Seen(&[(
            "POST / ",
            "transfer-encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
        )]),
    ),
    (
        "CL.CL differing",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Refused,
    ),
    (
        "CL list",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nab",
        Refused,
    ),
    (
        "CL list of equals",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
        Refused,
    ),
    (
        "CL.CL equal",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        Seen(&[("POST / ", "\r\n\r\na")]),
    ),
    (
        "CL signed",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        Refused,
    ),
    (
        "CL negative",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na",
        Refused,
    ),
    (
        "CL hexadecimal",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na",
        Refused,
    ),
    (
        "CL empty",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\na",
        Refused,
    ),
    (
        "CL with a space in it",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\na",
        Refused,
    ),
    (
        "CL beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\na",
        Refused,
    ),
    (
        "CL with a space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na",
        Refused,
    ),
    // Transfer-Encoding against itself.
    (
        "TE.TE",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE.TE obfuscated",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE.TE obfuscated first",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE xchunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE identity with CL",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
        Refused,
    ),
    (
        "TE gzip, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE chunked, identity",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE chunked, chunked",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE list with an empty element",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE empty",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE quoted",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE with a parameter",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE with a vertical tab",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE with a NUL",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE with a space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE with a leading space",
        "POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE folded",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE behind a bare CR",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "TE in capitals",
        "POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
        Seen(&[("POST / ", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n")]),
    ),
    (
        "an underscore is no hyphen",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 1\r\n\r\na",
        Seen(&[("POST / ", "\r\n\r\na")]),
    ),
    // Lines.
    (
        "obs-fold",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        Refused,
    ),
    (
        "bare CR in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        Refused,
    ),
    (
        "bare CR as an end of line",
        "GET / HTTP/1.1\rHost: a\r\r",
        Refused,
    ),
    (
        "NUL in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
        Refused,
    ),
    (
        "NUL in a name",
        "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
        Refused,
    ),
    (
        "a line without a colon",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        Refused,
    ),
    (
        "an empty name",
        "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
        Refused,
    ),
    (
        "a space in a name",
        "GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
        Refused,
    ),
    (
        "a tab before the colon",
        "GET / HTTP/1.1\r\nHost: a\r\nX\t: z\r\n\r\n",
        Refused,
    ),
    (
        "white space before the first header",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        Refused,
    ),
    (
        "bare LF, which RFC 9112 2.2 lets be an end of line, leaves as CR LF",
        "GET / HTTP/1.1\nHost: a\nX: y\n\n",
        Seen(&[("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n", "\r\n\r\n")]),
    ),
    (
        "empty lines before a request",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        Seen(&[("GET / HTTP/1.1\r\n", "\r\n\r\n")]),
    ),
    // Chunks.
    (
        "chunk size with a sign",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk size in 0x",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk size empty",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk size beyond 64 bits",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk longer than its size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk ended by bare LF",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk size ended by bare LF",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "bare LF in a chunk extension",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\nx\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "bare CR in a chunk extension",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\rx\r\na\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunk extensions end here",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b;c=\"d\"\r\na\r\n0;e\r\n\r\n",
        Seen(&[("POST / ", "\r\n\r\n1\r\na\r\n0\r\n\r\n")]),
    ),
    (
        "a request behind the last chunk is a request",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        Seen(&[("POST / ", "\r\n\r\n0\r\n\r\n"), ("GET /2 ", "\r\n\r\n")]),
    ),
    (
        "a request in a body is a body",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        Seen(&[("POST / ", "\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")]),
    ),
    (
        "a GET with a length has a body",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        Seen(&[("GET / ", "\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")]),
    ),
    // Hosts and targets.
    ("no Host", "GET / HTTP/1.1\r\n\r\n", Refused),
    (
        "two Hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        Refused,
    ),
    (
        "two equal Hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "two Hosts, one absolute",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        Refused,
    ),
    (
        "a list as Host",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        Refused,
    ),
    (
        "a user in Host",
        "GET / HTTP/1.1\r\nHost: b@a\r\n\r\n",
        Refused,
    ),
    (
        "a path in Host",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        Refused,
    ),
    (
        "a space in Host",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        Refused,
    ),
    (
        "absolute target wins over Host",
        "GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n",
        Seen(&[("GET /x HTTP/1.1\r\nhost: a\r\n", "\r\n\r\n")]),
    ),
    (
        "a user in an absolute target",
        "GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "CONNECT",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        Refused,
    ),
    (
        "a space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "a tab behind the method",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "two spaces behind the method",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    ("HTTP/0.9", "GET /\r\n", Refused),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refused),
    ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused),
    (
        "HTTP/2 without asking",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        Refused,
    ),
    (
        "lower-case protocol",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "a target without a slash",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
    (
        "an asterisk for another method",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused,
    ),
];

#[test]
fn every_request_has_one_reading_or_none() {
    let mut wrong = Vec::new();
    for (name, bytes, fate) in TABLE {
        let app = App::hello();
        let site = Site::before(&app);
        let mut client = site.client();
        client.send(bytes);
        let verdict = match fate {
            Refused => {
                let answer = String::from_utf8_lossy(&client.read_to_end()).into_owned();
                let is_refused =
                    answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501");
                // What had to be sent on before the fault showed is never a whole request.
                let passed = app.seen.try_iter().find(|seen| is_whole(seen));
                match (is_refused, passed) {
                    (true, None) => Ok(()),
                    (_, passed) => Err(format!("{answer:?} {:?}", passed.map(show))),
                }
            }
            Seen(requests) => requests.iter().try_for_each(|(begin, end)| {
                let answer = client.answer();
                if !answer.starts_with("HTTP/1.1 200") {
                    return Err(answer);
                }
                let seen = app.saw();
                match seen.starts_with(begin) && seen.ends_with(end) {
                    true => Ok(()),
                    false => Err(seen),
                }
            }),
        };
        if let Err(reason) = verdict {
            wrong.push(format!("{name}: {reason}"));
        }
        assert!(
            app.saw_nothing_more(),
            "{name}: more reached the app than was sent"
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn show(bytes: Vec<u8>) -> String {
    bytes.escape_ascii().to_string()
}

/// Whether an app could take it for a whole request.
fn is_whole(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    match text.contains("transfer-encoding: chunked") {
        true => text.ends_with("0\r\n\r\n"),
        false => text.contains("\r\n\r\n"),
    }
}
