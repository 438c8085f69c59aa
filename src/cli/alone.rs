//! A command that finds no sidecar and does everything by itself, then leaves nothing behind.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::output::Output;
use super::{Exit, ended};
use crate::admin::protocol::Request;
use crate::admin::server::AdminSocket;
use crate::config::Config;
use crate::doors::Unwanted;
use crate::engine::{Engine, Role};
use crate::operations;
use crate::report::Report;

/// Starts the parts, does what is asked for, and closes everything, also when a signal comes in between.
pub(super) async fn perform(config: Config, request: Request, output: &Output) -> Exit {
    let engine = match Engine::start(config, Role::Alone).await {
        Ok(engine) => engine,
        Err(error) => return output.end(Err(Report::new(&error, error.next_step()))),
    };
    let opens = matches!(request, Request::Open { .. });
    let work = async {
        if !matches!(request, Request::Close { .. }) {
            engine.sweep(Unwanted::None).await;
        }
        let notes = output.clone();
        let answer =
            operations::perform(&engine, request, Arc::new(move |note| notes.note(&note))).await;
        let stays = opens && answer.is_ok();
        let exit = output.end(answer);
        if stays {
            stay(&engine, output).await
        } else {
            exit
        }
    };
    let exit = tokio::select! {
        exit = work => exit,
        () = ended() => if opens { Exit::Done } else { output.interrupted() },
    };
    engine.stop().await;
    exit
}

/// Nobody else answers behind a door that was opened alone, so we do, until it is closed. Other commands reach us as they would a sidecar.
async fn stay(engine: &Arc<Engine>, output: &Output) -> Exit {
    output.stays();
    let path = engine.config().admin.clone();
    match AdminSocket::bind(&path) {
        Ok(admin) => {
            tokio::select! {
                () = admin.serve(Arc::clone(engine), CancellationToken::new()) => {}
                () = engine.none_held() => {}
            }
            Exit::Done
        }
        Err(error) => output.end(Err(Report::new(
            format!(
                "the admin socket {} can't be listened on: {error}",
                path.display()
            ),
            "choose a path for `admin` where the user who runs sidedoor may write",
        ))),
    }
}
