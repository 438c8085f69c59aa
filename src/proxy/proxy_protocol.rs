//! The PROXY protocol, versions 1 and 2: who the client is, told by a load balancer before the first byte of HTTP. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, its end of line included.
const LONGEST_TEXT: usize = 107;
/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const FIXED: usize = 16;
/// The longest header of version 2 that is read, extensions included.
const LONGEST_BINARY: usize = FIXED + 4 * 1024;

/// The longest header there is.
pub const LONGEST: usize = LONGEST_BINARY;

/// What a header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Somebody connected from there to there.
    Client {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// Nothing: the balancer speaks for itself (health checks), or for a family that isn't TCP/IP.
    Nothing,
}

/// These bytes begin no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection begins with no PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

/// Reads the header at the front: what it tells, and how long it is. `None` if more has to be read.
///
/// # Errors
/// If the bytes begin no header, whatever follows.
pub fn read(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] == SIGNATURE[..begun] {
        return match bytes.len() >= FIXED {
            true => read_binary(bytes),
            false => Ok(None),
        };
    }
    read_text(bytes)
}

fn read_text(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    const BEGIN: &[u8] = b"PROXY ";
    let begun = bytes.len().min(BEGIN.len());
    if bytes[..begun] != BEGIN[..begun] {
        return Err(Malformed("neither version begins like this"));
    }
    let seen = &bytes[..bytes.len().min(LONGEST_TEXT)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < LONGEST_TEXT {
            true => Ok(None),
            false => Err(Malformed("its line is too long")),
        };
    };
    let line = std::str::from_utf8(&bytes[BEGIN.len().min(end)..end])
        .map_err(|_| Malformed("its line is no text"))?;
    Ok(Some((read_line(line)?, end + 2)))
}

fn read_line(line: &str) -> Result<Told, Malformed> {
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Told::Nothing);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            Some("TCP4") => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let addresses = (address(), address());
    let mut port = || words.next().and_then(|word| word.parse::<u16>().ok());
    match (addresses, port(), port(), words.next()) {
        ((Some(source), Some(destination)), Some(from), Some(to), None) => Ok(Told::Client {
            source: (source, from).into(),
            destination: (destination, to).into(),
        }),
        _ => Err(Malformed(
            "its line doesn't name two addresses and two ports",
        )),
    }
}

fn read_binary(bytes: &[u8]) -> Result<Option<(Told, usize)>, Malformed> {
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > LONGEST_BINARY {
        return Err(Malformed("it is too long"));
    }
    let is_local = match bytes[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("its version or command is unknown")),
    };
    let Some(addresses) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let told = match bytes[13] {
        _ if is_local => Told::Nothing,
        0x11 => {
            let Some(block) = addresses.first_chunk::<12>() else {
                return Err(Malformed("its addresses are cut off"));
            };
            let [a, b, c, d, e, f, g, h, ports @ ..] = *block;
            client(
                Ipv4Addr::new(a, b, c, d).into(),
                Ipv4Addr::new(e, f, g, h).into(),
                ports,
            )
        }
        0x21 => {
            let (Some(source), Some(destination), Some(ports)) = (
                part::<16>(addresses, 0),
                part::<16>(addresses, 16),
                part::<4>(addresses, 32),
            ) else {
                return Err(Malformed("its addresses are cut off"));
            };
            client(
                Ipv6Addr::from(source).into(),
                Ipv6Addr::from(destination).into(),
                ports,
            )
        }
        _ => Told::Nothing,
    };
    Ok(Some((told, length)))
}

fn part<const LENGTH: usize>(bytes: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn client(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Told {
    Told::Client {
        source: (source, u16::from_be_bytes([a, b])).into(),
        destination: (destination, u16::from_be_bytes([c, d])).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: &str, destination: &str) -> Told {
        Told::Client {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((addresses.len() as u16).to_be_bytes());
        bytes.extend(addresses);
        bytes
    }

    #[test]
    fn reads_a_line() {
        for (line, expected) in [
            (
                "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n",
                told("203.0.113.7:4711", "192.0.2.1:80"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n",
                told("[2001:db8::7]:4711", "[::1]:80"),
            ),
            ("PROXY UNKNOWN\r\n", Told::Nothing),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Told::Nothing),
        ] {
            let with_more = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(
                read(with_more.as_bytes()),
                Ok(Some((expected, line.len()))),
                "{line}"
            );
            for end in 0..line.len() {
                assert_eq!(read(&line.as_bytes()[..end]), Ok(None), "{}", &line[..end]);
            }
        }
    }

    #[test]
    fn reads_a_binary_header_and_skips_its_extensions() {
        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80, 1, 0, 1, 9];
        let bytes = binary(0x21, 0x11, &v4);
        let expected = told("203.0.113.7:4711", "192.0.2.1:80");
        assert_eq!(read(&bytes), Ok(Some((expected, bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(None));
        }
        assert_eq!(read(&binary(0x20, 0, &[])), Ok(Some((Told::Nothing, 16))));
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[31] = 2;
        assert_eq!(
            read(&binary(0x21, 0x21, &v6)),
            Ok(Some((told("[::1]:0", "[::2]:0"), 52)))
        );
    }

    #[test]
    fn refuses_what_is_no_header() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80 1\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 4711 80\r\n".to_vec(),
            b"PROXY TCP6 1.2.3.4 1.2.3.4 4711 80\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 99999 80\r\n".to_vec(),
            b"PROXY  TCP4\r\n".to_vec(),
            format!("PROXY {}", "x".repeat(200)).into_bytes(),
            binary(0x31, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x11, &[0; 5_000]),
        ] {
            assert!(read(&bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = read(&bytes);
            let _ = read(&[SIGNATURE.as_slice(), &bytes].concat());
            let _ = read(&[b"PROXY TCP4 ".as_slice(), &bytes].concat());
        }
    }
}
