//! Finds the doors that a crash has left, and closes them.

use std::path::PathBuf;

use super::{DoorError, Doors};
use crate::config::{Config, Door as Place};
use crate::files;
use crate::identifier::AppName;
use crate::lock::Lock;
use crate::nginx::change::Change;
use crate::nginx::control::Outcome;
use crate::nginx::site::DOOR_FILE;
use crate::store::{Lease, StoreError};

/// Which permanent doors are to be closed, too.
#[derive(Debug, Clone, Copy)]
pub enum Unwanted<'a> {
    /// None of them.
    None,
    /// This app's.
    One(&'a AppName),
    /// Every one.
    All,
}

impl Unwanted<'_> {
    fn takes_in(self, app: &AppName) -> bool {
        match self {
            Self::None => false,
            Self::One(unwanted) => unwanted == app,
            Self::All => true,
        }
    }
}

impl Doors {
    /// Closes every door that no living process holds and that isn't meant to stand. Returns whose they were.
    /// Permanent ones are closed where they are unwanted.
    pub async fn sweep(
        &self,
        config: &Config,
        unwanted: Unwanted<'_>,
    ) -> Result<Vec<AppName>, DoorError> {
        let mut changes = Vec::new();
        let mut swept = Vec::new();
        let mut apps: Vec<_> = config
            .apps
            .iter()
            .map(|app| app.name.clone())
            .chain(self.store.leased()?)
            .collect();
        apps.sort();
        apps.dedup();
        for app in apps {
            let path = self.store.door_lock(&app);
            let Ok(Some(lock)) = Lock::try_take(&path) else {
                continue;
            };
            let stale = self.stale(config, &app, unwanted.takes_in(&app))?;
            if !stale.is_empty() {
                changes.extend(stale.into_iter().map(Change::remove));
                swept.push((app, lock));
            }
        }
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let outcome = self.control.apply(changes, Box::new(|_| {})).await?;
        if let Outcome::GoneButNotReloaded(reason) = outcome {
            tracing::warn!(%reason, "doors left by a crash are gone from the disk, but nginx was not reloaded");
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for (app, _lock) in swept {
            self.store.forget_lease(&app)?;
            names.push(app);
        }
        Ok(names)
    }

    /// Where doors of this app stand, or may stand in nginx's memory, that nobody holds and that aren't meant to stand.
    fn stale(
        &self,
        config: &Config,
        app: &AppName,
        unwanted: bool,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let place = config.app(app).map(|app| &app.door);
        let meant = place
            .and_then(Place::directory)
            .map(|directory| directory.join(DOOR_FILE));
        let permanent = !unwanted && matches!(place, Some(Place::Permanent(_)));
        let mut stale = Vec::new();
        let lease = match self.store.lease(app) {
            Err(StoreError::SetAside { aside, .. }) => {
                tracing::warn!(%app, aside = %aside.display(), "a lease was unreadable and has been set aside");
                None
            }
            lease => lease?,
        };
        let is_meant = |lease: &Lease| permanent && meant.as_ref() == Some(&lease.path);
        stale.extend(
            lease
                .filter(|lease| !is_meant(lease))
                .map(|lease| lease.path),
        );
        if let Some(meant) = meant {
            // A crash may have left what was not renamed yet; nginx never reads it.
            let _ = files::discard(&files::temporary(&meant));
            if !permanent && meant.exists() && !stale.contains(&meant) {
                stale.push(meant);
            }
        }
        Ok(stale)
    }
}
