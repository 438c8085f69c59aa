//! How attempts to get a certificate have ended, and what those that failed failed by.

use crate::exposition::{Counter, Kind, Page};
use crate::issuance::{FailureKind, IssueError, Issued};

/// Counts since the process began. What is broken off from outside, as by the end of the process, has not ended.
#[derive(Debug, Default)]
pub struct Attempts {
    issued: Counter,
    failed: Counter,
    waiting: Counter,
    failures: [Counter; FailureKind::ALL.len()],
}

impl Attempts {
    /// One that has come to its end. Where nothing was due or wanted, none was made.
    pub fn count(&self, ended: Result<&Issued, &IssueError>) {
        match ended {
            Ok(Issued::New { .. }) => self.issued.count(),
            Ok(Issued::StillGood(_)) | Err(IssueError::Withdrawn(_)) => {}
            Err(error) if error.is_too_early() => self.waiting.count(),
            Err(error) => {
                self.failed.count();
                if let Some(kind) = error.kind() {
                    self.failures[kind as usize].count();
                }
            }
        }
    }

    /// Tells of them.
    pub fn write(&self, page: &mut Page) {
        page.family(
            Kind::Counter,
            "sidedoor_attempts_total",
            "Attempts to get a certificate, by how they ended.",
        )
        .sample(&[("outcome", "issued")], self.issued.value())
        .sample(&[("outcome", "failed")], self.failed.value())
        .sample(&[("outcome", "waiting")], self.waiting.value());
        let mut failures = page.family(
            Kind::Counter,
            "sidedoor_attempt_failures_total",
            "Attempts that have failed, by what it was.",
        );
        for (kind, counter) in FailureKind::ALL.into_iter().zip(&self.failures) {
            failures.sample(&[("kind", kind.as_str())], counter.value());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_fails_has_a_kind_and_what_waits_has_none() {
        let attempts = Attempts::default();
        attempts.count(Err(&IssueError::Hung(Duration::ZERO)));
        attempts.count(Err(&IssueError::Unresolved(Vec::new())));
        attempts.count(Err(&IssueError::Withdrawn("shop".parse().unwrap())));
        let mut page = Page::default();
        attempts.write(&mut page);
        let page = page.finish();
        let above_zero: Vec<_> = page
            .lines()
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0"))
            .collect();
        assert_eq!(
            above_zero,
            [
                "sidedoor_attempts_total{outcome=\"failed\"} 1",
                "sidedoor_attempts_total{outcome=\"waiting\"} 1",
                "sidedoor_attempt_failures_total{kind=\"internal\"} 1",
            ]
        );
    }
}
