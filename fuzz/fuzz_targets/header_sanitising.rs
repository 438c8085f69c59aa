//! No field that a Connection line names, and none that concerns one hop, is in what goes to the app; and it is one head, not two.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;
use sidedoor::proxy::headers::ConnectionOptions;
use sidedoor::proxy::request_head::{Framing, Origin, RequestHead, write_request};

fuzz_target!(|fields: Vec<(&[u8], &[u8])>| {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let connection = ConnectionOptions::of(&headers);
    let mut out = Vec::new();
    let head = RequestHead {
        method: &Method::GET,
        uri: &Uri::from_static("/"),
        host: b"a.example",
        headers: &headers,
        connection: &connection,
        upgrade: false,
        framing: Framing::None,
    };
    let origin = Origin { address: Some("203.0.113.7"), port: Some(80), trusted: false, forwarded: true };
    write_request(&head, &origin, &mut out);
    let end = out.windows(4).position(|w| w == b"\r\n\r\n").expect("a head has an end");
    assert_eq!(end + 4, out.len());
    for line in out.split(|b| *b == b'\n').skip(1).filter(|line| line.len() > 1) {
        let name = line.split(|b| *b == b':').next().expect("a line has a name");
        let name = HeaderName::from_bytes(name).expect("a field has a name");
        assert!(!connection.names(&name) && name != "transfer-encoding", "{name}");
    }
});
