//! What reaches the app and what comes back, byte for byte.

use crate::support::{App, Site, origin};

#[test]
fn passes_a_request_and_its_answer() {
    let app = App::answering(
        "HTTP/1.1 200 OK\r\nDate: D\r\nX-Answer: 1\r\nContent-Length: 5\r\n\r\nhello",
    );
    let site = Site::before(&app);
    let answer =
        site.ask("GET /a/%2e%2E//b?q=%20 HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ndate: D\r\nx-answer: 1\r\ncontent-length: 5\r\n\r\nhello"
    );
    assert_eq!(
        app.saw(),
        format!(
            "GET /a/%2e%2E//b?q=%20 HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\n{}\r\n",
            origin(&site)
        )
    );
}

#[test]
fn uses_connections_to_the_app_again() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    for _ in 0..20 {
        let answer = client
            .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .answer();
        assert!(answer.ends_with("hello"), "{answer}");
    }
    assert_eq!(app.accepted(), 1);
}

#[test]
fn passes_a_body_with_a_length_and_one_in_chunks() {
    let app = App::hello();
    let site = Site::before(&app);
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc");
    let seen = app.saw();
    assert!(seen.contains("content-length: 3\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nabc"), "{seen}");
    site.ask("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let seen = app.saw();
    assert!(seen.contains("transfer-encoding: chunked\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{seen}");
}
