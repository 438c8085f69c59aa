//! What follows when a certificate is proven live: its files are put into other places, hooks are run, and versions that nobody
//! needs any more are removed. Nothing here fails a certificate: what goes wrong is told, and stands in `status`.

mod hook;
mod installation;
mod program;

use std::time::SystemTime;

use time::OffsetDateTime;

use crate::command::quoted;
use crate::config::{self, Config, Install};
use crate::identifier::AppName;
use crate::issuance::Pair;
use crate::progress::{Progress, Step};
use crate::report::Report;
use crate::store::{Errand, ErrandKind, Lineage, Saved, Store, StoreError, Version};
use installation::{InstallError, Plan, described};

/// A certificate that goes live, and what follows. Under the lineage's lock.
pub struct Handover<'a> {
    store: &'a Store,
    wanted: &'a config::Handover,
    installs: &'a [Install],
    name: &'a AppName,
    progress: &'a Progress,
}

impl<'a> Handover<'a> {
    /// For this lineage; where else its files shall lie is its app's to say.
    pub fn new(
        store: &'a Store,
        config: &'a Config,
        wanted: &'a config::Handover,
        name: &'a AppName,
        progress: &'a Progress,
    ) -> Self {
        let app = config.app(name);
        Self {
            store,
            wanted,
            installs: app.map_or(&[], |app| &app.install),
            name,
            progress,
        }
    }

    /// Writes down that a version is about to go live, so that whoever comes after a crash does what is to follow.
    pub fn announce(&self, version: Version) -> Result<(), StoreError> {
        if self.wanted.hooks.is_empty() && self.installs.is_empty() {
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

    /// Does what an earlier run has left undone for the pair that is live, and puts right what others have changed.
    pub async fn resume(&self, pair: &Pair) {
        match self.store.lineage(self.name) {
            Ok(lineage) if !lineage.is_handed_over(pair.version) => {
                self.progress
                    .notice("what an earlier run has left undone after going live is done now");
                self.do_errands(pair).await;
            }
            Ok(lineage) => self.put_right(pair, lineage).await,
            Err(error) => self.progress.notice(error.to_string()),
        }
    }

    async fn put_right(&self, pair: &Pair, lineage: Lineage) {
        let (hooks, known): (Vec<_>, Vec<_>) = lineage
            .errands
            .into_iter()
            .partition(|errand| errand.kind == ErrandKind::Hook);
        if self.installs.is_empty() && known.is_empty() {
            return;
        }
        let mut errands = self.install(pair, &known).await;
        errands.extend(hooks);
        self.note(|lineage| lineage.errands = errands);
    }

    async fn do_errands(&self, pair: &Pair) {
        let known = self.store.lineage(self.name);
        let known = known.map_or_else(|_| Vec::new(), |lineage| lineage.errands);
        let mut errands = self.install(pair, &known).await;
        for hook in &self.wanted.hooks {
            let errand = hook::run(hook, self, pair).await;
            self.tell(&errand);
            errands.push(errand);
        }
        if !errands.is_empty() {
            let done = format!("{} errands", errands.len());
            self.progress.reached(Step::HandedOver, done);
        }
        self.note(|lineage| {
            lineage.errands = errands;
            lineage.not_handed_over.clear();
        });
    }

    /// Puts the files where they are missing or differ, and tells whoever reads them and has not heard of this version.
    async fn install(&self, pair: &Pair, known: &[Errand]) -> Vec<Errand> {
        let mut errands = Vec::new();
        let mut to_be_told: Vec<(&[String], bool)> = Vec::new();
        if self.installs.is_empty() {
            return errands;
        }
        let saved = self.store.version(self.name, pair.version);
        for install in self.installs {
            let placed = match &saved {
                Ok(saved) => self.place(install, saved),
                Err(error) => Err(Report::new(error, error.next_step())),
            };
            let what = described(install);
            let unchanged = |errand: &&Errand| {
                placed == Ok(false) && errand.is_done(ErrandKind::Install, &what, pair.version)
            };
            let errand = match known.iter().find(unchanged) {
                Some(errand) => errand.clone(),
                None => Errand {
                    kind: ErrandKind::Install,
                    what,
                    version: pair.version,
                    at: OffsetDateTime::now_utc(),
                    exit: None,
                    output: Vec::new(),
                    failure: placed.clone().err(),
                },
            };
            if placed != Ok(false) {
                self.tell(&errand);
            }
            errands.push(errand);
            if let (Ok(changed), Some(reload)) = (placed, &install.reload) {
                match to_be_told.iter_mut().find(|(argv, _)| argv == reload) {
                    Some((_, any_changed)) => *any_changed |= changed,
                    None => to_be_told.push((reload, changed)),
                }
            }
        }
        for (reload, changed) in to_be_told {
            let what = quoted(reload);
            let done = |errand: &&Errand| errand.is_done(ErrandKind::Reload, &what, pair.version);
            match known.iter().find(done) {
                Some(errand) if !changed => errands.push(errand.clone()),
                _ => errands.push(self.reload(reload, pair.version).await),
            }
        }
        errands
    }

    /// Whether anything had to be changed.
    fn place(&self, install: &Install, saved: &Saved) -> Result<bool, Report> {
        let failed = |error: InstallError| {
            let what = format!("the certificate is live, but not where else it shall lie: {error}");
            Report::new(what, error.next_step())
        };
        let plan = Plan::new(install, self, saved).map_err(failed)?;
        if plan.is_empty() {
            return Ok(false);
        }
        if let Some(reload) = &install.reload {
            // Should we die before it is run, the next pass shall not take it for done.
            let what = quoted(reload);
            self.note(|lineage| lineage.errands.retain(|errand| errand.what != what));
        }
        plan.carry_out().map_err(failed)?;
        Ok(true)
    }

    async fn reload(&self, argv: &[String], version: Version) -> Errand {
        let ran = program::run(self.name, argv, &[], self.wanted.hook_time).await;
        let what = quoted(argv);
        let errand = ran.into_errand(ErrandKind::Reload, &what, version, |problem| {
            Report::new(
                format!("the certificate is live, but {what} {problem}"),
                "mend what it complains of; the next `sidedoor renew` runs it again",
            )
        });
        self.tell(&errand);
        errand
    }

    fn tell(&self, errand: &Errand) {
        let Errand {
            what,
            failure,
            kind,
            ..
        } = errand;
        match (failure, kind) {
            (None, ErrandKind::Install) => {
                tracing::info!(certificate = %self.name, files = what, "the certificate lies where else it shall");
            }
            (None, _) => tracing::info!(certificate = %self.name, command = what, "was told"),
            (Some(report), _) => {
                tracing::error!(certificate = %self.name, error = report.what, next = report.next_step, "what was to follow has failed");
                self.progress.notice(report.what.as_str());
            }
        }
    }

    /// Writes down what was done. If that fails, it is done again the next time.
    fn note(&self, change: impl FnOnce(&mut Lineage)) {
        if let Err(error) = self.change(change) {
            self.progress
                .notice(format!("what was done can't be written down: {error}"));
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
