//! A program of the operator's that is run when a certificate is live, and what came of it.

use std::ffi::OsStr;
use std::time::Duration;

use time::OffsetDateTime;

use crate::command::{self, CommandError};
use crate::identifier::AppName;
use crate::report::Report;
use crate::store::{Errand, ErrandKind, Version};

/// So many of its last lines are remembered for `status`; the log has more.
const LINES: usize = 10;
/// And so many characters of each.
const COLUMNS: usize = 300;

/// A program that has ended, one way or another.
pub(super) struct Ran {
    /// Its exit status.
    pub(super) exit: Option<i32>,
    /// Its last lines.
    pub(super) output: Vec<String>,
    /// What is wrong, to follow the program's name; nothing if it has succeeded.
    pub(super) problem: Option<String>,
}

impl Ran {
    /// What is written down of it; `report` puts a problem into words.
    pub(super) fn into_errand(
        self,
        kind: ErrandKind,
        what: &str,
        version: Version,
        report: impl FnOnce(String) -> Report,
    ) -> Errand {
        Errand {
            kind,
            what: what.to_owned(),
            version,
            at: OffsetDateTime::now_utc(),
            exit: self.exit,
            output: self.output,
            failure: self.problem.map(report),
        }
    }
}

/// Runs it, and logs each line it says.
pub(super) async fn run(
    certificate: &AppName,
    argv: &[String],
    environment: &[(&str, &OsStr)],
    limit: Duration,
) -> Ran {
    let (exit, output, problem) = match command::run_with(argv, environment, limit).await {
        Ok(finished) => {
            let status = finished.status;
            let problem = (!status.success()).then(|| format!("ended with {status}"));
            (status.code(), finished.output, problem)
        }
        Err(CommandError::NotStarted { source, .. }) => (
            None,
            String::new(),
            Some(format!("can't be started: {source}")),
        ),
        Err(CommandError::TimedOut { output, limit, .. }) => {
            let problem = format!("was stopped after {} s without an end", limit.as_secs());
            (None, output, Some(problem))
        }
    };
    let program = argv.first().map_or("", String::as_str);
    let mut lines: Vec<_> = output.lines().map(readable).collect();
    for line in &lines {
        tracing::info!(%certificate, program, "{line}");
    }
    let said = lines
        .last()
        .map_or(String::new(), |line| format!(": {line}"));
    Ran {
        exit,
        output: lines.split_off(lines.len().saturating_sub(LINES)),
        problem: problem.map(|problem| problem + &said),
    }
}

/// A line without what would play tricks on a terminal or fill a screen.
fn readable(line: &str) -> String {
    let visible = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(COLUMNS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    async fn ran(script: &str, limit: Duration) -> Ran {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let certificate = "shop".parse().unwrap();
        run(&certificate, &argv, &[], limit).await
    }

    #[tokio::test]
    async fn tells_what_it_said_last_and_how_it_ended() {
        let fine = ran("seq 100", LIMIT).await;
        assert_eq!((fine.exit, fine.problem), (Some(0), None));
        assert_eq!(
            fine.output,
            (91..=100).map(|n| n.to_string()).collect::<Vec<_>>()
        );
        let failed = ran("echo why; exit 3", LIMIT).await;
        assert_eq!(failed.exit, Some(3));
        assert_eq!(failed.problem.unwrap(), "ended with exit status: 3: why");
    }

    #[tokio::test]
    async fn tells_of_what_never_ends_and_of_what_never_begins() {
        let endless = ran("echo waiting; sleep 60", Duration::from_secs(1)).await;
        assert_eq!(
            endless.problem.unwrap(),
            "was stopped after 1 s without an end: waiting"
        );
        let certificate = "shop".parse().unwrap();
        let missing = ["/nonexistent/hook".to_owned()];
        let missing = run(&certificate, &missing, &[], LIMIT).await;
        assert!(missing.problem.unwrap().starts_with("can't be started: "));
    }

    #[tokio::test]
    async fn what_is_remembered_plays_no_tricks_on_a_terminal() {
        let trick = ran(
            "printf '\\033[2Jgone\\n'; head -c 1000 /dev/zero | tr '\\0' x",
            LIMIT,
        )
        .await;
        let lengths: Vec<_> = trick.output.iter().map(String::len).collect();
        assert_eq!(lengths, [8, COLUMNS]);
        assert!(!trick.output[0].contains('\x1b'));
    }
}
