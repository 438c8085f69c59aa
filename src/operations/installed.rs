//! What lies of the certificates in other places, looked at now and then.

use std::sync::Arc;

use crate::config::{App, Config};
use crate::engine::Engine;
use crate::handover::Handover;
use crate::issuance;
use crate::progress::Progress;
use crate::store::StoreError;

/// Puts right what was changed of the files that lie elsewhere, every app's. Who has something to renew does it by himself.
pub(crate) async fn put_right(engine: &Arc<Engine>) {
    let config = engine.config();
    let installed = |app: &&App| app.enabled && !app.install.is_empty();
    for app in config.apps.iter().filter(installed) {
        if let Err(error) = put_right_one(engine, &config, app).await {
            tracing::error!(app = %app.name, %error, next = error.next_step(), "what lies elsewhere can't be looked at");
        }
    }
}

async fn put_right_one(engine: &Engine, config: &Config, app: &App) -> Result<(), StoreError> {
    let store = &engine.parts.store;
    // Whoever holds the lock is issuing, and sees to it as well.
    let Some(_lock) = store.try_lock_lineage(&app.name)? else {
        return Ok(());
    };
    let deployed = store.lineage(&app.name)?.deployed;
    let Some(live) = store
        .live_version(&app.name)?
        .filter(|live| deployed == Some(*live))
    else {
        return Ok(());
    };
    if let Some(pair) = issuance::read_pair(store, &app.name, live)? {
        let progress = Progress::new(app.name.clone(), Arc::new(|_| {}));
        let wanted = &app.acme.handover;
        let handover = Handover::new(store, config, wanted, &app.name, &progress);
        handover.resume(&pair).await;
    }
    Ok(())
}
