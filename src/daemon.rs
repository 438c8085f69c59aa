//! The sidecar: the only place that wires the parts together and spawns the top-level tasks.

mod signals;
mod succession;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Address;
use crate::admin::caller::Caller;
use crate::admin::client::ClientError;
use crate::admin::server::AdminSocket;
use crate::config::Config;
use crate::engine::{Engine, Origins, Role, StartError};
use crate::inherited::Inherited;
use crate::manager;
use crate::metrics::{Metrics, MetricsServer};
use crate::operations;
use crate::report::Report;
use crate::supervisor::{self, SignsOfLife};
use crate::watch::ConfigWatch;
pub use signals::Signals;
use signals::Told;
use succession::{Outcome, Taken};

/// How long after a permanent door could not be opened it is tried again: nginx may start later than we do.
const SETTLE_AGAIN: Duration = Duration::from_secs(60);

/// How often files that lie elsewhere are looked at, and what nginx serves.
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
    /// What was handed over is nothing to listen on.
    #[error("a socket that was handed over in LISTEN_FDS can't be used: {0}")]
    Inherited(io::Error),
    /// The running sidecar can't be asked for its place.
    #[error("the running sidecar can't be asked for its place: {0}")]
    Predecessor(ClientError),
    /// The running sidecar keeps its place.
    #[error("the running sidecar keeps its place: {0}")]
    Kept(Report),
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
                    "a sidecar runs already; stop it, take its place with --take-over, or give this one its own `admin` instead of {path}"
                )
            }
            Self::Admin { .. } => {
                "choose another path for `admin`, or let the user who runs sidedoor write there"
                    .into()
            }
            Self::Metrics { .. } => {
                "choose another address for `metrics`, or leave the key out".into()
            }
            Self::Inherited(_) => {
                "hand over listening TCP or unix stream sockets, as a systemd socket unit with ListenStream does".into()
            }
            Self::Predecessor(_) => {
                "look into its log; stop it, and start this one without --take-over".into()
            }
            Self::Kept(report) => report.next_step.clone(),
            Self::Signals(_) => "see that the system has file descriptors left".into(),
        };
        Report::new(self, next_step)
    }
}

/// How a sidecar begins.
#[derive(Debug)]
pub struct Start {
    /// The sockets that whoever starts us has handed over.
    pub inherited: io::Result<Inherited>,
    /// Whether the place of a running sidecar is taken.
    pub take_over: bool,
}

/// How a sidecar ends.
enum End {
    /// A signal says so.
    Told,
    /// Another serves in its place, and waits for what is held here.
    Replaced(Taken),
}

/// Runs until a signal or another sidecar says otherwise.
pub async fn run(config: Config, start: Start) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let (file, admin_path) = (config.file.clone(), config.admin.clone());
    let mut origins = Origins {
        inherited: start.inherited.map_err(RunError::Inherited)?,
        bequest: None,
    };
    let predecessor = match start.take_over {
        true => succession::ask(&admin_path).await?,
        false => None,
    };
    let admin_failed = |source| RunError::Admin {
        path: admin_path.display().to_string(),
        source,
    };
    // The old one keeps its own until we serve: if we don't come to that, nothing has changed.
    let (admin, predecessor) = match predecessor {
        None => {
            let admin = AdminSocket::bind(&admin_path).map_err(admin_failed)?;
            (Some(admin), None)
        }
        Some((predecessor, bequest)) => {
            origins.bequest = Some(bequest);
            (None, Some(predecessor))
        }
    };
    let held = origins.bequest.as_ref().map(|left| left.held.clone());
    let metrics = config
        .metrics
        .as_ref()
        .map(|address| serve_metrics_at(address, &mut origins))
        .transpose()?;
    let engine = Engine::start_with(config, Role::Sidecar, origins).await?;
    let admin = match admin {
        Some(admin) => admin,
        None => match AdminSocket::bind_instead(&admin_path) {
            Ok(admin) => admin,
            Err(source) => {
                engine.yield_to_another().await;
                return Err(admin_failed(source));
            }
        },
    };
    let (heirs, mut asking) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    if let Some(predecessor) = predecessor {
        // Nobody but it issues, opens or closes anything until it has let go.
        predecessor.replace().await;
        engine.hold_on(held.unwrap_or_default()).await;
    }
    tasks.spawn(
        admin
            .announcing(heirs)
            .serve(Arc::clone(&engine), stop.clone()),
    );
    tasks.spawn(settle(Arc::clone(&engine), stop.clone()));
    tasks.spawn(keep_right(Arc::clone(&engine), stop.clone()));
    let signs = SignsOfLife::wanted();
    tasks.spawn(manager::run(Arc::clone(&engine), signs, stop.clone()));
    if let Some(server) = metrics {
        tasks.spawn(server.serve(metrics_of(&engine), stop.clone()));
    }
    tasks.close();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "sidedoor is running");
    supervisor::tell_ready();
    let end = follow(&engine, &file, &mut signals, &mut asking).await;
    supervisor::tell_stopping();
    // First whoever works on something, since that closes doors; then the doors; then the proxy behind them.
    stop.cancel();
    match end {
        End::Told => {
            tracing::info!("sidedoor is stopping");
            tasks.wait().await;
            engine.stop().await;
        }
        End::Replaced(taken) => {
            tasks.wait().await;
            succession::leave(&engine, taken).await;
        }
    }
    Ok(())
}

fn serve_metrics_at(address: &Address, origins: &mut Origins) -> Result<MetricsServer, RunError> {
    let listener = origins.listen(address);
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

/// Puts right what others have changed of the files that lie elsewhere, and looks at what nginx serves where that is told as a metric:
/// now, after each change of the configuration, and every hour.
async fn keep_right(engine: Arc<Engine>, stop: CancellationToken) {
    loop {
        let changed = engine.changed();
        let pass = async {
            let working = engine.work().await;
            operations::put_right(&engine).await;
            drop(working);
            if engine.config().metrics.is_some()
                && let Err(error) = operations::look(&engine).await
            {
                tracing::error!(%error, "what nginx serves can't be looked at");
            }
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
async fn follow(
    engine: &Arc<Engine>,
    file: &Path,
    signals: &mut Signals,
    asking: &mut mpsc::Receiver<Caller>,
) -> End {
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
            Some(heir) = asking.recv() => {
                match succession::hand_over(engine, heir, signals).await {
                    Outcome::Taken(taken) => return End::Replaced(taken),
                    Outcome::End => return End::Told,
                    Outcome::Kept => look = true,
                }
                continue;
            }
        };
        match told {
            Told::End => return End::Told,
            Told::Reopen => {
                reopen_logs(engine);
                continue;
            }
            Told::Reload | Told::Changed => look = false,
        }
        supervisor::tell_reloading();
        reload(engine, file, told);
        supervisor::tell_ready();
    }
}

fn reload(engine: &Engine, file: &Path, told: Told) {
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

fn reopen_logs(engine: &Engine) {
    match engine.reopen_logs() {
        Ok(()) => tracing::info!("the access log has been opened anew"),
        Err(error) => {
            tracing::error!(%error, next = error.next_step(), "the access log is not opened anew; the old one is written on");
        }
    }
}
