//! The sidecar: the only place that wires the parts together and spawns the top-level tasks.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::admin::server::AdminSocket;
use crate::config::Config;
use crate::engine::{Engine, Role, StartError};
use crate::manager;
use crate::metrics::{Metrics, MetricsServer};
use crate::operations;
use crate::proxy::Listener;
use crate::report::Report;
use crate::watch::ConfigWatch;

/// How long after a permanent door could not be opened it is tried again: nginx may start later than we do.
const SETTLE_AGAIN: Duration = Duration::from_secs(60);

/// How often files that lie elsewhere are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Why the sidecar does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The parts don't.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The admin socket is not to be had.
    #[error("the admin socket {path} can't be listened on: {source}")]
    Admin {
        /// Its path.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address for metrics is not to be had.
    #[error("{address}, where metrics are to be told, can't be listened on: {source}")]
    Metrics {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// Signals can't be heard.
    #[error("signals can't be handled: {0}")]
    Signals(io::Error),
}

impl RunError {
    /// As a person sees it.
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::Start(error) => error.next_step(),
            Self::Admin { source, path } if source.kind() == io::ErrorKind::AddrInUse => {
                format!(
                    "a sidecar runs already; stop it, or give this one its own `admin` instead of {path}"
                )
            }
            Self::Admin { .. } => {
                "choose another path for `admin`, or let the user who runs sidedoor write there"
                    .into()
            }
            Self::Metrics { .. } => {
                "choose another address for `metrics`, or leave the key out".into()
            }
            Self::Signals(_) => "see that the system has file descriptors left".into(),
        };
        Report::new(self, next_step)
    }
}

/// What the process is told by signals.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What a running sidecar is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// SIGTERM, SIGINT
    End,
    /// SIGHUP: read the configuration again, and open the logs anew.
    Reload,
    /// SIGUSR1: open the logs anew.
    Reopen,
    /// The configuration's file has changed.
    Changed,
}

impl Signals {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Resolves when the process shall end, whoever says so. A terminal that goes away says so, too.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.user.recv() => Told::Reopen,
        }
    }
}

/// Runs until a signal says otherwise.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let (file, admin_path) = (config.file.clone(), config.admin.clone());
    let admin = AdminSocket::bind(&admin_path).map_err(|source| RunError::Admin {
        path: admin_path.display().to_string(),
        source,
    })?;
    let metrics = config.metrics.as_ref().map(serve_metrics_at).transpose()?;
    let engine = Engine::start(config, Role::Sidecar).await?;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(admin.serve(Arc::clone(&engine), stop.clone()));
    tasks.spawn(settle(Arc::clone(&engine), stop.clone()));
    tasks.spawn(keep_right(Arc::clone(&engine), stop.clone()));
    tasks.spawn(manager::run(Arc::clone(&engine), stop.clone()));
    if let Some(server) = metrics {
        tasks.spawn(server.serve(metrics_of(&engine), stop.clone()));
    }
    tasks.close();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "sidedoor is running");
    follow(&engine, &file, &mut signals).await;
    tracing::info!("sidedoor is stopping");
    // First whoever works on something, since that closes doors; then the doors; then the proxy behind them.
    stop.cancel();
    tasks.wait().await;
    engine.stop().await;
    Ok(())
}

fn serve_metrics_at(address: &Address) -> Result<MetricsServer, RunError> {
    let listener = Listener::bind(address);
    let server = listener.and_then(MetricsServer::new);
    server.map_err(|source| RunError::Metrics {
        address: address.clone(),
        source,
    })
}

/// Whoever counts something is told of here.
fn metrics_of(engine: &Arc<Engine>) -> Metrics {
    let engine = Arc::clone(engine);
    Metrics::default().with(move |page| engine.write_metrics(page))
}

/// Brings the disk in line with the configuration now and after each change, and tries again where nginx was not ready for it.
async fn settle(engine: Arc<Engine>, stop: CancellationToken) {
    loop {
        let changed = engine.changed();
        let settled = tokio::select! {
            settled = engine.settle() => settled,
            () = stop.cancelled() => return,
        };
        let again = async {
            match settled {
                true => std::future::pending().await,
                false => tokio::time::sleep(SETTLE_AGAIN).await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = again => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Puts right what others have changed of the files that lie elsewhere: now, after each change of the configuration, and every hour.
async fn keep_right(engine: Arc<Engine>, stop: CancellationToken) {
    loop {
        let changed = engine.changed();
        let pass = async {
            operations::put_right(&engine).await;
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        };
        tokio::select! {
            () = pass => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Takes over each new configuration until the process shall end.
async fn follow(engine: &Arc<Engine>, file: &Path, signals: &mut Signals) {
    let mut watch = match ConfigWatch::new(file) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "changes of the configuration can't be watched; send SIGHUP after a change");
            None
        }
    };
    // What has changed since the configuration was read, but before it was watched, was not told.
    let mut look = true;
    loop {
        let changed = async {
            match &mut watch {
                _ if look => {}
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            told = signals.told() => told,
            () = changed => Told::Changed,
        };
        match told {
            Told::End => return,
            Told::Reopen => {
                reopen_logs(engine);
                continue;
            }
            Told::Reload | Told::Changed => look = false,
        }
        match Config::load(file) {
            Ok(config) if config == *engine.config() => {
                if told == Told::Reload {
                    reopen_logs(engine);
                }
            }
            Ok(config) => match engine.reconfigure(config) {
                Ok(()) => {
                    tracing::info!(config = %file.display(), "the new configuration is in force");
                }
                Err(error) => {
                    tracing::error!(%error, next = error.next_step(), "the new configuration is not taken; the old one stays in force");
                }
            },
            Err(error) => {
                tracing::error!(%error, "the new configuration is not taken; the old one stays in force")
            }
        }
    }
}

fn reopen_logs(engine: &Engine) {
    match engine.reopen_logs() {
        Ok(()) => tracing::info!("the access log has been opened anew"),
        Err(error) => {
            tracing::error!(%error, next = error.next_step(), "the access log is not opened anew; the old one is written on");
        }
    }
}
