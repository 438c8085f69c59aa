//! What follows when a certificate is proven live: versions that nobody needs any more are removed.
//! Nothing here fails a certificate: what goes wrong is told, and tried again the next time.

use std::time::SystemTime;

use crate::config;
use crate::identifier::AppName;
use crate::progress::Progress;
use crate::store::{Store, Version};

/// A certificate that is live, and what follows. Under the lineage's lock.
pub struct Handover<'a> {
    /// The state on disk.
    pub store: &'a Store,
    /// What is to follow.
    pub wanted: &'a config::Handover,
    /// The lineage.
    pub name: &'a AppName,
    /// Who hears of it.
    pub progress: &'a Progress,
}

impl Handover<'_> {
    /// Removes old versions, but not what was live `before`.
    pub fn remove_old_versions(&self, before: Option<Version>) {
        let keep = self.wanted.keep;
        let removed = self
            .store
            .remove_old_versions(self.name, keep, before, SystemTime::now());
        match removed {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => {
                tracing::info!(certificate = %self.name, versions = ?removed, keep, "old versions were removed");
            }
            Err(error) => self
                .progress
                .notice(format!("old versions could not be removed: {error}")),
        }
    }
}
