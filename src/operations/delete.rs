//! A lineage forgotten, unless somebody still needs it. nginx starts afterwards as it did before.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::protocol::Reply;
use crate::config::Config;
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance;
use crate::lock::LockError;
use crate::nginx::survey::Mention;
use crate::report::Report;
use crate::store::{Store, StoreError};

/// The sidecar looks at a certificate now and then, which takes moments; an issuance takes longer.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Removes the certificates, the keys and what is remembered of them. `force` says that it is meant although somebody needs them: where
/// nginx still looks, a self-signed placeholder stays.
pub(super) async fn delete(
    engine: &Arc<Engine>,
    name: AppName,
    force: bool,
) -> Result<Reply, Report> {
    let config = engine.config();
    let store = &engine.parts.store;
    if !store.has_lineage(&name) {
        return Err(Report::new(
            format!("there is no certificate {name}"),
            "see `sidedoor status` for those there are",
        ));
    }
    let _lock = match store.lock_lineage(&name, LOCK_LIMIT).await {
        Err(StoreError::Lock(LockError::Held { .. })) => {
            return Err(Report::new(
                format!("the certificate of {name} is being issued"),
                "wait until that is done",
            ));
        }
        lock => lock.map_err(told)?,
    };
    if !force && config.app(&name).is_some_and(|app| app.enabled) {
        return Err(Report::new(
            format!(
                "{name} is an app of {}, and would get another certificate at once",
                config.file.display()
            ),
            "remove the app or set enabled = false for it, or add --force",
        ));
    }
    let survey = engine.parts.surveyor.survey(None, None).await;
    let mention = survey.mention(&directories(store, &config, &name));
    let needed = match &mention {
        Mention::Nowhere => None,
        Mention::At(place) => Some(Report::new(
            format!("nginx's configuration names a file of {name} at {place}"),
            "remove that line and reload nginx, or add --force, which leaves a self-signed placeholder there",
        )),
        Mention::Unknown(reason) => Some(Report::new(
            format!("whether nginx's configuration names files of {name} can't be told: {reason}"),
            "let the user who runs sidedoor read it, or add --force, which leaves a self-signed placeholder there",
        )),
    };
    let placeholder = match needed {
        None => false,
        Some(report) if !force => return Err(report),
        Some(_) => true,
    };
    let deleted = match placeholder {
        true => {
            let names = store.lineage(&name).map_err(told)?.identifiers;
            let put = issuance::put_placeholder_live(store, &name, &names);
            put.map_err(|error| error.report(&config))?;
            store.forget_all_but_placeholder(&name)
        }
        false => store.forget_lineage(&name),
    };
    let deleted = deleted.map_err(told)?;
    let paths: Vec<_> = deleted
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    tracing::info!(certificate = %name, ?paths, placeholder, "the certificate is deleted");
    Ok(Reply::Deleted {
        name,
        paths,
        placeholder,
    })
}

/// Where nginx would name its files, as the configuration has it and as the system does.
fn directories(store: &Store, config: &Config, name: &AppName) -> Vec<PathBuf> {
    let own = config.state_dir.clone();
    let real = std::fs::canonicalize(&own).unwrap_or_else(|_| own.clone());
    let within = |state: PathBuf| {
        [
            state.join("live").join(name.as_str()),
            state.join("archive").join(name.as_str()),
        ]
    };
    let mut directories: Vec<_> = [own, real].into_iter().flat_map(within).collect();
    directories.push(store.live_link(name));
    directories
}

fn told(error: StoreError) -> Report {
    Report::new(&error, error.next_step())
}
