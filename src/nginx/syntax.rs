//! The grammar of nginx's configuration files: words, directives, blocks, read as nginx reads them (`ngx_conf_read_token`).
//! Pure: bytes in, directives out. It opens no file and knows no directive's meaning; limits that only nginx
//! enforces (4,096 bytes for a word or a comment) are left to `nginx -t`.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use super::tokens::Fault;
use super::tokens::{End, Statement, Tokens};
pub use super::word::Word;

/// Deeper nests of blocks are no configuration but an accident, and would cost stack.
const DEEPEST: usize = 64;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, by the path it was opened with.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A directive with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name and arguments; never empty.
    pub words: Vec<Word>,
    /// Where its name stands.
    pub place: Place,
    /// What follows the words.
    pub body: Body,
}

/// What follows a directive's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A semicolon.
    None,
    /// A block of directives.
    Block(Vec<Directive>),
    /// A block in another language (`content_by_lua_block`), not read.
    Code,
    /// An `include`, and what stands in the files it took in, in nginx's order.
    Included(Vec<Directive>),
}

impl Directive {
    /// The first word.
    pub fn name(&self) -> Cow<'_, str> {
        self.words.first().map(Word::to_str).unwrap_or_default()
    }

    /// Whether the first word is `name`.
    pub fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word == name)
    }

    /// The words after the name.
    pub fn arguments(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The first word after the name, as text; empty if there is none.
    pub fn argument(&self) -> Cow<'_, str> {
        self.arguments()
            .first()
            .map(Word::to_str)
            .unwrap_or_default()
    }

    /// The directives in its block.
    pub fn block(&self) -> &[Directive] {
        match &self.body {
            Body::Block(directives) => directives,
            _ => &[],
        }
    }
}

/// The rule as it stands, on one line: `return 301 https://$host$request_uri;`, `location / { … }`.
impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 && *word != ")" {
                f.write_str(" ")?;
            }
            word.fmt(f)?;
        }
        f.write_str(match self.body {
            Body::Block(_) | Body::Code => " { … }",
            Body::None | Body::Included(_) => ";",
        })
    }
}

/// Why bytes are no nginx configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} in {place}")]
pub struct SyntaxError {
    /// What is wrong.
    pub fault: Fault,
    /// Where; for what is never closed, where it was opened.
    pub place: Place,
}

/// Reads the bytes of one file. `include`s are left as they stand.
pub fn parse(source: &[u8], file: &Arc<Path>) -> Result<Vec<Directive>, SyntaxError> {
    let at = |fault, line| SyntaxError {
        fault,
        place: Place {
            file: Arc::clone(file),
            line,
        },
    };
    let mut tokens = Tokens::new(source);
    let mut open: Vec<Directive> = Vec::new();
    let mut level: Vec<Directive> = Vec::new();
    let mut outer: Vec<Vec<Directive>> = Vec::new();
    loop {
        let Statement { words, line, end } = tokens
            .statement()
            .map_err(|(fault, line)| at(fault, line))?;
        let mut directive = Directive {
            words,
            place: Place {
                file: Arc::clone(file),
                line,
            },
            body: Body::None,
        };
        match end {
            End::Semicolon => level.push(directive),
            End::Opening if directive.name().ends_with("_by_lua_block") => {
                tokens
                    .skip_lua()
                    .ok_or_else(|| at(Fault::UnclosedBlock, line))?;
                directive.body = Body::Code;
                level.push(directive);
            }
            End::Opening if open.len() == DEEPEST => return Err(at(Fault::TooDeep, line)),
            End::Opening => {
                open.push(directive);
                outer.push(std::mem::take(&mut level));
            }
            End::Closing => match (open.pop(), outer.pop()) {
                (Some(mut block), Some(around)) => {
                    block.body = Body::Block(std::mem::replace(&mut level, around));
                    level.push(block);
                }
                _ => return Err(at(Fault::Unexpected(b'}'), line)),
            },
            End::Source => {
                return match open.pop() {
                    Some(block) => Err(at(Fault::UnclosedBlock, block.place.line)),
                    None => Ok(level),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(source: &str) -> Result<Vec<Directive>, SyntaxError> {
        parse(source.as_bytes(), &Path::new("x.conf").into())
    }

    /// The directives as one line each, blocks in brackets.
    fn outline(directives: &[Directive]) -> String {
        directives
            .iter()
            .map(|d| match &d.body {
                Body::Block(inner) => {
                    format!("{}:{}[{}]", d.place.line, words(d), outline(inner))
                }
                Body::Code => format!("{}:{}[code]", d.place.line, words(d)),
                _ => format!("{}:{}", d.place.line, words(d)),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn words(directive: &Directive) -> String {
        directive
            .words
            .iter()
            .map(|w| format!("<{}>", w.to_str()))
            .collect()
    }

    #[test]
    fn reads_words_as_nginx_does() {
        for (source, expected) in [
            ("", ""),
            ("a;", "1:<a>"),
            ("a b;c\n d;", "1:<a><b> 1:<c><d>"),
            ("a\tb\r\n  c ;\n# x ; }\nd;", "1:<a><b><c> 4:<d>"),
            ("a#b c#;d;", "1:<a#b><c#> 1:<d>"),
            ("a # b;\n c;", "1:<a><c>"),
            ("a 'b c' \"d;e\" '';", "1:<a><b c><d;e><>"),
            ("a b'c d;", "1:<a><b'c><d>"),
            (
                r#"a "\"" '\'' \\ \; \  b\{;"#,
                r#"1:<a><"><'><\><\;><\ ><b\{>"#,
            ),
            (r#"a "\t\r\n\.\d";"#, "1:<a><\t\r\n\\.\\d>"),
            ("a ${b}c $d{e;}", "1:<a><${b}c><$d>[1:<e>]"),
            ("a $ {b;}", "1:<a><$>[1:<b>]"),
            ("a ${{b;", "1:<a><${{b>"),
            ("if ($a = \"b\") {c;}", "1:<if><($a><=><b><)>[1:<c>]"),
            ("a{b{c;}}d;", "1:<a>[1:<b>[1:<c>]] 1:<d>"),
            ("a{}\n}b;", "!"),
            ("location ~ \\.php$ {b;}", "1:<location><~><\\.php$>[1:<b>]"),
            ("a \"x\ny\" z;\nb;", "1:<a><x\ny><z> 3:<b>"),
            ("\"a\" b;", "1:<a><b>"),
            ("return 200};", "1:<return><200}>"),
        ] {
            let got = parsed(source).map_or("!".to_owned(), |d| outline(&d));
            assert_eq!(got, expected, "{source:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        for (source, message) in [
            ("\n;", "unexpected ';' in x.conf:2"),
            ("{", "unexpected '{' in x.conf:1"),
            ("\n}", "unexpected '}' in x.conf:2"),
            ("a\n}", "unexpected '}' in x.conf:2"),
            ("a \"b\"c;", "unexpected 'c' in x.conf:1"),
            (
                "\na",
                "the file ends within a directive, a \";\" or a block is missing in x.conf:2",
            ),
            (
                "\na b ",
                "the file ends within a directive, a \";\" or a block is missing in x.conf:2",
            ),
            (
                "a\n'b\n;",
                "a quote is opened here and never closed in x.conf:2",
            ),
            (
                "\na{b{c;}",
                "a block is opened here and never closed in x.conf:2",
            ),
            (
                "x_by_lua_block { \"}\" ",
                "a block is opened here and never closed in x.conf:1",
            ),
        ] {
            assert_eq!(parsed(source).unwrap_err().to_string(), message);
        }
        assert_eq!(
            parsed(&"a{".repeat(1_000_000)).unwrap_err().fault,
            Fault::TooDeep
        );
    }

    #[test]
    fn skips_lua_with_its_own_strings_comments_and_braces() {
        let source = r##"content_by_lua_block {
            local t = { "}", '\'}', [[ } ]], [==[ ]] } ]==] } -- }
            --[[ } ]] if a[1] then ngx.say("\"}") end
        }
        set_by_lua_block $x { return {} }
        b;"##;
        assert_eq!(
            outline(&parsed(source).unwrap()),
            "1:<content_by_lua_block>[code] 5:<set_by_lua_block><$x>[code] 6:<b>"
        );
    }

    #[test]
    fn shows_a_rule_as_it_stands() {
        for rule in [
            "return 301 https://$host$request_uri;",
            r"location ~ /\. { … }",
            r#"rewrite ^/(.*)$ "/a b/$1" last;"#,
            r#"if ($a = "b;") { … }"#,
            r#"add_header A "\"x\"";"#,
            r#"server_name "";"#,
        ] {
            let source = rule.replace('…', "");
            assert_eq!(parsed(&source).unwrap()[0].to_string(), rule);
        }
    }

    proptest! {
        #[test]
        fn never_panics(source in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&source, &Path::new("x").into());
        }

        #[test]
        fn never_panics_on_what_looks_like_syntax(source in r#"[a-c\\"'#{};$ \n()\[\]=-]{0,200}|x_by_lua_block \{[\[\]="'\\{}\n-]{0,80}"#) {
            let _ = parsed(&source);
        }
    }
}
