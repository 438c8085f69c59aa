//! Whatever comes is a header, no header, or the beginning of one; and a header is never longer than what came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidedoor::proxy::proxy_protocol::{LONGEST, read};

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Ok(Some((_, length))) => assert!(length <= bytes.len() && length <= LONGEST),
        Ok(None) => assert!(bytes.len() < LONGEST),
        Err(_) => {}
    }
});
