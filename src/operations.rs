//! What each request does, the same whether it came over the admin socket or a command works alone.

mod account;
mod delete;
mod installed;
mod issuing;
mod pass;
mod rehearse;
mod revoke;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;

use crate::admin::protocol::{Reply, Request};
use crate::config::Door;
use crate::convoy::Seat;
use crate::doors::{DoorError, Unwanted};
use crate::engine::{Engine, Held};
use crate::identifier::AppName;
use crate::issuance::Urgency;
use crate::jobs::{find_app, job};
use crate::progress::{Note, Progress};
use crate::report::Report;
use crate::status::{self, Status};
use crate::store::StoreError;

pub(crate) use installed::put_right;
pub(crate) use issuing::{issue_lineage, remember_death};

/// Hears how far a request has come.
pub type Listener = Arc<dyn Fn(Note) + Send + Sync>;

/// Does what is asked for.
pub async fn perform(
    engine: &Arc<Engine>,
    request: Request,
    listener: Listener,
) -> Result<Reply, Report> {
    match request {
        Request::Issue { app, names, force } => {
            let job = job(&engine.config(), app.as_ref(), names, Urgency::asked(force))?;
            revoke::lift(&engine.parts.store, &job.name).await?;
            issuing::issue(engine, &job, listener)
                .await
                .map(Reply::Issued)
        }
        Request::Renew { names, force } => issuing::renew(engine, names, force, &listener).await,
        Request::Open { app, seconds } => {
            open(engine, &app, Duration::from_secs(seconds), listener).await
        }
        Request::Close { app } => close(engine, app).await,
        Request::AddChallenge { key_authorization } => {
            let presented = engine.parts.challenges.present(&key_authorization);
            engine
                .tokens
                .insert(key_authorization.token().clone(), presented);
            Ok(Reply::Done)
        }
        Request::RemoveChallenge { token } => match engine.tokens.remove(&token) {
            Some(_) => Ok(Reply::Done),
            None => Err(Report::new(
                format!("the token {token} was not added by hand"),
                "see `sidedoor challenge list`",
            )),
        },
        Request::ListChallenges => Ok(Reply::Challenges {
            tokens: engine.parts.challenges.tokens(),
        }),
        Request::Status => {
            let looked = look(engine).await;
            let status = looked.map_err(|error| Report::new(&error, error.next_step()))?;
            Ok(Reply::Status(status))
        }
        Request::Rehearse {
            lineages: Some(names),
            ..
        } => rehearse::several(engine, names, &listener).await,
        Request::Rehearse { app, names, .. } => {
            rehearse::one(engine, app.as_ref(), names, &listener).await
        }
        Request::Revoke {
            name,
            reason,
            no_new,
        } => revoke::revoke(engine, name, reason, no_new, listener).await,
        Request::Delete { name, force } => delete::delete(engine, name, force).await,
        Request::Account { act, directory } => {
            account::account(engine, act, directory.as_deref()).await
        }
        Request::TakeOver | Request::Taken => Err(Report::new(
            "who answers here is a command that keeps a door open, and no sidecar",
            "end that command, then start the sidecar",
        )),
    }
}

/// How every certificate stands. What nginx is seen to serve is kept for metrics.
pub(crate) async fn look(engine: &Engine) -> Result<Status, StoreError> {
    let at = OffsetDateTime::now_utc();
    let parts = &engine.parts;
    let mut status = status::gather(&engine.config(), &parts.store, &parts.surveyor).await?;
    status.running = true;
    for certificate in &mut status.certificates {
        certificate.in_flight = engine.in_flight.get(&certificate.name).map(|step| *step);
    }
    engine.sightings.saw_all(&status, at);
    Ok(status)
}

async fn open(
    engine: &Arc<Engine>,
    name: &AppName,
    lease: Duration,
    listener: Listener,
) -> Result<Reply, Report> {
    let config = engine.config();
    let app = find_app(&config, name)?;
    let failed = |error: DoorError| Report::new(&error, error.next_step(&config));
    let progress = Progress::new(name.clone(), listener);
    let door = engine
        .parts
        .doors
        .open(&config, app, lease, &Seat::alone(), &progress)
        .await
        .map_err(failed)?;
    if let Err(error) = engine
        .parts
        .doors
        .prove(&config, &door, &app.domains, &progress)
        .await
    {
        // Closed before anybody is told, so that everything is as before by then.
        let _ = door.close().await;
        return Err(failed(error));
    }
    let until = OffsetDateTime::now_utc() + lease;
    engine.hold(name.clone(), Held { door, until });
    Ok(Reply::Opened {
        app: name.clone(),
        until,
    })
}

async fn close(engine: &Arc<Engine>, app: Option<AppName>) -> Result<Reply, Report> {
    let config = engine.config();
    let failed = |error: DoorError| Report::new(&error, error.next_step(&config));
    let mut closed = Vec::new();
    let names = match &app {
        Some(app) => vec![app.clone()],
        None => engine.held.iter().map(|held| held.key().clone()).collect(),
    };
    let closing = names.into_iter().filter_map(|name| {
        let closing = engine.close_held(&name)?;
        Some(async { (name, closing.await) })
    });
    let mut failure = None;
    for (name, result) in join_all(closing).await {
        match result {
            Ok(true) => closed.push(name),
            Ok(false) => {}
            Err(error) => failure = Some(error),
        }
    }
    let unwanted = app.as_ref().map_or(Unwanted::All, Unwanted::One);
    let swept = engine.sweep(unwanted).await;
    let swept = swept.map_err(|error| Report::new(&error, error.next_step()))?;
    let meant = |name: &AppName| app.as_ref().is_none_or(|app| app == name);
    let unswept = swept.failed.into_iter().find(|(name, _)| meant(name));
    if let Some(error) = failure.or(unswept.map(|(_, error)| error)) {
        return Err(failed(error));
    }
    closed.extend(swept.closed.into_iter().filter(meant));
    if let (Some(app), true) = (&app, closed.is_empty()) {
        let config = engine.config();
        if matches!(find_app(&config, app)?.door, Door::Permanent(_)) {
            let next_step = format!(
                "set door = \"transient\" for it in {}, or remove the app",
                config.file.display()
            );
            return Err(Report::new(
                format!("the door of {app} is permanent, and held by the sidecar"),
                next_step,
            ));
        }
    }
    let in_use = app.filter(|app| closed.is_empty() && engine.parts.store.is_door_held(app));
    Ok(Reply::Closed {
        apps: closed,
        in_use,
    })
}
