//! Runs a program with a list of arguments: never through a shell, never without a time limit.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard error, then to standard output, without white space at the end.
    pub output: String,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started.
    #[error("{program:?} can't be started: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program took too long and was killed.
    #[error("{command:?} was stopped after {} s without an end", limit.as_secs())]
    TimedOut {
        /// The program and its arguments.
        command: String,
        /// How long it had.
        limit: Duration,
    },
}

/// Runs `argv` to its end, with nothing on its standard input. Dropping the future kills the program.
pub async fn run(argv: &[String], limit: Duration) -> Result<Finished, CommandError> {
    let (program, arguments) = argv
        .split_first()
        .unwrap_or((const { &String::new() }, &[]));
    let running = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(limit, running).await {
        Ok(output) => output.map_err(|source| CommandError::NotStarted {
            program: program.clone(),
            source,
        })?,
        Err(_) => {
            return Err(CommandError::TimedOut {
                command: argv.join(" "),
                limit,
            });
        }
    };
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    text.truncate(text.trim_end().len());
    Ok(Finished {
        status: output.status,
        output: text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn passes_arguments_untouched_by_any_shell() {
        let finished = run(
            &argv(&["echo", "$HOME; `id`", "*"]),
            Duration::from_secs(10),
        )
        .await
        .unwrap();
        assert!(finished.status.success());
        assert_eq!(finished.output, "$HOME; `id` *");
    }

    #[tokio::test]
    async fn says_which_program_is_missing() {
        let error = run(&argv(&["/nonexistent/nginx"]), Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/nginx"), "{error}");
        assert!(run(&[], Duration::from_secs(10)).await.is_err());
    }

    #[tokio::test]
    async fn ends_what_takes_too_long() {
        let error = run(&argv(&["sleep", "60"]), Duration::from_millis(20))
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }));
    }
}
