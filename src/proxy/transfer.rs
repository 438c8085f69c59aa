//! The framing of a message body: by length, in chunks, or until the connection ends (RFC 9112 6, 7.1). Pure.
//!
//! Strict where laxness has been used to smuggle: lines end in CR LF, sizes are hexadecimal digits only, nothing overflows.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest chunk-size line, extensions included.
const LONGEST_SIZE_LINE: usize = 1_024;
/// The most bytes in a trailer section.
const LONGEST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 64;

/// Where in a body the reading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// That many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// Everything until the connection ends.
    UntilClose,
    /// Nothing is left.
    Ended,
}

/// Where in a chunked body the reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// At a line with a size.
    Size,
    /// In a chunk with that many bytes left.
    Data(u64),
    /// At the end of a chunk's data.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
}

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// The fields behind the last chunk; the body has ended.
    Trailers(HeaderMap),
    /// More has to be read.
    More,
    /// The body has ended.
    End,
}

/// The body breaks its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body breaks its framing: {0}")]
pub struct Malformed(&'static str);

impl Transfer {
    /// Whether the whole body has been read.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended | Self::Length(0))
    }

    /// The length of what is still to come, where it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Ended => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next piece off the front of what was read.
    ///
    /// # Errors
    /// If the bytes don't fit the framing.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Piece, Malformed> {
        match self {
            Self::Ended | Self::Length(0) => Ok(Piece::End),
            _ if read.is_empty() => Ok(Piece::More),
            Self::UntilClose => Ok(Piece::Data(read.split().freeze())),
            Self::Length(left) => Ok(Piece::Data(take(read, left))),
            Self::Chunked(chunk) => {
                let piece = next_chunked(chunk, read)?;
                if matches!(piece, Piece::End | Piece::Trailers(_)) {
                    *self = Self::Ended;
                }
                Ok(piece)
            }
        }
    }

    /// The connection has ended: whether the body has, too.
    ///
    /// # Errors
    /// If more should have come.
    pub fn close(&mut self) -> Result<(), Malformed> {
        match self {
            Self::Ended | Self::Length(0) | Self::UntilClose => {
                *self = Self::Ended;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(Malformed("it ends early")),
        }
    }
}

fn take(read: &mut BytesMut, left: &mut u64) -> Bytes {
    let piece = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    *left -= piece as u64;
    if piece == read.len() {
        read.split().freeze()
    } else {
        read.split_to(piece).freeze()
    }
}

fn next_chunked(chunk: &mut Chunk, read: &mut BytesMut) -> Result<Piece, Malformed> {
    loop {
        match chunk {
            Chunk::Size => {
                let Some(end) = line_end(read, LONGEST_SIZE_LINE)? else {
                    return Ok(Piece::More);
                };
                let size = chunk_size(&read[..end])?;
                read.advance(end + 2);
                *chunk = match size {
                    0 => Chunk::Trailers,
                    size => Chunk::Data(size),
                };
            }
            Chunk::Data(0) => *chunk = Chunk::DataEnd,
            Chunk::Data(left) => {
                return Ok(match read.is_empty() {
                    true => Piece::More,
                    false => Piece::Data(take(read, left)),
                });
            }
            Chunk::DataEnd => match read.as_ref() {
                [b'\r', b'\n', ..] => {
                    read.advance(2);
                    *chunk = Chunk::Size;
                }
                [] | [b'\r'] => return Ok(Piece::More),
                _ => return Err(Malformed("a chunk is longer than its size says")),
            },
            Chunk::Trailers => return trailers(read),
        }
    }
}

/// Where the line at the front ends: the place of its CR LF.
fn line_end(read: &[u8], longest: usize) -> Result<Option<usize>, Malformed> {
    match read.iter().position(|b| *b == b'\n') {
        Some(at) if at > 0 && read[at - 1] == b'\r' && at <= longest => Ok(Some(at - 1)),
        Some(at) if at > longest => Err(Malformed("a line is too long")),
        Some(_) => Err(Malformed("a line ends without CR")),
        None if read.len() > longest => Err(Malformed("a line is too long")),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line
        .iter()
        .position(|b| !b.is_ascii_hexdigit())
        .unwrap_or(line.len());
    if digits == 0 || digits > 15 {
        return Err(Malformed("a chunk has no proper size"));
    }
    // Extensions are thrown away, as RFC 9112 7.1.1 allows, but may hide no control characters.
    let extension = line[digits..].trim_ascii_start();
    let is_extension = matches!(extension, [] | [b';', ..]);
    if !is_extension
        || extension
            .iter()
            .any(|b| b.is_ascii_control() && *b != b'\t')
    {
        return Err(Malformed("what follows a chunk's size is no extension"));
    }
    Ok(line[..digits].iter().fold(0, |size, digit| {
        size << 4
            | u64::from(match digit {
                b'0'..=b'9' => digit - b'0',
                digit => (digit | 0x20) - b'a' + 10,
            })
    }))
}

fn trailers(read: &mut BytesMut) -> Result<Piece, Malformed> {
    if read.starts_with(b"\r\n") {
        read.advance(2);
        return Ok(Piece::End);
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let (length, trailers) = match httparse::parse_headers(read, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                // What is no field is dropped: nothing depends on it.
                if let (Ok(name), Ok(value)) = (
                    HeaderName::from_bytes(field.name.as_bytes()),
                    HeaderValue::from_bytes(field.value),
                ) {
                    trailers.append(name, value);
                }
            }
            (length, trailers)
        }
        Ok(httparse::Status::Partial) if read.len() <= LONGEST_TRAILERS => return Ok(Piece::More),
        Ok(httparse::Status::Partial) => return Err(Malformed("its trailers are too long")),
        Err(_) => return Err(Malformed("its trailers are no fields")),
    };
    read.advance(length);
    Ok(Piece::Trailers(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(transfer: &mut Transfer, input: &[u8]) -> Result<(Vec<u8>, Piece), Malformed> {
        let mut read = BytesMut::from(input);
        let mut body = Vec::new();
        loop {
            match transfer.next(&mut read)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                piece => return Ok((body, piece)),
            }
        }
    }

    fn chunked(input: &[u8]) -> Result<(Vec<u8>, Piece), Malformed> {
        read_all(&mut Transfer::Chunked(Chunk::Size), input)
    }

    #[test]
    fn a_length_ends_the_body_and_leaves_what_follows() {
        let mut read = BytesMut::from("hello, world");
        let mut transfer = Transfer::Length(5);
        assert_eq!(transfer.next(&mut read), Ok(Piece::Data("hello".into())));
        assert!(transfer.has_ended());
        assert_eq!(transfer.next(&mut read), Ok(Piece::End));
        assert_eq!(read, ", world");
    }

    #[test]
    fn reads_chunks_extensions_and_the_end() {
        let input = b"5\r\nhello\r\n00006 ; a=\"b\"\r\n world\r\n0\r\n\r\n";
        assert_eq!(chunked(input), Ok((b"hello world".to_vec(), Piece::End)));
    }

    #[test]
    fn reads_trailers() {
        let (body, piece) = chunked(b"1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n").unwrap();
        let Piece::Trailers(trailers) = piece else {
            panic!("{piece:?}");
        };
        assert_eq!(body, b"a");
        assert_eq!(trailers["x-sum"], "7");
    }

    #[test]
    fn refuses_what_smugglers_send() {
        for input in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b"1\na\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"1 a\r\n",
            b"1;a\rb\r\na\r\n",
            b"1;\0\r\na\r\n",
            b"ffffffffffffffffff\r\n",
            b"10000000000000000\r\n",
            b"0\r\n bad\r\n\r\n",
        ] {
            assert!(
                chunked(input).is_err(),
                "{:?}",
                input.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn an_early_end_is_no_end() {
        for mut transfer in [
            Transfer::Length(1),
            Transfer::Chunked(Chunk::Size),
            Transfer::Chunked(Chunk::Trailers),
        ] {
            assert!(transfer.close().is_err());
        }
        assert!(Transfer::UntilClose.close().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn a_chunked_body_is_the_same_however_it_is_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 1..40), 0..8),
            cuts in proptest::collection::vec(1_usize..20, 1..100),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nNEXT");
            let mut transfer = Transfer::Chunked(Chunk::Size);
            let mut read = BytesMut::new();
            let mut body = Vec::new();
            let mut rest = wire.as_slice();
            let mut cuts = cuts.iter().cycle();
            'reading: loop {
                loop {
                    match transfer.next(&mut read).unwrap() {
                        Piece::Data(data) => body.extend_from_slice(&data),
                        Piece::More => break,
                        _ => break 'reading,
                    }
                }
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                read.extend_from_slice(now);
                rest = later;
            }
            read.extend_from_slice(rest);
            proptest::prop_assert_eq!(body, chunks.concat());
            proptest::prop_assert_eq!(&read[..], b"NEXT");
        }

        #[test]
        fn no_bytes_make_it_panic(input in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = chunked(&input);
        }
    }
}
