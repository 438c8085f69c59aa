//! What has been used up of each CA's limits: `budgets/<directory>.json`.

use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::{Store, StoreError, directory_name, files, io_error, read_json, write_json};
use crate::budget::{Budget, Charge, Exhausted, Kind, Limits, Outcome};
use crate::identifier::Identifier;
use crate::lock::Lock;

/// A charge takes two small files' time, and perhaps a thousand others wait for theirs.
const LOCK_LIMIT: Duration = Duration::from_secs(60);

impl Store {
    /// Charges an order at this CA, see [`Budget::charge`]. When this returns, the charge is on disk: the order may be placed.
    pub async fn charge(
        &self,
        directory_url: &str,
        names: &[Identifier],
        kind: Kind,
        now: OffsetDateTime,
        force: bool,
    ) -> Result<Result<Charge, Exhausted>, StoreError> {
        let limits = Limits::of(directory_url);
        self.change_budget(directory_url, now, |budget| {
            budget.charge(&limits, names, kind, now, force)
        })
        .await
    }

    /// Gives back what an order at this CA has not cost, see [`Budget::settle`].
    pub async fn settle(
        &self,
        directory_url: &str,
        charge: &Charge,
        outcome: Outcome<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let limits = Limits::of(directory_url);
        self.change_budget(directory_url, now, |budget| {
            budget.settle(&limits, charge, outcome, now);
        })
        .await
    }

    /// What has been used up at this CA, as it was last saved.
    pub fn budget(&self, directory_url: &str) -> Result<Budget, StoreError> {
        let path = self.budget_path(&directory_name(directory_url));
        Ok(read_json(&path)?.unwrap_or_default())
    }

    fn budget_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("budgets/{name}.json"))
    }

    /// Others charge the same CA, in this process and in others: one at a time.
    async fn change_budget<T>(
        &self,
        directory_url: &str,
        now: OffsetDateTime,
        change: impl FnOnce(&mut Budget) -> T,
    ) -> Result<T, StoreError> {
        let name = directory_name(directory_url);
        let path = self.budget_path(&name);
        let _lock = Lock::wait(&self.lock_path("budget", &name), LOCK_LIMIT).await?;
        let known: Option<Budget> = read_json(&path)?;
        let mut budget = known.clone().unwrap_or_default();
        let changed = change(&mut budget);
        if known.as_ref() != Some(&budget) {
            budget.tidy(now);
            write_json(&path, &budget)?;
            files::sync_directory_of(&path).map_err(io_error("written", &path))?;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
    const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

    #[tokio::test]
    async fn what_is_charged_is_charged_for_whoever_opens_the_state_next() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["a.example.com".parse().unwrap()];
        let mut charged = 0;
        let until = loop {
            // As after a crash: nothing was settled.
            let store = Store::open(directory.path()).unwrap();
            let charge = store.charge(DIRECTORY, &names, Kind::New, NOW, false);
            match charge.await.unwrap() {
                Ok(_) => charged += 1,
                Err(exhausted) => break exhausted.until,
            }
        };
        assert_eq!(charged, 4);
        assert!(until > NOW);
    }

    #[tokio::test]
    async fn what_was_not_used_is_given_back_and_orders_side_by_side_are_all_counted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let names = ["a.example.com".parse().unwrap()];
        let charge = || store.charge(DIRECTORY, &names, Kind::New, NOW, false);
        for _ in 0..20 {
            let charge = charge().await.unwrap().unwrap();
            let settled = store.settle(DIRECTORY, &charge, Outcome::NotPlaced, NOW);
            settled.await.unwrap();
        }
        let all = futures_util::future::join_all((0..10).map(|_| charge())).await;
        let taken = all
            .into_iter()
            .filter(|charge| charge.as_ref().unwrap().is_ok());
        assert_eq!(taken.count(), 4);
    }
}
