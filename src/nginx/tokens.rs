//! Rows of words and what ends them: the lexical half of nginx's grammar (`ngx_conf_read_token`), and Lua's, to skip it.

use super::word::{Word, unescape};

/// What can be wrong with the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A character where the grammar has no place for it.
    #[error("unexpected {:?}", char::from(*.0))]
    Unexpected(u8),
    /// A directive without its semicolon, at the end of the file.
    #[error("the file ends within a directive, a \";\" or a block is missing")]
    UnfinishedDirective,
    /// A quote that is never closed.
    #[error("a quote is opened here and never closed")]
    UnclosedQuote,
    /// A block that is never closed.
    #[error("a block is opened here and never closed")]
    UnclosedBlock,
    /// Blocks nested beyond all sense.
    #[error("blocks are nested more than 64 deep")]
    TooDeep,
}

/// The words up to what ends them, as `ngx_conf_read_token` returns them.
pub(super) struct Statement {
    pub(super) words: Vec<Word>,
    /// Where the first word stands, or what ended them if there is none.
    pub(super) line: u32,
    pub(super) end: End,
}

/// What ends a row of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Semicolon,
    Opening,
    Closing,
    Source,
}

/// The bytes that are still to be read.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    line: u32,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Self {
            rest: source,
            line: 1,
        }
    }

    /// Whether nothing is left.
    pub(super) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn advance(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += u32::from(*byte == b'\n');
        Some(*byte)
    }

    /// The next row of words. Errors come with the line they are at.
    pub(super) fn statement(&mut self) -> Result<Statement, (Fault, u32)> {
        let mut words = Vec::new();
        let mut first = self.line;
        loop {
            let Some(byte) = self.rest.first().copied() else {
                return match words.is_empty() {
                    true => Ok(Statement {
                        words,
                        line: self.line,
                        end: End::Source,
                    }),
                    false => Err((Fault::UnfinishedDirective, first)),
                };
            };
            let line = self.line;
            let end = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.advance();
                    continue;
                }
                b'#' => {
                    while self.rest.first().is_some_and(|b| *b != b'\n') {
                        self.advance();
                    }
                    continue;
                }
                b';' | b'{' if words.is_empty() => return Err((Fault::Unexpected(byte), line)),
                b'}' if !words.is_empty() => return Err((Fault::Unexpected(byte), line)),
                b';' => End::Semicolon,
                b'{' => End::Opening,
                b'}' => End::Closing,
                _ => {
                    if words.is_empty() {
                        first = line;
                    }
                    words.push(match byte {
                        b'"' | b'\'' => self.quoted_word()?,
                        _ => self.bare_word()?,
                    });
                    continue;
                }
            };
            self.advance();
            let line = if words.is_empty() { line } else { first };
            return Ok(Statement { words, line, end });
        }
    }

    fn quoted_word(&mut self) -> Result<Word, (Fault, u32)> {
        let opened = self.line;
        let quote = self.advance();
        let start = self.rest;
        loop {
            match self.advance() {
                None => return Err((Fault::UnclosedQuote, opened)),
                Some(b'\\') => {
                    self.advance();
                }
                byte if byte == quote => break,
                Some(_) => {}
            }
        }
        let word = unescape(&start[..start.len() - self.rest.len() - 1]);
        match self.rest.first() {
            // `if ($a = "b")`: nginx lets the bracket begin a word of its own.
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(word),
            Some(byte) => Err((Fault::Unexpected(*byte), self.line)),
        }
    }

    fn bare_word(&mut self) -> Result<Word, (Fault, u32)> {
        let started = self.line;
        let start = self.rest;
        // `${name}`: the brace after a dollar sign opens no block.
        let mut variable = false;
        loop {
            match self.rest.first() {
                None => return Err((Fault::UnfinishedDirective, started)),
                Some(b'{') if variable => {}
                Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') => break,
                Some(b'\\') => {
                    variable = false;
                    self.advance();
                }
                Some(byte) => variable = *byte == b'$',
            }
            self.advance();
        }
        Ok(unescape(&start[..start.len() - self.rest.len()]))
    }

    /// Skips a block of Lua whose brace has been read: braces in strings and comments don't count.
    pub(super) fn skip_lua(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            if self.rest.starts_with(b"--") {
                self.skip(2);
                if !self.skip_long_bracket()? {
                    while self.advance()? != b'\n' {}
                }
                continue;
            }
            if self.skip_long_bracket()? {
                continue;
            }
            match self.advance()? {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                quote @ (b'"' | b'\'') => loop {
                    match self.advance()? {
                        b'\\' => {
                            self.advance()?;
                        }
                        byte if byte == quote => break,
                        _ => {}
                    }
                },
                _ => {}
            }
        }
        Some(())
    }

    /// Skips Lua's `[[ … ]]` or `[==[ … ]==]` if one begins here, and says whether it did; `None` if it never ends.
    fn skip_long_bracket(&mut self) -> Option<bool> {
        let Some(after) = self.rest.strip_prefix(b"[") else {
            return Some(false);
        };
        let level = after.iter().take_while(|b| **b == b'=').count();
        if after.get(level) != Some(&b'[') {
            return Some(false);
        }
        let mut close = vec![b'='; level + 2];
        close[0] = b']';
        close[level + 1] = b']';
        let end = self.rest.windows(close.len()).position(|w| w == close)?;
        self.skip(end + close.len());
        Some(true)
    }

    fn skip(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.advance();
        }
    }
}
