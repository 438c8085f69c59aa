//! What follows when a certificate is proven live: hooks are run, and versions that nobody needs any more are removed.
//! Nothing here fails a certificate: what goes wrong is told, and stands in `status`.

mod hook;
mod program;

use std::time::SystemTime;

use crate::config;
use crate::identifier::AppName;
use crate::issuance::Pair;
use crate::progress::{Progress, Step};
use crate::store::{Errand, Lineage, Store, StoreError, Version};

/// A certificate that goes live, and what follows. Under the lineage's lock.
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
    /// Writes down that a version is about to go live, so that whoever comes after a crash does what is to follow.
    pub fn announce(&self, version: Version) -> Result<(), StoreError> {
        if self.wanted.hooks.is_empty() {
            return Ok(());
        }
        self.change(|lineage| {
            if lineage.is_handed_over(version) {
                lineage.not_handed_over.push(version);
            }
        })
    }

    /// Does what follows now that this pair is live, in place of the version that was live `before`.
    pub async fn complete(&self, pair: &Pair, before: Option<Version>) {
        self.do_errands(pair).await;
        self.remove_old_versions(before);
    }

    /// Does what an earlier run has left undone for the pair that is live.
    pub async fn resume(&self, pair: &Pair) {
        match self.store.lineage(self.name) {
            Ok(lineage) if lineage.is_handed_over(pair.version) => {}
            Ok(_) => {
                self.progress
                    .notice("what an earlier run has left undone after going live is done now");
                self.do_errands(pair).await;
            }
            Err(error) => self.progress.notice(error.to_string()),
        }
    }

    async fn do_errands(&self, pair: &Pair) {
        let mut errands = Vec::new();
        for hook in &self.wanted.hooks {
            let errand = hook::run(hook, self, pair).await;
            self.tell(&errand);
            errands.push(errand);
        }
        if !errands.is_empty() {
            let done = match errands.len() {
                1 => "1 hook".to_owned(),
                count => format!("{count} hooks"),
            };
            self.progress.reached(Step::HandedOver, done);
        }
        let noted = self.change(|lineage| {
            lineage.errands = errands;
            lineage.not_handed_over.clear();
        });
        if let Err(error) = noted {
            self.progress
                .notice(format!("hooks that were run will be run again: {error}"));
        }
    }

    fn tell(&self, errand: &Errand) {
        let Errand { what, failure, .. } = errand;
        match failure {
            None => tracing::info!(certificate = %self.name, hook = what, "the hook was run"),
            Some(report) => {
                tracing::error!(certificate = %self.name, hook = what, error = report.what, next = report.next_step, "the hook has failed");
                self.progress.notice(report.what.as_str());
            }
        }
    }

    /// Writes only what differs, since most certificates have nothing that follows.
    fn change(&self, change: impl FnOnce(&mut Lineage)) -> Result<(), StoreError> {
        let before = self.store.lineage(self.name)?;
        let mut lineage = before.clone();
        change(&mut lineage);
        match lineage == before {
            true => Ok(()),
            false => self.store.save_lineage(self.name, &lineage),
        }
    }

    fn remove_old_versions(&self, before: Option<Version>) {
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
