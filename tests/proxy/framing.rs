//! Where a message ends: bodies, lengths, chunks, versions and trailers, in both directions.

use crate::support::{App, Site, Wire, origin};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

fn app_with(head_and_body: &str) -> App {
    App::answering(head_and_body)
}

#[test]
fn a_get_keeps_its_chunked_body() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("GET / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    assert_eq!(
        app.saw(),
        format!(
            "GET / HTTP/1.1\r\nhost: a.example\r\n{}transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            origin(&site)
        )
    );
}

#[test]
fn an_empty_chunked_body_stays_one() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let seen = app.saw();
    assert!(
        seen.ends_with("transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        "{seen}"
    );
}

#[test]
fn a_post_without_a_body_stays_without() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n");
    let seen = app.saw();
    assert!(seen.contains("content-length: 0\r\n"), "{seen}");
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let seen = app.saw();
    assert!(!seen.contains("content-length"), "{seen}");
    assert!(!seen.contains("transfer-encoding"), "{seen}");
}

#[test]
fn a_request_in_http_10_goes_on_in_http_11_with_its_body() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("POST / HTTP/1.0\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc");
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let seen = app.saw();
    assert!(
        seen.starts_with("POST / HTTP/1.1\r\nhost: a.example\r\n"),
        "{seen}"
    );
    assert!(seen.ends_with("\r\n\r\nabc"), "{seen}");
}

#[test]
fn a_client_in_http_10_keeps_its_connection_if_it_asks() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client
            .send("GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n")
            .answer();
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    }
}

#[test]
fn an_answer_in_http_10_does_not_pull_the_client_down() {
    let app = App::serving(|guest| {
        guest.request();
        guest.wire.send("HTTP/1.0 200 OK\r\nDate: D\r\n\r\nhello");
    });
    let site = Site::before(&app);
    assert_eq!(
        site.ask(PLAIN),
        "HTTP/1.1 200 OK\r\ndate: D\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
}

#[test]
fn a_chunked_answer_reaches_a_client_in_http_10_without_chunks() {
    let app =
        app_with("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

#[test]
fn an_answer_without_a_body_keeps_its_length_and_gets_none() {
    for (request, answer, expected) in [
        (
            "HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 1000\r\n\r\n",
            "HTTP/1.1 200 OK\r\ndate: D\r\ncontent-length: 1000\r\n\r\n",
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ndate: D\r\n\r\n",
        ),
        (
            PLAIN,
            "HTTP/1.1 304 Not Modified\r\nDate: D\r\nContent-Length: 1000\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ndate: D\r\ncontent-length: 1000\r\n\r\n",
        ),
        (
            PLAIN,
            "HTTP/1.1 304 Not Modified\r\nDate: D\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ndate: D\r\n\r\n",
        ),
        (
            PLAIN,
            "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ndate: D\r\n\r\n",
        ),
        (
            PLAIN,
            "HTTP/1.1 200 Fine\r\nDate: D\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 Fine\r\ndate: D\r\ncontent-length: 0\r\n\r\n",
        ),
    ] {
        let app = app_with(answer);
        let site = Site::before(&app);
        let mut client = site.client();
        // A second round shows that both connections still know where messages end.
        for _ in 0..2 {
            let read = client.send(request).read_message(false);
            assert_eq!(String::from_utf8(read).unwrap(), expected);
        }
        assert_eq!(app.accepted(), 1, "{answer}");
    }
}

#[test]
fn a_range_passes_with_its_answer() {
    let app = app_with(
        "HTTP/1.1 206 Partial Content\r\nDate: D\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\ncde",
    );
    let site = Site::before(&app);
    let answer = site
        .ask("GET / HTTP/1.1\r\nHost: a.example\r\nRange: bytes=2-4\r\nIf-Range: \"x\"\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.1 206 Partial Content\r\ndate: D\r\ncontent-range: bytes 2-4/10\r\ncontent-length: 3\r\n\r\ncde"
    );
    assert!(
        app.saw()
            .contains("range: bytes=2-4\r\nif-range: \"x\"\r\n")
    );
}

#[test]
fn trailers_of_an_answer_pass_if_they_are_announced_and_wanted() {
    let answer = "HTTP/1.1 200 OK\r\nDate: D\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n";
    let app = app_with(answer);
    let site = Site::before(&app);
    let wanted =
        site.ask("GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert!(wanted.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{wanted}");
    let seen = app.saw();
    assert!(
        seen.contains("te: trailers\r\nconnection: te\r\n"),
        "{seen}"
    );
    let unwanted = site.ask(PLAIN);
    assert!(unwanted.ends_with("1\r\na\r\n0\r\n\r\n"), "{unwanted}");
}

#[test]
fn trailers_of_a_request_pass_if_they_are_announced() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\nContent-Length: 9\r\n\r\n");
    let seen = app.saw();
    assert!(seen.contains("trailer: X-Sum\r\n"), "{seen}");
    assert!(
        seen.ends_with("\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n"),
        "{seen}"
    );
}

#[test]
fn interim_answers_of_the_app_are_kept_from_the_client() {
    let app = app_with(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nok",
    );
    let site = Site::before(&app);
    assert_eq!(
        site.ask(PLAIN),
        "HTTP/1.1 200 OK\r\ndate: D\r\ncontent-length: 2\r\n\r\nok"
    );
}

#[test]
fn expect_is_answered_by_us_once_the_body_is_wanted() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(
        client.read_until(b"\r\n\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("abc");
    assert!(client.answer().starts_with("HTTP/1.1 200 OK\r\n"));
    let seen = app.saw();
    assert!(!seen.contains("expect"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nabc"), "{seen}");
}

#[test]
fn a_refused_body_is_never_asked_for() {
    let app = App::hello();
    let site = Site::with_settings(&app, |settings| settings.limits.body_bytes = Some(2));
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    );
    let answer = client.answer();
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
        "{answer}"
    );
    assert!(app.saw_nothing_more());
}

#[test]
fn several_requests_at_once_are_answered_in_order() {
    let app = App::serving(|guest| {
        while let Some(request) = guest.request() {
            let path = String::from_utf8_lossy(&request[4..6]).into_owned();
            guest.wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}"
            ));
        }
    });
    let site = Site::before(&app);
    let mut client = site.client();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.send([request("/1"), request("/2"), request("/3")].concat());
    for path in ["/1", "/2", "/3"] {
        assert!(client.answer().ends_with(path));
    }
}

#[test]
fn an_announced_close_is_kept_by_us_and_hidden_from_the_app() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(client.is_closed());
    assert!(!app.saw().contains("connection"));
}

#[test]
fn a_close_of_the_app_is_not_the_clients_affair() {
    let app = App::serving(|guest| {
        guest.request();
        guest
            .wire
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..2 {
        let answer = client.send(PLAIN).answer();
        assert!(!answer.contains("connection"), "{answer}");
    }
    assert_eq!(app.accepted(), 2);
}

/// Sends a body of this many bytes and reads one of the same size back.
fn there_and_back(client: &mut Wire, bytes: usize) {
    let piece = vec![b'x'; 64 * 1024];
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {bytes}\r\n\r\n"
    ));
    std::thread::scope(|scope| {
        let mut sending = client.stream.try_clone().unwrap();
        scope.spawn(move || {
            use std::io::Write;
            for _ in 0..bytes / piece.len() {
                sending.write_all(&piece).unwrap();
            }
        });
        client.read_until(b"\r\n\r\n");
        let mut left = bytes;
        while left > 0 {
            let piece = client.read_exactly(left.min(1 << 20));
            assert!(piece.iter().all(|b| *b == b'x') && !piece.is_empty());
            left -= piece.len();
        }
    });
}

#[test]
fn a_large_body_streams_both_ways_at_once() {
    let bytes = 32 << 20;
    let app = App::serving(move |guest| {
        guest.wire.read_until(b"\r\n\r\n");
        guest.wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n"
        ));
        let mut left = bytes;
        while left > 0 {
            let piece = guest.wire.read_exactly(left.min(256 * 1024));
            left -= piece.len();
            guest.wire.send(piece);
        }
    });
    let site = Site::before(&app);
    there_and_back(&mut site.client(), bytes);
}
