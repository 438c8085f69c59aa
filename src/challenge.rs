//! Tokens and key authorizations of the `http-01` challenge (RFC 8555 8.1, 8.3), and the path they are asked for under.
//! Pure: whoever holds a [`Token`] holds something that fits its grammar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Everything a CA asks for lies under this path (RFC 8555 8.3).
pub const PREFIX: &str = "/.well-known/acme-challenge/";

/// Longer tokens don't exist: CAs send 22 to 43 characters.
const LONGEST_TOKEN: usize = 128;

/// Why something is no token or key authorization.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Empty, too long, or a character outside base64url (RFC 8555 8).
    #[error("a token has 1 to 128 letters, digits, hyphens and underscores; this is none: {0:?}")]
    Token(String),
    /// Not `token.thumbprint` of this very token (RFC 8555 8.1).
    #[error(
        "the key authorization of {token} has to be the token, a dot, and the account key's thumbprint in 43 base64url characters"
    )]
    KeyAuthorization {
        /// The token it should belong to.
        token: Token,
    },
}

/// The token of one challenge: base64url characters only (RFC 8555 8.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl Token {
    /// The token as it stands in the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether these bytes fit a token's grammar.
    pub fn is_well_formed(bytes: &[u8]) -> bool {
        (1..=LONGEST_TOKEN).contains(&bytes.len()) && bytes.iter().all(|b| is_base64url(*b))
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl FromStr for Token {
    type Err = ChallengeError;

    fn from_str(token: &str) -> Result<Self, ChallengeError> {
        if Self::is_well_formed(token.as_bytes()) {
            Ok(Self(token.to_owned()))
        } else {
            Err(ChallengeError::Token(
                token.chars().take(LONGEST_TOKEN).collect(),
            ))
        }
    }
}

impl TryFrom<String> for Token {
    type Error = ChallengeError;

    fn try_from(token: String) -> Result<Self, ChallengeError> {
        token.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// So that a map of tokens can be asked with what stands in the path.
impl std::borrow::Borrow<str> for Token {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the CA wants to read: the token, a dot, the account key's thumbprint (RFC 8555 8.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAuthorization {
    token: Token,
    text: String,
}

impl KeyAuthorization {
    /// Checks that `text` is the key authorization of `token`.
    pub fn new(token: Token, text: &str) -> Result<Self, ChallengeError> {
        let thumbprint = text
            .strip_prefix(token.as_str())
            .and_then(|rest| rest.strip_prefix('.'));
        // SHA-256 in base64url has 43 characters (RFC 7638 3).
        match thumbprint {
            Some(thumbprint) if thumbprint.len() == 43 && thumbprint.bytes().all(is_base64url) => {
                Ok(Self {
                    token,
                    text: text.to_owned(),
                })
            }
            _ => Err(ChallengeError::KeyAuthorization { token }),
        }
    }

    /// A token that no CA gives out, with a thumbprint that is no account's: for probes of our own.
    pub fn of_nobody(random: u128) -> Self {
        let token = Token(format!("sidedoor-probe-{random:032x}"));
        let text = format!("{token}.{random:043x}");
        Self { token, text }
    }

    /// The token it belongs to.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The body of the answer, to the byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The well-formed token in a request's path, if the path is exactly the prefix and a token.
pub fn token_in(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)
        .filter(|token| Token::is_well_formed(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THUMBPRINT: &str = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI";

    #[test]
    fn finds_the_token_in_a_challenge_path_and_nowhere_else() {
        assert_eq!(
            token_in("/.well-known/acme-challenge/abc_-9"),
            Some("abc_-9")
        );
        for path in [
            "/",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/a/b",
            "/.well-known/acme-challenge/a%2fb",
            "/.well-known/acme-challenge/../x",
            "/.well-known//acme-challenge/abc",
            "/x/.well-known/acme-challenge/abc",
            "/.Well-Known/acme-challenge/abc",
        ] {
            assert_eq!(token_in(path), None, "{path}");
        }
    }

    #[test]
    fn refuses_tokens_outside_base64url() {
        let long = "a".repeat(129);
        for token in ["", "a.b", "a/b", "a b", "a\n", "ä", "a=", &long] {
            assert!(token.parse::<Token>().is_err(), "{token:?}");
        }
    }

    #[test]
    fn a_probe_s_key_authorization_is_well_formed() {
        for random in [0, u128::MAX] {
            let probe = KeyAuthorization::of_nobody(random);
            assert_eq!(
                probe.token().as_str().parse::<Token>().unwrap(),
                *probe.token()
            );
            assert_eq!(
                KeyAuthorization::new(probe.token().clone(), probe.as_str()),
                Ok(probe)
            );
        }
    }

    #[test]
    fn a_key_authorization_belongs_to_its_token() {
        let token: Token = "abc".parse().unwrap();
        let text = format!("abc.{THUMBPRINT}");
        assert_eq!(
            KeyAuthorization::new(token.clone(), &text)
                .unwrap()
                .as_str(),
            text
        );
        for wrong in [
            THUMBPRINT.to_owned(),
            "abc.".to_owned(),
            format!("abd.{THUMBPRINT}"),
            format!("abc{THUMBPRINT}"),
            format!("abc.{THUMBPRINT}\n"),
            format!("abc.{THUMBPRINT}A"),
        ] {
            assert!(
                KeyAuthorization::new(token.clone(), &wrong).is_err(),
                "{wrong:?}"
            );
        }
    }
}
