//! Bodies pass byte for byte, however they are framed and wherever they are cut.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{App, Guest, Site};

/// The body of a message as it was read from the wire.
fn body_of(message: &[u8]) -> Vec<u8> {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (head, mut rest) = message.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.contains("\r\ntransfer-encoding: chunked\r\n") {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let digits = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(digits.split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line + 2..][..size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

/// A message with this body, in pieces to be sent one by one.
fn pieces(head: &str, body: &[u8], is_chunked: bool, cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut whole = head.as_bytes().to_vec();
    if is_chunked {
        whole.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(cuts.first().map_or(64, |size| size * 16)) {
            whole.extend_from_slice(format!("{:x};x=\"y\"\r\n", chunk.len()).as_bytes());
            whole.extend_from_slice(chunk);
            whole.extend_from_slice(b"\r\n");
        }
        whole.extend_from_slice(b"0\r\n\r\n");
    } else {
        whole.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        whole.extend_from_slice(body);
    }
    let mut pieces = Vec::new();
    for cut in cuts {
        let rest = whole.split_off((*cut).min(whole.len()));
        pieces.push(std::mem::replace(&mut whole, rest));
    }
    pieces.push(whole);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Gives back what it gets, framed and cut as the request's path says: `/c/3/17/1`.
fn echo(guest: &mut Guest) {
    while let Some(request) = guest.request() {
        let line = String::from_utf8_lossy(&request).into_owned();
        let path = line.split(' ').nth(1).unwrap();
        let mut words = path.split('/').skip(1);
        let is_chunked = words.next() == Some("c");
        let cuts: Vec<usize> = words.map(|cut| cut.parse().unwrap()).collect();
        let answer = pieces("HTTP/1.1 200 OK\r\n", &body_of(&request), is_chunked, &cuts);
        for piece in answer {
            guest.wire.send(piece);
        }
    }
}

#[test]
fn a_body_is_the_same_at_both_ends_however_it_is_framed_and_cut() {
    let app = App::serving(echo);
    let site = Site::before(&app);
    let client = RefCell::new(site.client());
    let body = vec(any::<u8>(), 0..4_000);
    let cuts = || vec(1_usize..200, 0..12);
    let mut runner = TestRunner::new(Config {
        cases: 200,
        ..Config::default()
    });
    let all = (body, any::<[bool; 2]>(), cuts(), cuts());
    let same = runner.run(&all, |(body, [chunked_up, chunked_down], up, down)| {
        let framing = if chunked_down { "c" } else { "l" };
        let path: String = down.iter().map(|cut| format!("/{cut}")).collect();
        let head = format!("POST /{framing}{path} HTTP/1.1\r\nHost: a.example\r\n");
        let mut client = client.borrow_mut();
        for piece in pieces(&head, &body, chunked_up, &up) {
            client.send(piece);
        }
        let answer = client.read_message(true);
        prop_assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        prop_assert_eq!(body_of(&answer), body);
        Ok(())
    });
    same.unwrap();
}
