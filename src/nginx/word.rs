//! A word of nginx's configuration language, and how it is quoted and unquoted.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::tokens::{End, Statement, Tokens};

/// One word of a directive, unquoted and unescaped. Bytes, because paths need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Word(Box<[u8]>);

impl Word {
    /// The bytes nginx sees.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, with U+FFFD for what is no UTF-8.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The word as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// The bytes as they are, nothing unescaped.
impl From<&[u8]> for Word {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// As it may stand in a configuration file: bare where that reads back as the same word, otherwise in double quotes.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.written()))
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), f)
    }
}

impl Word {
    /// The bytes of a configuration file that nginx reads as this word.
    pub fn written(&self) -> Vec<u8> {
        if self.reads_back_bare() {
            return self.0.to_vec();
        }
        let mut quoted = vec![b'"'];
        for (at, byte) in self.0.iter().enumerate() {
            match byte {
                b'"' => quoted.extend(b"\\\""),
                b'\n' => quoted.extend(b"\\n"),
                b'\r' => quoted.extend(b"\\r"),
                // nginx keeps a backslash before any other character, so `\.` need not become `\\.`.
                b'\\'
                    if self
                        .0
                        .get(at + 1)
                        .is_none_or(|b| b"\"'\\trn\r\n".contains(b)) =>
                {
                    quoted.extend(b"\\\\");
                }
                byte => quoted.push(*byte),
            }
        }
        quoted.push(b'"');
        quoted
    }

    fn reads_back_bare(&self) -> bool {
        let mut line = self.0.to_vec();
        line.push(b';');
        let mut tokens = Tokens::new(&line);
        matches!(
            tokens.statement(),
            Ok(Statement { words, end: End::Semicolon, .. })
                if words == [self.clone()] && tokens.at_end()
        )
    }
}

/// The word that raw bytes of a file stand for: resolves the escapes nginx knows; a backslash before anything else stays.
pub(super) fn unescape(raw: &[u8]) -> Word {
    let mut word = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = match (byte, after.first()) {
            (b'\\', Some(b @ (b'"' | b'\'' | b'\\'))) => Some(*b),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        word.push(escaped.unwrap_or(*byte));
        rest = match escaped {
            Some(_) => after.get(1..).unwrap_or_default(),
            None => after,
        };
    }
    Word(word.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::syntax::parse;
    use super::*;

    proptest! {
        #[test]
        fn a_written_word_reads_back_as_itself(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let word = Word::from(bytes.as_slice());
            let mut line = b"a ".to_vec();
            line.extend(word.written());
            line.push(b';');
            let directives = parse(&line, &Path::new("x").into()).unwrap();
            prop_assert_eq!(directives.len(), 1);
            prop_assert_eq!(directives[0].arguments(), &[word]);
        }

        #[test]
        fn a_written_word_of_ugly_characters_reads_back_as_itself(text in r#"[ab\\"'{}$;# \n\r\ttrn]{0,12}"#) {
            let word = Word::from(text.as_bytes());
            let mut line = b"a ".to_vec();
            line.extend(word.written());
            line.extend(b" {}");
            let directives = parse(&line, &Path::new("x").into()).unwrap();
            prop_assert_eq!(directives[0].arguments(), &[word]);
        }
    }
}
