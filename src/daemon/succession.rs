//! One sidecar takes the place of another, and nobody notices: what each end does, and in which order.
//!
//! 1. The new one asks. The old one comes to rest: whoever works on a certificate or a door finishes, nobody begins.
//! 2. The old one tells what it leaves. The new one binds beside it, knowing its tokens, and serves; both do now.
//! 3. The new one takes the admin socket and says so. Up to here the old one goes on as if nothing had been, should the new one fail.
//! 4. The old one lets go of its doors, which stay open, and says so; then it finishes its requests, and ends.
//! 5. Only then does the new one hold doors and issue certificates. So no two ever do, also because each takes its locks first.

use std::path::Path;
use std::time::Duration;

use super::RunError;
use super::signals::{Signals, Told};
use crate::admin::caller::Caller;
use crate::admin::client::Client;
use crate::admin::predecessor::Predecessor;
use crate::admin::protocol::{Bequest, Message, Reply, Request};
use crate::engine::{AtRest, Engine};
use crate::report::Report;

/// An issuance that takes longer is not waited for.
const REST_LIMIT: Duration = Duration::from_secs(60);
/// The new one only has to bind and start its threads.
const TAKING_LIMIT: Duration = Duration::from_secs(60);

/// The new one's end: asks whoever runs for its place. Nothing where nobody runs.
pub(super) async fn ask(admin: &Path) -> Result<Option<(Predecessor, Bequest)>, RunError> {
    let client = Client::connect(admin).await;
    let Some(client) = client.map_err(RunError::Predecessor)? else {
        tracing::info!("no sidecar runs whose place could be taken");
        return Ok(None);
    };
    tracing::info!("the running sidecar is asked for its place");
    let answer = Predecessor::ask(client).await;
    let answer = answer.map_err(RunError::Predecessor)?;
    answer.map(Some).map_err(RunError::Kept)
}

/// Another serves in our place.
pub(super) struct Taken {
    heir: Caller,
    /// Nobody begins to work on anything any more.
    _at_rest: AtRest,
}

/// What became of the wish for our place.
pub(super) enum Outcome {
    /// It is taken: there is no way back.
    Taken(Taken),
    /// It is kept, and everything as before.
    Kept,
    /// A signal says that the process shall end, whoever takes its place.
    End,
}

/// The old one's end, up to where there is no way back.
pub(super) async fn hand_over(engine: &Engine, heir: Caller, signals: &mut Signals) -> Outcome {
    tracing::info!("another sidecar asks for this one's place");
    let offering = offer(engine, heir);
    tokio::pin!(offering);
    loop {
        tokio::select! {
            taken = &mut offering => return taken.map_or(Outcome::Kept, Outcome::Taken),
            // What else a signal may say is looked after by who takes over, or by us if nobody does.
            told = signals.told() => if told == Told::End {
                return Outcome::End;
            }
        }
    }
}

async fn offer(engine: &Engine, mut heir: Caller) -> Option<Taken> {
    let Ok(at_rest) = tokio::time::timeout(REST_LIMIT, engine.come_to_rest()).await else {
        tracing::warn!("the place is kept: a certificate is being issued");
        let report = Report::new(
            format!(
                "it has been working on a certificate for more than {} s",
                REST_LIMIT.as_secs()
            ),
            "see `sidedoor status`, and try again when that is over",
        );
        let _gone = heir.tell(&Message::Failed(report)).await;
        return None;
    };
    let bequest = Message::Reply(Box::new(Reply::Bequest(engine.bequest())));
    let taken = match heir.tell(&bequest).await {
        Ok(()) => heir.request(TAKING_LIMIT).await,
        Err(_) => None,
    };
    match taken {
        Some(Ok(Request::Taken)) => Some(Taken {
            heir,
            _at_rest: at_rest,
        }),
        _ => {
            tracing::warn!("the other sidecar has not taken this one's place, which is kept");
            None
        }
    }
}

/// The old one's end, from there on.
pub(super) async fn leave(engine: &Engine, mut taken: Taken) {
    engine.leave_doors().await;
    let _gone = taken
        .heir
        .tell(&Message::Reply(Box::new(Reply::Done)))
        .await;
    tracing::info!("another sidecar has taken over; requests under way are finished");
    engine.yield_to_another().await;
}
