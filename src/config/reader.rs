//! Reads a TOML document key by key and collects everything that is wrong with it, each with its line.
//!
//! serde would stop at the first mistake; whoever edits a configuration wants to hear of all of them at once.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The key meant, with its tables (`acme.directory`, `app[2].domains`); empty for a mistake of syntax.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The document being read.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            mistakes: RefCell::default(),
        }
    }

    /// Hands the root table to `read`; whatever was said to be wrong by then is returned instead of its value.
    pub(super) fn read<T>(
        self,
        read: impl FnOnce(Section<'_>) -> Option<T>,
    ) -> Result<T, Vec<Mistake>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.refuse(
                error.span().unwrap_or_default(),
                String::new(),
                error.message().to_owned(),
            );
        }
        let value = read(Section::new(
            &self,
            root.get_ref(),
            root.span(),
            String::new(),
        ));
        let mut mistakes = self.mistakes.into_inner();
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => {
                mistakes.sort_by_key(|mistake| mistake.line);
                Err(mistakes)
            }
        }
    }

    fn refuse(&self, span: Range<usize>, key: String, message: String) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_owned(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            key,
            message,
        });
    }
}

/// One table of the document. What nobody has asked for when it is dropped is unknown, and a mistake.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    path: String,
    asked: Vec<&'static str>,
}

impl<'d> Section<'d> {
    fn new(
        document: &'d Document<'d>,
        table: &'d DeTable<'d>,
        span: Range<usize>,
        path: String,
    ) -> Self {
        Self {
            document,
            table,
            span,
            path,
            asked: Vec::new(),
        }
    }

    fn full(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.path),
        }
    }

    /// Says that what stands at `key` (or the table itself, where the key is missing) is wrong.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) {
        let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
        self.document.refuse(span, self.full(key), message.into());
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?.get_ref();
        let read = read(value);
        if read.is_none() {
            self.refuse(
                key,
                format!("{wanted} is expected here, not {}", described(value)),
            );
        }
        read
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<&'d str> {
        self.typed(key, "a string", DeValue::as_str)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool)
    }

    /// A whole number, not below `least`.
    pub(super) fn number(&mut self, key: &'static str, least: usize) -> Option<usize> {
        let number = self.typed(key, "a whole number", |value| {
            let number = value.as_integer()?;
            usize::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
        })?;
        if number < least {
            self.refuse(key, format!("at least {least} is needed here"));
            return None;
        }
        Some(number)
    }

    /// A string of the grammar of `T`.
    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.string(key)?;
        self.parse(key, text)
    }

    /// A list of strings of the grammar of `T`; one string stands for a list of one.
    pub(super) fn list<T: FromStr<Err: fmt::Display>>(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<T>> {
        let texts = self.strings(key)?;
        let parsed: Vec<_> = texts
            .iter()
            .filter_map(|text| self.parse(key, text))
            .collect();
        (parsed.len() == texts.len()).then_some(parsed)
    }

    fn strings(&mut self, key: &'static str) -> Option<Vec<&'d str>> {
        self.typed(key, "a list of strings", strings_in)
    }

    /// A command as a list of arguments. A string is refused, since splitting it would take a shell's rules.
    pub(super) fn command(&mut self, key: &'static str) -> Option<Vec<String>> {
        if self
            .table
            .get(key)
            .is_some_and(|value| value.get_ref().is_str())
        {
            self.asked.push(key);
            self.refuse(
                key,
                "a command is a list of arguments, since no shell is used: [\"nginx\", \"-t\"]",
            );
            return None;
        }
        let arguments = self.strings(key)?;
        self.command_of(key, arguments)
    }

    fn command_of(&self, key: &str, arguments: Vec<&str>) -> Option<Vec<String>> {
        match arguments.first() {
            None | Some(&"") => {
                self.refuse(key, "the program to run is missing");
                None
            }
            Some(_) if arguments.iter().any(|argument| argument.contains('\0')) => {
                self.refuse(key, "no argument of a program can hold a NUL");
                None
            }
            Some(_) => Some(arguments.into_iter().map(str::to_owned).collect()),
        }
    }

    /// Commands: a list of them, each a list of arguments, or just one; an empty list is none.
    pub(super) fn commands(&mut self, key: &'static str) -> Option<Vec<Vec<String>>> {
        let is_several = self.table.get(key).and_then(|value| {
            let items = value.get_ref().as_array()?;
            Some(items.iter().all(|item| item.get_ref().is_array()))
        });
        if is_several != Some(true) {
            return self.command(key).map(|only| vec![only]);
        }
        let several = self.typed(key, "a list of commands", |value| {
            let items = value.as_array()?.iter();
            items
                .map(|item| strings_in(item.get_ref()))
                .collect::<Option<Vec<_>>>()
        })?;
        let commands = several.into_iter().map(|one| self.command_of(key, one));
        commands.collect()
    }

    /// A time span: a number and one of s, m, h, d.
    pub(super) fn span(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.string(key)?;
        let span = time_span(text);
        if span.is_none() {
            self.refuse(
                key,
                format!("{text:?} is not a time span: write \"90s\", \"15m\", \"12h\" or \"30d\""),
            );
        }
        span
    }

    /// A path; relative ones are looked for beside the configuration file.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.string(key)?;
        if text.is_empty() || text.contains('\0') {
            self.refuse(key, "a path is expected here");
            return None;
        }
        let directory = self.document.file.parent().unwrap_or(Path::new(""));
        let path = directory.join(text);
        Some(std::path::absolute(&path).unwrap_or(path))
    }

    /// A text of the grammar of `T` that stands at this key.
    pub(super) fn parse<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
        text: &str,
    ) -> Option<T> {
        text.parse()
            .map_err(|error: T::Err| self.refuse(key, error.to_string()))
            .ok()
    }

    /// The table at `key`.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'d>> {
        let path = self.full(key);
        let span = self.table.get(key)?.span();
        let table = self.typed(key, "a table", DeValue::as_table)?;
        Some(Section::new(self.document, table, span, path))
    }

    /// A list of strings and tables, or one of them alone; tables are numbered from 1 in what is said about them.
    pub(super) fn entries(&mut self, key: &'static str) -> Option<Vec<Entry<'d>>> {
        let path = self.full(key);
        let read = |value: &'d DeValue<'d>, span, n: usize| match value {
            DeValue::Table(table) => Some(Entry::Table(Section::new(
                self.document,
                table,
                span,
                format!("{path}[{n}]"),
            ))),
            other => other.as_str().map(Entry::Text),
        };
        let span = self.table.get(key)?.span();
        let entries = match self.table.get(key)?.get_ref() {
            DeValue::Array(items) => (1..)
                .zip(items.iter())
                .map(|(n, item)| read(item.get_ref(), item.span(), n))
                .collect(),
            one => read(one, span, 1).map(|one| vec![one]),
        };
        self.asked.push(key);
        if entries.is_none() {
            self.refuse(key, "a list of strings or tables is expected here");
        }
        entries
    }

    /// The tables at `[[key]]`, numbered from 1 in what is said about them.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'d>> {
        let path = self.full(key);
        let tables = self.typed(
            key,
            &format!("a list of tables, such as begun by [[{key}]],"),
            |value| {
                let items = value.as_array()?.iter();
                items
                    .map(|item| Some((item.get_ref().as_table()?, item.span())))
                    .collect::<Option<Vec<_>>>()
            },
        );
        let tables = tables.unwrap_or_default().into_iter().enumerate();
        tables
            .map(|(n, (table, span))| {
                Section::new(self.document, table, span, format!("{path}[{}]", n + 1))
            })
            .collect()
    }
}

/// What stands in a list where a table says more than a string.
pub(super) enum Entry<'d> {
    Text(&'d str),
    Table(Section<'d>),
}

/// Says of every key that nobody asked for that it is unknown.
impl Drop for Section<'_> {
    fn drop(&mut self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let nearest = self
                .asked
                .iter()
                .map(|known| (distance(known, name), known))
                .min();
            let message = match nearest {
                Some((steps, known)) if steps <= 2 => {
                    format!("there is no such key; {known:?} is perhaps meant")
                }
                _ => format!(
                    "there is no such key; known here: {}",
                    self.asked.join(", ")
                ),
            };
            self.document.refuse(key.span(), self.full(name), message);
        }
    }
}

/// The strings of a list, or the only one.
fn strings_in<'d>(value: &'d DeValue<'d>) -> Option<Vec<&'d str>> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str()).collect(),
        other => other.as_str().map(|one| vec![one]),
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn time_span(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    count.checked_mul(unit).map(Duration::from_secs)
}

/// How many letters have to be changed, added or left out to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_time_spans() {
        assert_eq!(time_span("90s"), Some(Duration::from_secs(90)));
        assert_eq!(time_span("30d"), Some(Duration::from_secs(30 * 86_400)));
        for text in [
            "",
            "s",
            "30",
            "-1d",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "1é",
        ] {
            assert_eq!(time_span(text), None, "{text:?}");
        }
    }

    #[test]
    fn counts_the_letters_between_two_words() {
        assert_eq!(distance("upstream", "upstream"), 0);
        assert_eq!(distance("upstream", "upsteam"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
