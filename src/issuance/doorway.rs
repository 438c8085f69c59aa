//! The doors that one certificate needs: opened together, proven, and closed together.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};

use super::{Issuance, LEASE};
use crate::convoy::Halt;
use crate::doors::{DoorError, OpenDoor};
use crate::identifier::Identifier;
use crate::progress::Step;

/// Doors that may stand; closed when it turns out that nobody needs them.
pub(super) type OpenDoors = Vec<Arc<OpenDoor>>;

impl Issuance<'_> {
    pub(super) async fn proven_doors(&self) -> Result<OpenDoors, DoorError> {
        let doors = self.open_doors().await?;
        match self.prove(&doors).await {
            Ok(()) => Ok(doors),
            Err(error) => {
                self.close(doors).await;
                Err(error)
            }
        }
    }

    async fn open_doors(&self) -> Result<Vec<Arc<OpenDoor>>, DoorError> {
        let Self {
            parts,
            config,
            job,
            progress,
            ..
        } = self;
        let opening = job.apps.iter().map(|app| {
            let opening = parts.doors.open(config, app, LEASE, &self.seat, progress);
            opening.boxed()
        });
        let mut doors = Vec::new();
        let mut refused = None;
        for opened in join_all(opening).await {
            match opened {
                Ok(door) => doors.push(door),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            None => Ok(doors),
            Some(error) => {
                self.close(doors).await;
                Err(error)
            }
        }
    }

    pub(super) async fn close(&self, doors: Vec<Arc<OpenDoor>>) {
        if doors.is_empty() {
            return;
        }
        let close = || doors.into_iter().map(OpenDoor::close).collect::<Vec<_>>();
        let closing = self.seat.together(Halt::Live, close).await;
        for closed in join_all(closing).await {
            match closed {
                Ok(true) => self.progress.reached(Step::DoorClosed, ""),
                Ok(false) => {}
                Err(error) => self.progress.notice(error.to_string()),
            }
        }
    }

    async fn prove(&self, doors: &[Arc<OpenDoor>]) -> Result<(), DoorError> {
        let Self {
            parts,
            config,
            job,
            progress,
            ..
        } = self;
        let proofs = doors.iter().map(|door| {
            let app = job.apps.iter().find(|app| app.name == *door.app());
            let through = |name: &&Identifier| app.is_some_and(|app| app.covers(name));
            let names: Vec<_> = job.identifiers.iter().filter(through).cloned().collect();
            async move { parts.doors.prove(config, door, &names, progress).await }.boxed()
        });
        try_join_all(proofs).await.map(drop)
    }
}
