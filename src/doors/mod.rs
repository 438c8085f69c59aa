//! Doors as they stand on this machine: opened, proven, shared, closed, and swept after a crash.
//!
//! A door is held by a lock on a file, which ends with its process however that dies; its lease says where it stands.
//! So whoever finds a lease without a lock has found a door that nobody closes, and closes it.

mod sweep;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::address::Address;
use crate::challenge::KeyAuthorization;
use crate::config::{App, Config, Door as Place};
use crate::convoy::{Halt, Seat};
use crate::files::Entry;
use crate::identifier::{AppName, Identifier};
use crate::lock::{Lock, LockError};
use crate::nginx::change::Change;
use crate::nginx::control::{Control, ControlError, Outcome, Stage};
use crate::nginx::door::{self, Door};
use crate::nginx::obstacles::Obstacle;
use crate::nginx::probe::{self, NotProven, Saw};
use crate::nginx::settled::Patience;
use crate::nginx::site::DOOR_FILE;
use crate::nginx::survey::{Survey, Surveyor};
use crate::progress::{Progress, Step};
use crate::proxy::challenges::Challenges;
use crate::random;
use crate::store::{Lease, Store, StoreError};

pub use sweep::{Swept, Unwanted};

/// Another process of ours holds a door for one issuance at most.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// Why a door is not open. Nothing of it stands then.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The server has the challenge location already, and nginx would refuse a second.
    #[error("the server already has a location for the challenge path, at {place}")]
    LocationTaken {
        /// File and line.
        place: String,
    },
    /// Another process of ours holds it.
    #[error("the door of {app} is held: {source}")]
    Held {
        /// Whose door.
        app: AppName,
        /// Which lock.
        source: LockError,
    },
    /// nginx did not take it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The lease can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its file is gone, but nginx could not be told.
    #[error("the door of {app} is gone from the disk, but nginx may still have it open: {reason}")]
    NotTold {
        /// Whose door.
        app: AppName,
        /// Why nginx was not told.
        reason: String,
    },
    /// It stands, but what comes through nginx is not ours.
    #[error("{not_proven}")]
    NotProven {
        /// What came instead.
        not_proven: Box<NotProven>,
        /// What is probably in the way, most telling first.
        obstacles: Vec<Obstacle>,
    },
}

impl DoorError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self, config: &Config) -> String {
        match self {
            Self::LocationTaken { place } => {
                format!("remove that location ({place}), which an earlier ACME client has probably left, or set door = \"permanent\" without include_dir and point it at sidedoor by hand")
            }
            Self::Held { .. } => "wait until the other sidedoor process has ended, or stop it".into(),
            Self::Control(error) => error.next_step(&config.nginx.commands),
            Self::Store(error) => error.next_step(),
            Self::NotTold { app, .. } => format!(
                "mend what nginx names, until `{}` passes, then run `sidedoor close {app}`",
                config.nginx.commands.test.join(" ")
            ),
            Self::NotProven { not_proven, obstacles } => match (obstacles.first(), &not_proven.answer.saw) {
                (Some(first), _) => first.to_string(),
                (None, Saw::NoAnswer(_)) => "see that nginx runs; where it is not to be reached there from here, say in nginx.probe where it is, or set nginx.prove = false".into(),
                (None, _) => "see that the server block which answers for that name includes the app's include_dir as its first line".into(),
            },
        }
    }
}

/// All doors that this process holds.
pub struct Doors {
    store: Store,
    control: Arc<Control>,
    challenges: Arc<Challenges>,
    surveyor: Arc<Surveyor>,
    /// The address that new doors lead to.
    to: Address,
    slots: DashMap<AppName, Arc<Mutex<Weak<OpenDoor>>>>,
}

/// A door that stands. The last one who drops it closes it.
pub struct OpenDoor {
    app: AppName,
    /// What was written; nothing for a door included by hand.
    standing: Option<Standing>,
    survey: Survey,
    /// What the first proof has to wait for.
    patience: Patience,
    proven: AtomicBool,
}

struct Standing {
    path: PathBuf,
    permanent: bool,
    store: Store,
    control: Arc<Control>,
    app: AppName,
    lock: Option<Lock>,
}

impl Doors {
    /// Doors that lead to `to`.
    pub fn new(
        store: Store,
        control: Arc<Control>,
        challenges: Arc<Challenges>,
        surveyor: Arc<Surveyor>,
        to: Address,
    ) -> Self {
        Self {
            store,
            control,
            challenges,
            surveyor,
            to,
            slots: DashMap::new(),
        }
    }

    /// Opens an app's door, or joins whoever in this process has it open. It is not proven yet. What is asked of nginx for it is asked
    /// together with the others of its convoy, so that they share a reload.
    pub async fn open(
        &self,
        config: &Config,
        app: &App,
        lease: Duration,
        seat: &Seat,
        progress: &Progress,
    ) -> Result<Arc<OpenDoor>, DoorError> {
        let slot = Arc::clone(&self.slots.entry(app.name.clone()).or_default());
        let mut slot = slot.lock().await;
        if let Some(open) = slot.upgrade() {
            progress.notice(format!("the door of {} is open already", app.name));
            return Ok(open);
        }
        let open = Arc::new(self.open_anew(config, app, lease, seat, progress).await?);
        *slot = Arc::downgrade(&open);
        Ok(open)
    }

    async fn open_anew(
        &self,
        config: &Config,
        app: &App,
        lease: Duration,
        seat: &Seat,
        progress: &Progress,
    ) -> Result<OpenDoor, DoorError> {
        let survey = self
            .surveyor
            .survey(app.door.directory(), config.nginx.probe.as_deref())
            .await;
        let Some(directory) = app.door.directory() else {
            return Ok(OpenDoor {
                app: app.name.clone(),
                standing: None,
                survey,
                patience: Patience::UNTOUCHED,
                proven: AtomicBool::new(false),
            });
        };
        if let Some(place) = survey.taken() {
            return Err(DoorError::LocationTaken { place });
        }
        let held = |source| DoorError::Held {
            app: app.name.clone(),
            source,
        };
        let lock = Lock::wait(&self.store.door_lock(&app.name), LOCK_LIMIT)
            .await
            .map_err(held)?;
        let path = directory.join(DOOR_FILE);
        let permanent = matches!(app.door, Place::Permanent(_));
        let (process, opened) = (std::process::id(), OffsetDateTime::now_utc());
        let until = (!permanent).then_some(opened + lease);
        self.store.save_lease(
            &app.name,
            &Lease {
                path: path.clone(),
                process,
                opened,
                until,
            },
        )?;
        let door = Door {
            app: &app.name,
            to: &self.to,
            app_upstream: app.upstreams.first(),
            note: until.map(|until| door::note(process, opened, until)),
            auth_request: survey.uses_auth_request(),
        };
        let change = Change::place(&path, Entry::File(door.text().into_bytes(), 0o644));
        let mut standing = Standing {
            path,
            permanent,
            store: self.store.clone(),
            control: Arc::clone(&self.control),
            app: app.name.clone(),
            lock: Some(lock),
        };
        let (control, listener) = (Arc::clone(&self.control), tell(progress, &app.name));
        let ask = move || control.apply(vec![change], listener);
        let applied = seat.together(Halt::Door, ask).await.await;
        match applied {
            Ok(outcome) => {
                let patience = match outcome {
                    Outcome::Reloaded { took, old_workers } => {
                        Patience::after_reload(took, &old_workers)
                    }
                    Outcome::Unchanged | Outcome::GoneButNotReloaded(_) => Patience::UNTOUCHED,
                };
                Ok(OpenDoor {
                    app: app.name.clone(),
                    standing: Some(standing),
                    survey,
                    patience,
                    proven: AtomicBool::new(false),
                })
            }
            Err(error) => {
                // What was there before stands again, so there is nothing to close. The lease goes first: after the
                // lock, it may be another's.
                if let Err(problem) = self.store.forget_lease(&app.name) {
                    tracing::warn!(app = %app.name, error = %problem, "the lease of a door that was not opened can't be removed; the next start will");
                }
                standing.lock.take();
                Err(error.into())
            }
        }
    }

    /// Has a token of our own come back through nginx for each of these names, several times in a row.
    pub async fn prove(
        &self,
        config: &Config,
        door: &OpenDoor,
        names: &[Identifier],
        progress: &Progress,
    ) -> Result<(), DoorError> {
        if !config.nginx.prove {
            progress.notice("the door is not proven, since nginx.prove is off");
            return Ok(());
        }
        let probe = KeyAuthorization::of_nobody(random::wide_number());
        let _answered = self.challenges.present(&probe);
        let patience = match door.proven.load(Ordering::Relaxed) {
            true => Patience::UNTOUCHED,
            false => door.patience.clone(),
        };
        let knocks = door.survey.knocks(names);
        let proofs = knocks
            .iter()
            .map(|knock| probe::prove(knock, &probe, patience.clone()).boxed());
        let proofs = try_join_all(proofs).await;
        let proofs = proofs.map_err(|not_proven| DoorError::NotProven {
            not_proven: Box::new(not_proven),
            obstacles: door.survey.obstacles(names),
        })?;
        door.proven.store(true, Ordering::Relaxed);
        let (good, other) = proofs.iter().fold((0, 0), |(good, other), one| {
            (good + one.good, other + one.other)
        });
        progress.reached(
            Step::DoorProven,
            format!("{good} probes came back, {other} from before the reload"),
        );
        Ok(())
    }
}

impl OpenDoor {
    /// Whose door it is.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// What nginx's configuration says of the app.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Closes the door if nobody else in this process holds it, and resolves when nginx has been told; `false` if it still stands.
    ///
    /// The request is made at once, so that it shares a reload with whatever else is asked for now, and it is
    /// carried out even if the future is dropped.
    pub fn close(self: Arc<Self>) -> impl Future<Output = Result<bool, DoorError>> + Send {
        let app = self.app.clone();
        let closing = Arc::into_inner(self)
            .and_then(|mut open| open.standing.take())
            .and_then(|mut standing| standing.take_down());
        async {
            match closing {
                None => Ok(false),
                Some(closing) => told(app, closing.await?).map(|()| true),
            }
        }
    }

    /// Lets go of the door and leaves it standing, for another process that is about to hold it.
    pub fn leave_standing(self: Arc<Self>) {
        if let Some(mut open) = Arc::into_inner(self)
            && let Some(standing) = &mut open.standing
        {
            // Without a lock there is nothing to take down.
            standing.lock.take();
        }
    }
}

/// What nginx has been told of a door that was taken away.
fn told(app: AppName, outcome: Outcome) -> Result<(), DoorError> {
    match outcome {
        Outcome::GoneButNotReloaded(reason) => Err(DoorError::NotTold { app, reason }),
        Outcome::Reloaded { .. } | Outcome::Unchanged => Ok(()),
    }
}

impl Standing {
    /// Asks for the door to be taken away. The lock is held until nginx has been told, and the lease is forgotten then.
    fn take_down(
        &mut self,
    ) -> Option<impl Future<Output = Result<Outcome, ControlError>> + Send + use<>> {
        let lock = self.lock.take()?;
        if self.permanent {
            return None;
        }
        let (store, app) = (self.store.clone(), self.app.clone());
        let listener = move |stage| {
            let _held = &lock;
            if stage == Stage::Reloaded
                && let Err(error) = store.forget_lease(&app)
            {
                tracing::warn!(%app, %error, "the lease of a closed door can't be removed; the next start will");
            }
        };
        Some(
            self.control
                .apply(vec![Change::remove(&self.path)], Box::new(listener)),
        )
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(self.take_down());
    }
}

/// Passes on how far nginx is with a door.
fn tell(progress: &Progress, app: &AppName) -> Box<dyn Fn(Stage) + Send + Sync> {
    let (progress, app) = (progress.clone(), app.clone());
    Box::new(move |stage| match stage {
        Stage::Written => progress.reached(Step::DoorWritten, format!("for {app}")),
        Stage::Tested => progress.reached(Step::Tested, "nginx -t"),
        Stage::Reloaded => progress.reached(Step::Reloaded, "nginx"),
    })
}

#[cfg(test)]
mod tests;
