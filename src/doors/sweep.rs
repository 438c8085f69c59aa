//! Finds the doors that a crash has left, and closes them.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};

use super::{DoorError, Doors, told};
use crate::config::{App, Config, Door as Place};
use crate::files;
use crate::identifier::AppName;
use crate::lock::Lock;
use crate::nginx::change::Change;
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

/// What became of the doors that nobody held.
#[derive(Debug, Default)]
pub struct Swept {
    /// Whose are closed now.
    pub closed: Vec<AppName>,
    /// Whose are not, and why.
    pub failed: Vec<(AppName, DoorError)>,
}

impl Doors {
    /// Closes every door that no living process holds and that isn't meant to stand, by one reload.
    /// Permanent ones are closed where they are unwanted.
    pub async fn sweep(
        &self,
        config: &Config,
        unwanted: Unwanted<'_>,
    ) -> Result<Swept, StoreError> {
        // Thousands of apps have no door and no lease: nothing is locked and read for them.
        let stands = |app: &&App| {
            app.door
                .directory()
                .is_some_and(|directory| directory.join(DOOR_FILE).exists())
        };
        let standing = config.apps.iter().filter(stands);
        let mut apps: Vec<_> = standing
            .map(|app| app.name.clone())
            .chain(self.store.leased()?)
            .collect();
        apps.sort();
        apps.dedup();
        // One that can't be closed is none of the others' business.
        let sweeping = apps
            .iter()
            .map(|app| self.sweep_one(config, app, unwanted.takes_in(app)).boxed());
        let results = join_all(sweeping).await;
        let mut swept = Swept::default();
        for (app, result) in apps.into_iter().zip(results) {
            match result {
                Ok(true) => swept.closed.push(app),
                Ok(false) => {}
                Err(error) => swept.failed.push((app, error)),
            }
        }
        Ok(swept)
    }

    /// `false` if the app has no door that is to be closed.
    async fn sweep_one(
        &self,
        config: &Config,
        app: &AppName,
        unwanted: bool,
    ) -> Result<bool, DoorError> {
        let held = |source| DoorError::Held {
            app: app.clone(),
            source,
        };
        let Some(lock) = Lock::try_take(&self.store.door_lock(app)).map_err(held)? else {
            return Ok(false);
        };
        let stale = self.stale(config, app, unwanted)?;
        if stale.is_empty() {
            return Ok(false);
        }
        // Held until nginx has been told, also if nobody waits for that any more.
        let lock = Arc::new(lock);
        let closing = stale.into_iter().map(|path| {
            let lock = Arc::clone(&lock);
            let listener = move |_| {
                let _held = &lock;
            };
            self.control
                .apply(vec![Change::remove(path)], Box::new(listener))
        });
        for outcome in try_join_all(closing).await? {
            told(app.clone(), outcome)?;
        }
        self.store.forget_lease(app)?;
        Ok(true)
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
