//! A page of metrics as Prometheus reads it (text exposition format 0.0.4), and what is counted with. Pure: whoever counts brings the numbers.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a page is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written, family by family.
#[derive(Debug, Default)]
pub struct Page(String);

/// What the numbers of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, until a restart.
    Counter,
    /// They are what is the case now.
    Gauge,
    /// They are counts by upper bound.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A number that only grows. A plain atomic: some are counted on the path of every request.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there are.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Numbers of one name, told apart by their labels.
#[derive(Debug)]
pub struct Family<'p> {
    page: &'p mut Page,
    name: &'static str,
}

impl Page {
    /// Begins a family, whose numbers follow at once: all numbers of a name stand together.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = kind.name();
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { page: self, name }
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.0
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{line}");
    }
}

impl Family<'_> {
    /// One number.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.number("", labels, None, value)
    }

    /// One histogram: how many there are up to each bound, how many in all, and their sum.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        up_to: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) -> &mut Self {
        for (bound, count) in up_to {
            self.number("_bucket", labels, Some(&bound.to_string()), count);
        }
        self.number("_bucket", labels, Some("+Inf"), count)
            .number("_sum", labels, None, sum)
            .number("_count", labels, None, count)
    }

    fn number(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl Display,
    ) -> &mut Self {
        let labels: Vec<_> = labels
            .iter()
            .copied()
            .chain(bound.map(|bound| ("le", bound)))
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let name = self.name;
        self.page.line(match labels.is_empty() {
            true => format!("{name}{suffix} {value}"),
            false => format!("{name}{suffix}{{{}}} {value}", labels.join(",")),
        });
        self
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_head_and_then_its_numbers() {
        let mut page = Page::default();
        page.family(Kind::Gauge, "open", "What is open.")
            .sample(&[], 3);
        page.family(Kind::Counter, "done_total", "What is done.")
            .sample(&[("app", "shop"), ("result", "a\"\\\nb")], 1);
        assert_eq!(
            page.finish(),
            "# HELP open What is open.\n# TYPE open gauge\nopen 3\n\
             # HELP done_total What is done.\n# TYPE done_total counter\n\
             done_total{app=\"shop\",result=\"a\\\"\\\\\\nb\"} 1\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_all_and_their_sum() {
        let mut page = Page::default();
        page.family(Kind::Histogram, "seconds", "How long.")
            .histogram(&[("app", "a")], [(0.5, 1), (10.0, 2)], 3, 60.25);
        let (_, numbers) = page
            .0
            .split_once("# TYPE seconds histogram\n")
            .expect("a head");
        assert_eq!(
            numbers,
            "seconds_bucket{app=\"a\",le=\"0.5\"} 1\nseconds_bucket{app=\"a\",le=\"10\"} 2\n\
             seconds_bucket{app=\"a\",le=\"+Inf\"} 3\nseconds_sum{app=\"a\"} 60.25\nseconds_count{app=\"a\"} 3\n"
        );
    }
}
