//! Runs a program with a list of arguments: never through a shell, never without a time limit, and never without an end to what it may say.

use std::ffi::OsStr;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// So much of each of its outputs is kept, the end of it: that is where a program says why it gave up.
const KEPT: usize = 64 * 1024;
/// What a program has started and left running may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a finished program left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard error, then to standard output, without white space at the end; of each the last 64 KiB.
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
    /// The program took too long and was killed, with all that it had started.
    #[error("{command:?} was stopped after {} s without an end", limit.as_secs())]
    TimedOut {
        /// The program and its arguments.
        command: String,
        /// How long it had.
        limit: Duration,
        /// What it had written by then, as in [`Finished`].
        output: String,
    },
}

/// Runs `argv` to its end, with nothing on its standard input. Dropping the future kills the program, and all that it has started.
pub async fn run(argv: &[String], limit: Duration) -> Result<Finished, CommandError> {
    run_with(argv, &[], limit).await
}

/// The same, with further variables in its environment.
pub async fn run_with(
    argv: &[String],
    environment: &[(&str, &OsStr)],
    limit: Duration,
) -> Result<Finished, CommandError> {
    let (program, arguments) = argv
        .split_first()
        .unwrap_or((const { &String::new() }, &[]));
    let not_started = |source| CommandError::NotStarted {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let group = Group::led_by(&child);
    let (mut complaints, mut words) = (Tail::default(), Tail::default());
    let (stderr, stdout) = (child.stderr.take(), child.stdout.take());
    let ended = timeout(limit, async {
        let mut reading = pin!(async {
            tokio::join!(complaints.read(stderr), words.read(stdout));
        });
        let status = tokio::select! {
            status = child.wait() => status,
            () = &mut reading => return child.wait().await,
        };
        let _ = timeout(LAST_WORDS, reading).await;
        status
    })
    .await;
    let mut output = complaints.into_text();
    output.push_str(&words.into_text());
    output.truncate(output.trim_end().len());
    match ended {
        Ok(status) => {
            group.has_ended();
            let status = status.map_err(not_started)?;
            Ok(Finished { status, output })
        }
        Err(_) => Err(CommandError::TimedOut {
            command: argv.join(" "),
            limit,
            output,
        }),
    }
}

/// A command as it can be typed into a shell.
pub fn quoted(argv: &[String]) -> String {
    let words: Vec<_> = argv.iter().map(|word| quoted_word(word)).collect();
    words.join(" ")
}

/// One word as it can be typed into a shell.
pub fn quoted_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A program and all that it has started, killed together unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(pid.and_then(Pid::from_raw))
    }

    /// The number may be another's from now on. What it has left running was meant to stay.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The end of what a program has written.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    left_out: usize,
}

impl Tail {
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut piece = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            self.bytes.extend_from_slice(&piece[..length]);
            if self.bytes.len() > 2 * KEPT {
                self.shorten();
            }
        }
    }

    fn shorten(&mut self) {
        let excess = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..excess);
        self.left_out += excess;
    }

    fn into_text(mut self) -> String {
        self.shorten();
        let text = String::from_utf8_lossy(&self.bytes);
        match self.left_out {
            0 => text.into_owned(),
            // What is left of the line that was cut says nothing.
            _ => match text.split_once('\n') {
                Some((_, whole_lines)) if !whole_lines.is_empty() => whole_lines.to_owned(),
                _ => text.into_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn sh(script: &str) -> Vec<String> {
        argv(&["sh", "-c", script])
    }

    #[tokio::test]
    async fn passes_arguments_untouched_by_any_shell() {
        let finished = run(&argv(&["echo", "$HOME; `id`", "*"]), LIMIT)
            .await
            .unwrap();
        assert!(finished.status.success());
        assert_eq!(finished.output, "$HOME; `id` *");
    }

    #[tokio::test]
    async fn says_which_program_is_missing() {
        let error = run(&argv(&["/nonexistent/nginx"]), LIMIT)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/nginx"), "{error}");
        assert!(run(&[], LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn ends_what_takes_too_long_with_all_that_it_has_started_and_keeps_its_words() {
        let limit = Duration::from_millis(300);
        let error = run(&sh("echo started; sleep 61 & echo $!; wait"), limit)
            .await
            .unwrap_err();
        let CommandError::TimedOut { output, .. } = error else {
            panic!("{error}")
        };
        let (word, grandchild) = output.split_once('\n').unwrap();
        assert_eq!(word, "started");
        assert_gone(grandchild).await;
    }

    #[tokio::test]
    async fn whoever_stops_waiting_ends_it_with_all_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let argv = sh(&format!(
            "sleep 62 & echo $! > {0}.new; mv {0}.new {0}; wait",
            file.display()
        ));
        let mut running = Box::pin(run(&argv, LIMIT));
        while !file.exists() {
            let _ = timeout(Duration::from_millis(5), &mut running).await;
        }
        drop(running);
        assert_gone(std::fs::read_to_string(file).unwrap().trim()).await;
    }

    /// A killed process is gone, or at most not yet reaped by whoever has inherited it.
    async fn assert_gone(pid: &str) {
        let stat = format!("/proc/{pid}/stat");
        let is_alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let gone = async {
            while is_alive() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LIMIT, gone).await.expect("an end");
    }

    #[tokio::test]
    async fn does_not_wait_for_what_was_started_to_stay() {
        let finished = run(&sh("sleep 63 & echo $!"), LIMIT).await.unwrap();
        assert!(finished.status.success());
        let pid = finished
            .output
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        rustix::process::kill_process(pid, Signal::KILL).expect("it was left alone");
    }

    #[tokio::test]
    async fn keeps_the_end_of_what_a_program_without_end_says() {
        let script = "yes 'a long line' | head -c 10000000; echo; echo the end";
        let finished = run(&sh(script), LIMIT).await.unwrap();
        assert!(finished.output.len() <= KEPT);
        assert!(finished.output.len() > KEPT / 2);
        assert!(finished.output.starts_with("a long line\n"));
        assert!(finished.output.ends_with("\nthe end"));
    }

    #[tokio::test]
    async fn hands_over_the_environment_and_nothing_to_read() {
        let environment = [("RENEWED", OsStr::new("a b"))];
        let finished = run_with(&sh("cat; echo \"$RENEWED\""), &environment, LIMIT)
            .await
            .unwrap();
        assert_eq!(finished.output, "a b");
    }

    #[test]
    fn a_command_is_shown_as_it_can_be_typed() {
        let argv = argv(&["/bin/x", "a b", "", "it's", "$x"]);
        assert_eq!(quoted(&argv), r"/bin/x 'a b' '' 'it'\''s' '$x'");
    }
}
