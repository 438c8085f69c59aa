//! A pretended nginx for tests: two small programs that write down when they run, wait where they are told to, and
//! refuse what a test has made wrong.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use super::change::Change;
use super::control::{Control, ControlError, Outcome, Stage};
use crate::config::Commands;

/// Refuses every file of its configuration that holds the word `bad`, and everything once it is broken.
const TEST: &str = r#"
echo test >> "$0.log"
if [ -p "$0.gate" ]; then read -r _ < "$0.gate"; fi
if [ -e "$0.words" ]; then cat "$0.words" >&2; exit 1; fi
for file in "${0%/*}"/conf/*/*.conf "${0%/*}"/conf/*.conf; do
    if [ -e "$file" ] && grep -q bad "$file"; then
        echo "nginx: [emerg] unknown directive \"bad\" in $file:1" >&2
        exit 1
    fi
done
"#;

const RELOAD: &str = r#"
echo reload >> "$0.log"
if [ -p "$0.gate" ]; then read -r _ < "$0.gate"; fi
if [ -e "$0.words" ]; then cat "$0.words" >&2; exit 1; fi
"#;

/// The pretended nginx.
pub(crate) struct FakeNginx {
    directory: TempDir,
}

/// A program that waits, until this is dropped.
pub(crate) struct Waiting(#[allow(dead_code)] File);

impl FakeNginx {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("test"), TEST).unwrap();
        fs::write(directory.path().join("reload"), RELOAD).unwrap();
        fs::create_dir(directory.path().join("conf")).unwrap();
        fs::write(directory.path().join("nginx.conf"), "events {}\n").unwrap();
        Self { directory }
    }

    /// A file of its configuration.
    pub(crate) fn conf(&self, name: &str) -> PathBuf {
        self.directory.path().join("conf").join(name)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.directory.path().join("nginx.lock")
    }

    pub(crate) fn commands(&self) -> Commands {
        // Read by the shell rather than run, since a file that another thread's child still has open can't be run.
        let main_file = self.program("nginx.conf");
        let command = |name| {
            let own = self.program(name);
            ["sh", &own, "nginx", "-c", &main_file]
                .map(str::to_owned)
                .into()
        };
        Commands {
            test: command("test"),
            reload: command("reload"),
        }
    }

    fn program(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A control of it, at work until the test ends.
    pub(crate) fn control(&self) -> Arc<Control> {
        let (control, serve) = Control::new(self.commands(), self.lock());
        #[allow(clippy::disallowed_methods)] // ends with the test's runtime
        tokio::spawn(serve);
        Arc::new(control)
    }

    /// How often it was (tested, told to reload).
    pub(crate) fn calls(&self) -> (usize, usize) {
        let lines = |name| {
            fs::read_to_string(self.program(name) + ".log").map_or(0, |log| log.lines().count())
        };
        (lines("test"), lines("reload"))
    }

    /// From now on the program waits when it is run.
    pub(crate) fn will_wait_in(&self, program: &str) {
        let made = Command::new("mkfifo")
            .arg(self.program(program) + ".gate")
            .status();
        assert!(made.unwrap().success());
    }

    /// Resolves when the program runs and waits. It is the last time that it does.
    pub(crate) async fn waits_in(&self, program: &str) -> Waiting {
        let gate = self.program(program) + ".gate";
        // Opening it for writing takes until somebody has opened it for reading.
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::options().write(true).open(&gate).unwrap();
            fs::remove_file(&gate).unwrap();
            file
        });
        Waiting(opened.await.unwrap())
    }

    /// From now on the program fails with these words.
    pub(crate) fn fails_in(&self, program: &str, words: &str) {
        fs::write(self.program(program) + ".words", words).unwrap();
    }

    /// The program fails no longer.
    pub(crate) fn is_well_in(&self, program: &str) {
        fs::remove_file(self.program(program) + ".words").unwrap();
    }
}

/// Asks, with nobody listening.
pub(crate) fn apply(
    control: &Control,
    changes: Vec<Change>,
) -> impl Future<Output = Result<Outcome, ControlError>> + Send + use<> {
    control.apply(changes, Box::new(|_: Stage| {}))
}
