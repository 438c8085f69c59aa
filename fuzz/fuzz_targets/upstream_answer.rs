//! An upstream's answer, cut anywhere, reads the same as in one piece.
#![no_main]

use bytes::BytesMut;
use http::Method;
use libfuzzer_sys::fuzz_target;
use sidedoor::proxy::answer_head::take;
use sidedoor::proxy::transfer::Piece;

/// The status and the body, or none if it is malformed or goes on.
fn read(pieces: &[&[u8]]) -> Option<(u16, Vec<u8>)> {
    let mut read = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut head = loop {
        match take(&mut read, &Method::GET).ok()? {
            Some(head) => break head,
            None => read.extend_from_slice(pieces.next()?),
        }
    };
    let mut body = Vec::new();
    loop {
        match head.transfer.next(&mut read).ok()? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::More => read.extend_from_slice(pieces.next()?),
            Piece::Trailers(_) | Piece::End => return Some((head.status.as_u16(), body)),
        }
    }
}

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let (first, rest) = bytes.split_at(cut % (bytes.len() + 1));
    assert_eq!(read(&[bytes]), read(&[first, rest]));
});
