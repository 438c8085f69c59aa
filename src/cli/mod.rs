//! The command line: what was typed, what it means, and how its end is told.

mod alone;
mod arguments;
mod confirm;
mod imported;
mod output;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::admin::client::{Client, ClientError};
use crate::admin::protocol::{Fared, Rehearsal, Reply, Request};
use crate::check;
use crate::config::{Config, ConfigError};
use crate::daemon::{self, Signals, Start};
use crate::import::{self, ImportError, Imported};
use crate::inherited::Inherited;
use crate::jobs;
use crate::nginx::survey::Surveyor;
use crate::report::Report;
use crate::status;
use crate::store::Store;
use crate::telemetry;

use arguments::{Arguments, Meaning};
use output::Output;

/// What a command's end means to whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2: usage or configuration.
    Usage,
    /// 3: some of several.
    SomeFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::SomeFailed => 3,
        })
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap hands over help and version as errors that are none.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    forbid_core_dumps();
    // Before there are threads, since it takes its names from the environment.
    let inherited = Inherited::take();
    telemetry::start(arguments.log_format(), arguments.log_level());
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(execute(&arguments, inherited)).into(),
        Err(error) => {
            eprintln!("error: the system has no threads left: {error}");
            Exit::Failed.into()
        }
    }
}

/// A crash must not leave private keys on the disk.
fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("note: core dumps can't be switched off: {error}");
    }
}

async fn execute(arguments: &Arguments, inherited: io::Result<Inherited>) -> Exit {
    let output = Output::new(arguments);
    let meaning = match arguments.meaning() {
        Ok(meaning) => meaning,
        Err(report) => {
            output.failure(&report);
            return Exit::Usage;
        }
    };
    let config = match Config::load(arguments.config()) {
        Ok(config) => config,
        Err(error) => {
            let next_step = match &error {
                ConfigError::Unreadable { .. } => {
                    "name the file with --config FILE or in SIDEDOOR_CONFIG"
                }
                ConfigError::Mistakes(_) => "mend these lines and run `sidedoor config check`",
            };
            output.failure(&Report::new(error, next_step));
            return Exit::Usage;
        }
    };
    if let Some(question) = arguments.question()
        && let Err(report) = confirm::confirm(&question)
    {
        output.failure(&report);
        return Exit::Usage;
    }
    match meaning {
        Meaning::Run { take_over } => {
            let start = Start {
                inherited,
                take_over,
            };
            match daemon::run(config, start).await {
                Ok(()) => Exit::Done,
                Err(error) => {
                    output.failure(&error.report());
                    Exit::Failed
                }
            }
        }
        Meaning::CheckConfig => {
            output.config_is_good(&config);
            Exit::Done
        }
        Meaning::Check { app, names } => {
            let surveyor = Surveyor::new(config.nginx.commands.test.clone());
            match jobs::apps_and_names(&config, app.as_ref(), names) {
                Ok(apps) => output.check(&check::check(&config, &surveyor, &apps).await),
                Err(report) => output.end(Err(report)),
            }
        }
        Meaning::ShowConfig => {
            output.config(&config);
            Exit::Done
        }
        Meaning::Import { client, directory } => {
            match take_over(&config, client, &directory).await {
                Ok(imported) => output.import(&imported),
                Err(error) => output.end(Err(error.report())),
            }
        }
        Meaning::Ask(request) => ask(config, request, &output).await,
    }
}

/// Through the running sidecar if there is one, else all by ourselves.
async fn ask(config: Config, request: Request, output: &Output) -> Exit {
    let client = match Client::connect(&config.admin).await {
        Ok(Some(client)) => client,
        Ok(None) => return without_sidecar(config, request, output).await,
        Err(error) => {
            return output.end(Err(Report::new(
                error,
                "run the command as the user who runs the sidecar",
            )));
        }
    };
    let answered = tokio::select! {
        answered = client.ask(&request, |note| output.note(&note)) => answered,
        // The sidecar lets the work go when we do.
        () = ended() => return output.interrupted(),
    };
    let broken_off = |error: ClientError| Report::new(error, "look into the sidecar's log");
    output.end(answered.unwrap_or_else(|error| Err(broken_off(error))))
}

async fn without_sidecar(config: Config, request: Request, output: &Output) -> Exit {
    match request {
        Request::Status => output.end(look(&config).await),
        Request::AddChallenge { .. } | Request::RemoveChallenge { .. } | Request::ListChallenges => output.end(Err(Report::new(
            format!("no sidecar listens on {}", config.admin.display()),
            "start one with `sidedoor run`, or keep `sidedoor open APP` running in another terminal",
        ))),
        request => alone::perform(config, request, output).await,
    }
}

/// `status` where no sidecar runs: the disk and nginx know as much.
async fn look(config: &Config) -> Result<Reply, Report> {
    let store =
        Store::open(&config.state_dir).map_err(|error| Report::new(&error, error.next_step()))?;
    let surveyor = Surveyor::new(config.nginx.commands.test.clone());
    let status = status::gather(config, &store, &surveyor).await;
    status
        .map(Reply::Status)
        .map_err(|error| Report::new(&error, error.next_step()))
}

/// The disk is all that is needed, and whoever runs sees it there.
async fn take_over(
    config: &Config,
    client: import::Client,
    directory: &Path,
) -> Result<Imported, ImportError> {
    let store = Store::open(&config.state_dir)?.shared_with(config.group.as_ref())?;
    import::import(config, &store, client, directory).await
}

/// Resolves when a signal says that the process shall end.
async fn ended() {
    match Signals::new() {
        Ok(mut signals) => signals.end().await,
        Err(_) => std::future::pending().await,
    }
}

/// The exit status of what has been told.
fn exit_of(answer: &Result<Reply, Report>) -> Exit {
    match answer {
        Err(_) => Exit::Failed,
        Ok(Reply::Renewed { certificates }) => {
            of_several(certificates.iter().map(|fared| match fared {
                Fared::Failed { .. } => true,
                Fared::Waiting { failed, .. } => *failed,
                Fared::Done(_) => false,
            }))
        }
        Ok(Reply::Rehearsed { certificates }) => of_several(
            certificates
                .iter()
                .map(|one| matches!(one, Rehearsal::Failed { .. })),
        ),
        Ok(_) => Exit::Done,
    }
}

/// The exit status where so many may have failed.
fn of_several(failed: impl ExactSizeIterator<Item = bool>) -> Exit {
    let all = failed.len();
    match failed.filter(|failed| *failed).count() {
        0 => Exit::Done,
        failed if failed == all => Exit::Failed,
        _ => Exit::SomeFailed,
    }
}
