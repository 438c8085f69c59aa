//! The parts wired together: proxy, responder, doors, accounts. Lives as long as a sidecar, or as one command that works alone.

mod binding;
mod error;
mod succession;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::{Notify, RwLock};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::address::Address;
use crate::challenge::Token;
use crate::config::{App, Config, Door};
use crate::convoy::Seat;
use crate::doors::{DoorError, Doors, OpenDoor, Swept, Unwanted};
use crate::exposition::Page;
use crate::identifier::AppName;
use crate::issuance::{self, IssueError, Parts, Turns};
use crate::metrics::{self, Attempts, Sightings};
use crate::nginx::control::Control;
use crate::nginx::master::Master;
use crate::nginx::survey::Surveyor;
use crate::progress::{Note, Progress, Step};
use crate::proxy::challenges::{Challenges, Presented};
use crate::proxy::{Gate, Proxy};
use crate::serving::{self, ServingError};
use crate::store::{Store, StoreError};
pub use binding::Origins;
use binding::{Bound, bind};
pub use error::StartError;
pub use succession::{AtRest, Working};

/// A permanent door has no end; its lease says so, too.
const PERMANENT: Duration = Duration::from_secs(0);

/// Whether a whole sidecar is wanted or the parts for one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens on every address of the configuration.
    Sidecar,
    /// Listens where it can, on a free local port if need be.
    Alone,
}

/// A door that was opened by hand.
pub struct Held {
    /// The door.
    pub door: Arc<OpenDoor>,
    /// When it is closed.
    pub until: OffsetDateTime,
}

/// The parts, running.
pub struct Engine {
    config: ArcSwap<Config>,
    /// What issuances need.
    pub parts: Parts,
    /// Doors opened by hand.
    pub held: DashMap<AppName, Held>,
    /// Tokens added by hand.
    pub tokens: DashMap<Token, Presented>,
    /// Which certificates are being issued, and how far they are.
    pub in_flight: DashMap<AppName, Step>,
    /// How attempts have ended.
    pub attempts: Attempts,
    /// What nginx was last seen to serve.
    pub sightings: Sightings,
    /// Permanent doors, each with the app as it was when it was opened.
    permanent: Mutex<Vec<(App, Arc<OpenDoor>)>>,
    /// Where we listen, metrics included, whatever the configuration has become since.
    listening: Vec<Address>,
    /// Shared by all who work on certificates and doors; taken alone by who hands over.
    working: Arc<RwLock<()>>,
    gate: Arc<Gate>,
    proxy: Mutex<Option<Proxy>>,
    control: Mutex<Option<JoinHandle<()>>>,
    tasks: TaskTracker,
    released: Notify,
    configured: Notify,
}

impl Engine {
    /// Binds and starts.
    pub async fn start(config: Config, role: Role) -> Result<Arc<Self>, StartError> {
        Self::start_with(config, role, Origins::default()).await
    }

    /// The same, with what is there already.
    pub async fn start_with(
        config: Config,
        role: Role,
        mut origins: Origins,
    ) -> Result<Arc<Self>, StartError> {
        let store = Store::open(&config.state_dir)?.shared_with(config.group.as_ref())?;
        let Bound {
            listeners,
            doors_lead_to,
        } = bind(&config, role, &mut origins).await?;
        let mut listening: Vec<_> = config.metrics.iter().cloned().collect();
        listening.extend(listeners.iter().map(|listener| listener.address().clone()));
        let challenges = Arc::new(Challenges::default());
        // Before anybody is accepted, who may ask for one of them.
        let tokens = origins.bequest.iter().flat_map(|left| &left.tokens);
        let tokens = tokens.map(|answer| (answer.token().clone(), challenges.present(answer)));
        let tokens = tokens.collect();
        let gate = Gate::new(
            Arc::clone(&challenges),
            serving::routes(&config)?,
            serving::settings(&config)?,
        );
        let threads = match role {
            Role::Sidecar => std::thread::available_parallelism().map_or(1, usize::from),
            Role::Alone => 1,
        };
        let proxy =
            Proxy::start(listeners, Arc::clone(&gate), threads).map_err(StartError::Proxy)?;
        let surveyor = Arc::new(Surveyor::new(config.nginx.commands.test.clone()));
        let master = Master::new(&config.nginx.commands, Arc::clone(&surveyor));
        let (control, serve) = Control::with_master(
            config.nginx.commands.clone(),
            Some(master),
            store.nginx_lock(),
        );
        let control = Arc::new(control);
        let tasks = TaskTracker::new();
        let serving = tasks.spawn(serve);
        let parts = Parts {
            doors: Doors::new(
                store.clone(),
                Arc::clone(&control),
                Arc::clone(&challenges),
                Arc::clone(&surveyor),
                doors_lead_to,
            ),
            surveyor,
            accounts: Accounts::new(store.clone()),
            turns: Turns::default(),
            store,
            control,
            challenges,
        };
        let engine = Arc::new(Self {
            config: ArcSwap::from_pointee(config),
            parts,
            held: DashMap::new(),
            tokens,
            in_flight: DashMap::new(),
            attempts: Attempts::default(),
            sightings: Sightings::default(),
            permanent: Mutex::default(),
            listening,
            working: Arc::default(),
            gate,
            proxy: Mutex::new(Some(proxy)),
            control: Mutex::new(Some(serving)),
            tasks,
            released: Notify::new(),
            configured: Notify::new(),
        });
        Ok(engine)
    }

    /// What the data path counts, and how certificates stand. Reads files.
    pub fn write_metrics(&self, page: &mut Page) {
        self.gate.write_metrics(page);
        let (store, config, now) = (&self.parts.store, self.config(), OffsetDateTime::now_utc());
        metrics::write_certificates(store, &config, &self.sightings, now, page);
        self.attempts.write(page);
        metrics::write_budgets(store, &config, now, page);
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Takes a new configuration: requests and issuances under way go on with the old one.
    ///
    /// # Errors
    /// If the data path can't be as it wants. The old one stays in force then.
    pub fn reconfigure(&self, config: Config) -> Result<(), ServingError> {
        let routes = serving::routes(&config)?;
        let settings = serving::settings(&config)?;
        let old = self.config();
        for (key, changed) in [
            ("state_dir", old.state_dir != config.state_dir),
            ("group", old.group != config.group),
            ("listen", old.listen != config.listen),
            ("admin", old.admin != config.admin),
            ("metrics", old.metrics != config.metrics),
            (
                "proxy.proxy_protocol",
                old.proxy.proxy_protocol != config.proxy.proxy_protocol,
            ),
            (
                "nginx.test or nginx.reload",
                old.nginx.commands != config.nginx.commands,
            ),
        ] {
            if changed {
                tracing::warn!(
                    key,
                    "a change of this key takes effect when sidedoor is started again"
                );
            }
        }
        self.gate.set_routes(routes);
        self.gate.set_settings(settings);
        self.config.store(Arc::new(config));
        self.parts.accounts.forget_all();
        self.configured.notify_waiters();
        Ok(())
    }

    /// How long nginx took to be tested and reloaded when it last was.
    pub fn reload_took(&self) -> time::Duration {
        self.parts
            .control
            .last_took()
            .try_into()
            .unwrap_or(time::Duration::MAX)
    }

    /// Opens the access log anew, so that a rotated one is let go.
    ///
    /// # Errors
    /// If it can't be opened. The old one is written on then.
    pub fn reopen_logs(&self) -> Result<(), ServingError> {
        self.gate.set_settings(serving::settings(&self.config())?);
        Ok(())
    }

    /// Resolves when the configuration has changed since this was called.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + '_ {
        let mut changed = Box::pin(self.configured.notified());
        changed.as_mut().enable();
        changed
    }

    /// Brings the disk in line with the configuration: placeholders, permanent doors, nothing that shouldn't stand.
    /// `false` if a permanent door doesn't stand that should.
    pub async fn settle(self: &Arc<Self>) -> bool {
        let config = self.config();
        for app in config.apps.iter().filter(|app| app.enabled) {
            match self.place_holder_for(app) {
                Ok(true) => {
                    tracing::info!(app = %app.name, "a self-signed placeholder stands in until the first certificate")
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(app = %app.name, %error, "no placeholder could be put in place")
                }
            }
        }
        if self.let_go_of_changed(&config) {
            // Before their leases are overwritten by what stands elsewhere.
            let _logged = self.sweep(Unwanted::None).await;
        }
        // All at once, so that they share a reload.
        let opening = config
            .apps
            .iter()
            .filter(|app| is_permanent(app))
            .map(|app| self.open_for_good(&config, app).boxed());
        let opened = join_all(opening).await;
        let settled = opened.iter().all(Option::is_some);
        let standing = opened.into_iter().flatten().collect();
        // Those that are no longer wanted lose their lock with this, and are swept.
        *self
            .permanent
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = standing;
        let _logged = self.sweep(Unwanted::None).await;
        settled
    }

    /// Lets go of permanent doors that are to stand elsewhere or lead elsewhere now.
    fn let_go_of_changed(&self, config: &Config) -> bool {
        let mut permanent = self
            .permanent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = permanent.len();
        permanent.retain(|(old, _)| {
            config.app(&old.name).is_some_and(|app| {
                is_permanent(app) && app.door == old.door && app.upstreams == old.upstreams
            })
        });
        permanent.len() < before
    }

    async fn open_for_good(&self, config: &Config, app: &App) -> Option<(App, Arc<OpenDoor>)> {
        let progress = Progress::new(app.name.clone(), Arc::new(|_| {}));
        let opened = self
            .parts
            .doors
            .open(config, app, PERMANENT, &Seat::alone(), &progress)
            .await;
        match opened {
            Ok(door) => Some((app.clone(), door)),
            Err(error) => {
                tracing::error!(app = %app.name, %error, next = error.next_step(config), "the permanent door is not open");
                None
            }
        }
    }

    fn place_holder_for(&self, app: &App) -> Result<bool, IssueError> {
        let store = &self.parts.store;
        // Whoever holds the lock is issuing, and sees to it as well.
        match store.try_lock_lineage(&app.name)? {
            Some(_lock) => {
                for done in issuance::mend(store, &app.name)? {
                    tracing::error!(app = %app.name, "{done}");
                }
                issuance::ensure_placeholder(store, &app.name, &app.domains)
            }
            None => Ok(false),
        }
    }

    /// Closes what a crash has left; and permanent doors that are unwanted, unless somebody holds them.
    pub async fn sweep(&self, unwanted: Unwanted<'_>) -> Result<Swept, StoreError> {
        let config = self.config();
        let swept = self.parts.doors.sweep(&config, unwanted).await;
        match &swept {
            Ok(swept) => {
                for app in &swept.closed {
                    tracing::warn!(%app, "a door that nobody held was closed");
                }
                for (app, error) in &swept.failed {
                    tracing::error!(%app, %error, next = error.next_step(&config), "a door that nobody held could not be closed");
                }
            }
            Err(error) => {
                tracing::error!(%error, next = error.next_step(), "doors left by a crash can't be looked for");
            }
        }
        swept
    }

    /// The progress of one certificate, told to `listener` and kept for `status`.
    pub fn progress(
        self: &Arc<Self>,
        name: &AppName,
        listener: Arc<dyn Fn(Note) + Send + Sync>,
    ) -> (Progress, InFlight) {
        let engine = Arc::clone(self);
        let key = name.clone();
        let told = move |note: Note| {
            if let Note::Step { step, .. } = &note
                && let Some(mut now) = engine.in_flight.get_mut(&key)
            {
                *now = *step;
            }
            listener(note);
        };
        self.in_flight.insert(name.clone(), Step::Begun);
        let in_flight = InFlight {
            engine: Arc::clone(self),
            name: name.clone(),
        };
        (Progress::new(name.clone(), Arc::new(told)), in_flight)
    }

    /// Keeps a door open that was opened by hand, until its time is over.
    pub fn hold(self: &Arc<Self>, app: AppName, held: Held) {
        let until = held.until;
        self.held.insert(app.clone(), held);
        let engine = Arc::downgrade(self);
        self.tasks.spawn(async move {
            let span = (until - OffsetDateTime::now_utc())
                .try_into()
                .unwrap_or_default();
            tokio::time::sleep(span).await;
            if let Some(engine) = engine.upgrade() {
                // One that was opened again meanwhile has a later end.
                let over = engine
                    .held
                    .get(&app)
                    .is_some_and(|held| held.until <= until);
                if over && let Some(closing) = engine.close_held(&app) {
                    tracing::info!(%app, "a door that was opened by hand has reached its end");
                    if let Err(error) = closing.await {
                        tracing::error!(%app, %error, next = error.next_step(&engine.config()), "its door could not be closed");
                    }
                }
            }
        });
    }

    /// Resolves when no door that was opened by hand is left.
    pub async fn none_held(&self) {
        while !self.held.is_empty() {
            let released = self.released.notified();
            if self.held.is_empty() {
                return;
            }
            released.await;
        }
    }

    /// Closes a door that was opened by hand; resolves when nginx has been told. Nothing if there is none.
    pub fn close_held(
        &self,
        app: &AppName,
    ) -> Option<impl Future<Output = Result<bool, DoorError>> + Send + use<>> {
        let (_, held) = self.held.remove(app)?;
        // Asked for before anybody hears that no door is left, and stops us.
        let closing = held.door.close();
        self.released.notify_waiters();
        Some(closing)
    }
}

/// A certificate that is being issued; no longer, once this is dropped.
pub struct InFlight {
    engine: Arc<Engine>,
    name: AppName,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.engine.in_flight.remove(&self.name);
    }
}

fn is_permanent(app: &App) -> bool {
    app.enabled && matches!(app.door, Door::Permanent(_))
}

#[cfg(test)]
mod tests;
