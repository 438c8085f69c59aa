//! The one place that tests and reloads nginx. Requests that arrive while a reload runs share the next one; what nginx
//! refuses is taken back, alone where nginx names it. Knows neither doors nor certificates: only paths and what stands there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::change::{Change, Made};
use super::master::{Master, Worker};
use super::verdict::{Blame, blamed};
use crate::command;
use crate::config::Commands;
use crate::lock::{Lock, LockError};

/// `nginx -t` takes 24 s with 10,000 hosts (measured); whoever needs more than this has another trouble.
const TEST_LIMIT: Duration = Duration::from_secs(180);
const RELOAD_LIMIT: Duration = Duration::from_secs(180);
/// As long as requests keep coming so soon after one another, they are waited for, though only so often.
const GATHER: Duration = Duration::from_millis(2);
const GATHERINGS: usize = 50;
/// How long nginx's new workers are waited for, at least, before the next reload.
const SUCCESSION_AT_LEAST: Duration = Duration::from_secs(2);
/// Other processes of ours hold the lock for one test and one reload.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// What became of a request that nginx took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything stood so already; nginx was left alone.
    Unchanged,
    /// nginx took the configuration and was told to read it.
    Reloaded {
        /// How long the test and the reload took: what nginx itself will need again before its new workers are there.
        took: Duration,
        /// The workers that are retired by it, where they can be seen.
        old_workers: Vec<Worker>,
    },
    /// Something of ours is gone from the disk, but nginx could not be told, since its configuration is broken elsewhere.
    GoneButNotReloaded(String),
}

/// Why a request failed. What it changed has been put back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// A path of the request can't be written.
    #[error("{} can't be written: {reason}", path.display())]
    Unwritable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// nginx refuses what the request brought.
    #[error("nginx refuses {}: {words}", path.display())]
    Refused {
        /// The path that nginx names.
        path: PathBuf,
        /// nginx's own words.
        words: String,
    },
    /// nginx refuses its configuration for a reason that isn't ours.
    #[error("nginx's configuration is broken, not by sidedoor: {words}")]
    BrokenElsewhere {
        /// nginx's own words.
        words: String,
    },
    /// The test or the reload could not be run, or the reload failed.
    #[error("nginx can't be {verb}: {words}")]
    NotRun {
        /// "tested" or "reloaded".
        verb: &'static str,
        /// What went wrong.
        words: String,
    },
    /// The process is stopping.
    #[error("sidedoor is stopping")]
    Stopping,
}

impl ControlError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self, commands: &Commands) -> String {
        match self {
            Self::Unwritable { path, .. } => {
                let directory = path.parent().unwrap_or(path);
                format!("let the user who runs sidedoor write to {}", directory.display())
            }
            Self::Refused { .. } => "nothing was changed; run `sidedoor check` to see which rule is in the way".into(),
            Self::BrokenElsewhere { .. } => format!("mend the file that nginx names, until `{}` passes", commands.test.join(" ")),
            Self::NotRun { verb: "tested", .. } => "check nginx.test in the configuration: it is the command that tests nginx's configuration".into(),
            Self::NotRun { .. } => "check that nginx is running, and nginx.reload in the configuration".into(),
            Self::Stopping => "try again once it runs".into(),
        }
    }
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its changes are on disk.
    Written,
    /// `nginx -t` has passed.
    Tested,
    /// nginx was told to read its configuration.
    Reloaded,
}

/// Hears how far a request has come.
pub type Listener = Box<dyn Fn(Stage) + Send + Sync>;

struct Request {
    changes: Vec<Change>,
    listener: Listener,
    answer: oneshot::Sender<Result<Outcome, ControlError>>,
}

/// Tests and reloads nginx for everybody in this process, and takes turns with other processes of ours.
#[derive(Debug)]
pub struct Control {
    requests: mpsc::UnboundedSender<Asked>,
    last_took: watch::Receiver<Duration>,
}

impl Control {
    /// A control, and the task that does its work: it ends after [`Control::finish`], or when the last `Control` is gone.
    /// `lock` is a file that all processes of ours share.
    pub fn new(commands: Commands, lock: PathBuf) -> (Self, impl Future<Output = ()> + Send) {
        Self::with_master(commands, None, lock)
    }

    /// The same, with a master that may be signalled in place of the reload command.
    pub fn with_master(
        commands: Commands,
        master: Option<Master>,
        lock: PathBuf,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, mut arriving) = mpsc::unbounded_channel();
        let (took, last_took) = watch::channel(Duration::ZERO);
        let serve = async move {
            let mut finish = false;
            while !finish && let Some(Asked::Apply(first)) = arriving.recv().await {
                let mut batch = vec![first];
                // Requests that belong together are made one after the other; they shall share a reload.
                for _ in 0..GATHERINGS {
                    sleep(GATHER).await;
                    let gathered = batch.len();
                    finish = take_what_has_come(&mut arriving, &mut batch);
                    if finish || batch.len() == gathered {
                        break;
                    }
                }
                let turn = Lock::wait(&lock, LOCK_LIMIT).await;
                // So does whatever was asked while another process had its turn.
                finish = finish || take_what_has_come(&mut arriving, &mut batch);
                let reloaded = serve(&commands, master.as_ref(), turn.as_ref().err(), batch).await;
                if let Some((reload, old_workers)) = reloaded {
                    took.send_replace(reload);
                    // Whoever comes next has to see all workers that their own reload retires, also those that this one is about to start.
                    if let Some(master) = &master {
                        let limit = SUCCESSION_AT_LEAST.max(reload * 4);
                        master.succeeded(&old_workers, limit).await;
                    }
                }
            }
        };
        let control = Self {
            requests,
            last_took,
        };
        (control, serve)
    }

    /// Makes these changes, all or none, and has nginx take them. Without changes, nginx is tested and reloaded all the same.
    ///
    /// The request is carried out even if the future is dropped.
    pub fn apply(
        &self,
        changes: Vec<Change>,
        listener: Listener,
    ) -> impl Future<Output = Result<Outcome, ControlError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Asked::Apply(Request {
            changes,
            listener,
            answer,
        }));
        async move {
            sent.map_err(|_| ControlError::Stopping)?;
            answered.await.unwrap_or(Err(ControlError::Stopping))
        }
    }

    /// How long the last test and reload took together; nothing before the first.
    pub fn last_took(&self) -> Duration {
        *self.last_took.borrow()
    }

    /// Ends the task once all requests made until now are done; later ones fail.
    pub fn finish(&self) {
        let _ = self.requests.send(Asked::Finish);
    }
}

enum Asked {
    Apply(Request),
    Finish,
}

/// Whether the task is to end after these.
fn take_what_has_come(
    arriving: &mut mpsc::UnboundedReceiver<Asked>,
    batch: &mut Vec<Request>,
) -> bool {
    while let Ok(next) = arriving.try_recv() {
        match next {
            Asked::Apply(request) => batch.push(request),
            Asked::Finish => return true,
        }
    }
    false
}

/// A request whose changes are on disk.
struct Running {
    made: Vec<Made>,
    listener: Listener,
    answer: oneshot::Sender<Result<Outcome, ControlError>>,
}

impl Running {
    fn finish(self, result: Result<Outcome, ControlError>) {
        // Whoever asked may be gone; the work was done all the same.
        let _ = self.answer.send(result);
    }

    fn blamed_by(&self, file: &Path) -> Option<&Path> {
        self.made
            .iter()
            .find(|made| made.is_blamed_by(file))
            .map(Made::path)
    }

    /// Puts back what was there before.
    fn take_back(&self) {
        for made in self.made.iter().rev() {
            if let Err(problem) = made.take_back() {
                tracing::error!(path = %made.path().display(), error = %problem, "what was there before can't be put back");
            }
        }
    }

    /// Fails because of nginx. A request that only took things away has done what it could.
    fn fail(self, error: ControlError) {
        let only_gone = !self.made.is_empty() && self.made.iter().all(Made::stays);
        self.take_back();
        let result = match only_gone {
            true => Ok(Outcome::GoneButNotReloaded(error.to_string())),
            false => Err(error),
        };
        self.finish(result);
    }
}

/// One test and one reload for all of `batch`. How long they took, and the workers before, if nginx was reloaded.
async fn serve(
    commands: &Commands,
    master: Option<&Master>,
    no_turn: Option<&LockError>,
    batch: Vec<Request>,
) -> Option<(Duration, Vec<Worker>)> {
    let mut running: Vec<_> = batch
        .into_iter()
        .filter_map(|request| make(request, no_turn))
        .collect();
    let began = Instant::now();
    loop {
        if running.is_empty() {
            return None;
        }
        let words = match run(&commands.test, TEST_LIMIT).await {
            Ok(()) => break,
            Err(Failure::Refused(words)) => words,
            Err(Failure::NotRun(words)) => {
                fail_all(
                    running,
                    &ControlError::NotRun {
                        verb: "tested",
                        words,
                    },
                );
                return None;
            }
        };
        let blame = blamed(&words);
        let culprit = blame.as_ref().and_then(|Blame { file, .. }| {
            // Where several have changed the same path, what nginx has read is the last one's.
            running
                .iter()
                .enumerate()
                .rev()
                .find_map(|(n, one)| Some((n, one.blamed_by(file)?.to_owned())))
        });
        match culprit {
            Some((n, path)) => running
                .remove(n)
                .fail(ControlError::Refused { path, words }),
            None => {
                fail_all(running, &ControlError::BrokenElsewhere { words });
                return None;
            }
        }
    }
    for one in &running {
        (one.listener)(Stage::Tested);
    }
    let old_workers = match master {
        Some(master) => master.workers().await,
        None => Vec::new(),
    };
    if let Err(Failure::Refused(words) | Failure::NotRun(words)) = reload(commands, master).await {
        fail_all(
            running,
            &ControlError::NotRun {
                verb: "reloaded",
                words,
            },
        );
        return None;
    }
    let took = began.elapsed();
    tracing::debug!(
        requests = running.len(),
        "nginx was told to read its configuration"
    );
    for one in running {
        (one.listener)(Stage::Reloaded);
        one.finish(Ok(Outcome::Reloaded {
            took,
            old_workers: old_workers.clone(),
        }));
    }
    Some((took, old_workers))
}

/// The last one first, so that what was there before all of them is what stands in the end.
fn fail_all(running: Vec<Running>, error: &ControlError) {
    for one in running.into_iter().rev() {
        one.fail(error.clone());
    }
}

/// Makes a request's changes. `None` if it is answered by that.
fn make(request: Request, no_turn: Option<&LockError>) -> Option<Running> {
    let Request {
        changes,
        listener,
        answer,
    } = request;
    let only_reload = changes.is_empty();
    let mut running = Running {
        made: Vec::new(),
        listener,
        answer,
    };
    if let Some(error) = no_turn {
        running.fail(ControlError::NotRun {
            verb: "reloaded",
            words: error.to_string(),
        });
        return None;
    }
    for change in changes {
        let path = change.path.clone();
        match change.make() {
            Ok(made) => running.made.extend(made),
            Err(error) => {
                running.take_back();
                running.finish(Err(ControlError::Unwritable {
                    path,
                    reason: error.to_string(),
                }));
                return None;
            }
        }
    }
    (running.listener)(Stage::Written);
    if running.made.is_empty() && !only_reload {
        running.finish(Ok(Outcome::Unchanged));
        return None;
    }
    Some(running)
}

enum Failure {
    /// The command ran and said no, in these words.
    Refused(String),
    /// The command did not run, or not to its end.
    NotRun(String),
}

/// Tells nginx, by a signal where that comes to the same.
async fn reload(commands: &Commands, master: Option<&Master>) -> Result<(), Failure> {
    match master {
        Some(master) if master.reload().await => Ok(()),
        _ => run(&commands.reload, RELOAD_LIMIT).await,
    }
}

async fn run(argv: &[String], limit: Duration) -> Result<(), Failure> {
    match command::run(argv, limit).await {
        Ok(finished) if finished.status.success() => Ok(()),
        // `sudo` and the like fail without nginx having said a word.
        Ok(finished) if finished.output.is_empty() => Err(Failure::NotRun(format!(
            "{:?} ended with {}",
            argv.join(" "),
            finished.status
        ))),
        Ok(finished) => Err(Failure::Refused(finished.output)),
        Err(error) => Err(Failure::NotRun(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
