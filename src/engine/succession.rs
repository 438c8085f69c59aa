//! How an engine ends: alone, or by leaving its place to the engine of another process, of which nobody outside is to notice anything.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use super::{Engine, Held};
use crate::admin::protocol::{Bequest, HeldDoor};
use crate::convoy::Seat;
use crate::doors::{DoorError, OpenDoor};
use crate::identifier::AppName;
use crate::progress::Progress;
use crate::proxy::Proxy;

/// How long requests under way may take when we stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long nginx may take to be told of the last doors.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);

/// Somebody works on certificates or doors. Nothing is handed over meanwhile.
pub type Working = OwnedRwLockReadGuard<()>;
/// Nobody works on certificates or doors, nor begins to.
pub type AtRest = OwnedRwLockWriteGuard<()>;

impl Engine {
    /// Waits for as long as everything is at rest.
    pub async fn work(&self) -> Working {
        Arc::clone(&self.working).read_owned().await
    }

    /// Nothing while everything is at rest, or is to come to rest.
    pub fn try_work(&self) -> Option<Working> {
        Arc::clone(&self.working).try_read_owned().ok()
    }

    /// Waits until nobody works any more. Who wants to begin meanwhile waits as well.
    pub async fn come_to_rest(&self) -> AtRest {
        Arc::clone(&self.working).write_owned().await
    }

    /// What another process has to know to take our place.
    pub fn bequest(&self) -> Bequest {
        let tokens = self.tokens.iter();
        let held = self.held.iter();
        Bequest {
            listening: self.listening.clone(),
            tokens: tokens
                .map(|presented| presented.key_authorization().clone())
                .collect(),
            held: held
                .map(|held| HeldDoor {
                    app: held.key().clone(),
                    until: held.until,
                })
                .collect(),
        }
    }

    /// Holds the doors that another process held by hand, from now on. It has let go of them.
    pub async fn hold_on(self: &Arc<Self>, doors: Vec<HeldDoor>) {
        for HeldDoor { app, until } in doors {
            let left = until - OffsetDateTime::now_utc();
            let Ok(left) = left.try_into() else {
                // Over by now: whoever sweeps closes it.
                continue;
            };
            match self.hold_one(&app, left).await {
                None => tracing::warn!(%app, "a door that was opened by hand is no app's any more"),
                Some(Ok(door)) => self.hold(app, Held { door, until }),
                Some(Err(error)) => {
                    tracing::error!(%app, %error, next = error.next_step(&self.config()), "a door that was opened by hand can't be held any more");
                }
            }
        }
    }

    async fn hold_one(
        &self,
        name: &AppName,
        lease: Duration,
    ) -> Option<Result<Arc<OpenDoor>, DoorError>> {
        let config = self.config();
        let app = config.app(name)?;
        let progress = Progress::new(name.clone(), Arc::new(|_| {}));
        let (doors, seat) = (&self.parts.doors, Seat::alone());
        Some(doors.open(&config, app, lease, &seat, &progress).await)
    }

    /// Lets go of all doors and leaves them standing: another process serves behind them, and holds them next.
    pub async fn leave_doors(&self) {
        let held: Vec<_> = self.held.iter().map(|held| held.key().clone()).collect();
        for (_, held) in held.iter().filter_map(|app| self.held.remove(app)) {
            held.door.leave_standing();
        }
        self.let_go_of_permanent();
        self.finish_control().await;
    }

    /// Closes the doors, finishes what is in flight, and ends.
    pub async fn stop(self: Arc<Self>) {
        self.held.clear();
        self.let_go_of_permanent();
        self.tokens.clear();
        self.finish_control().await;
        // Only now: until nginx has let go of the doors, requests come through them.
        if let Some(proxy) = self.take_proxy() {
            proxy.drain(DRAIN_LIMIT).await;
        }
    }

    /// Finishes what is in flight and ends, while another process listens on the same addresses.
    pub async fn yield_to_another(&self) {
        if let Some(proxy) = self.take_proxy() {
            proxy.hand_over(DRAIN_LIMIT).await;
        }
        self.tokens.clear();
    }

    fn let_go_of_permanent(&self) {
        self.permanent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn take_proxy(&self) -> Option<Proxy> {
        self.proxy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn finish_control(&self) {
        let control = self
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.parts.control.finish();
        if let Some(control) = control
            && tokio::time::timeout(CONTROL_LIMIT, control).await.is_err()
        {
            tracing::error!(
                "nginx could not be told of the last doors in time; the next start will"
            );
        }
    }
}
