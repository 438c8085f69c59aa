//! A path is a token's only if it is the prefix and a well-formed token, byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidedoor::challenge::{PREFIX, Token, token_in};

fuzz_target!(|path: &str| {
    if let Some(token) = token_in(path) {
        assert_eq!(path, format!("{PREFIX}{token}"));
        assert!(token.parse::<Token>().is_ok());
    }
});
