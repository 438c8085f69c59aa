//! A command that finds no sidecar and does everything by itself, then leaves nothing behind.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Exit;
use super::output::Output;
use crate::admin::protocol::Request;
use crate::admin::server::AdminSocket;
use crate::config::Config;
use crate::daemon::{RunError, Signals};
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
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            let report = RunError::Signals(error).report();
            return output.end(Err(report));
        }
    };
    let opens = matches!(request, Request::Open { .. });
    let work = async {
        if !matches!(request, Request::Close { .. }) {
            let _logged = engine.sweep(Unwanted::None).await;
        }
        let notes = output.clone();
        operations::perform(&engine, request, Arc::new(move |note| notes.note(&note))).await
    };
    let answer = tokio::select! {
        answer = work => Some(answer),
        () = signals.end() => None,
    };
    let exit = match answer {
        Some(answer) => {
            let stays = opens && answer.is_ok();
            let exit = output.end(answer);
            match stays {
                true => stay(&engine, &mut signals, output).await,
                false => exit,
            }
        }
        None => output.interrupted(),
    };
    engine.stop().await;
    exit
}

/// Nobody else answers behind a door that was opened alone, so we do, until it is closed. Other commands reach us as they would a sidecar.
async fn stay(engine: &Arc<Engine>, signals: &mut Signals, output: &Output) -> Exit {
    output.stays();
    let path = engine.config().admin.clone();
    let admin = match AdminSocket::bind(&path) {
        Ok(admin) => admin,
        Err(source) => {
            let path = path.display().to_string();
            return output.end(Err(RunError::Admin { path, source }.report()));
        }
    };
    let (stop, enough) = (CancellationToken::new(), CancellationToken::new());
    let serving = admin.serve_until(Arc::clone(engine), stop.clone(), enough.clone());
    let ending = async {
        tokio::select! {
            // Whoever has closed the last door is still to be told so.
            () = engine.none_held() => enough.cancel(),
            () = signals.end() => stop.cancel(),
        }
    };
    tokio::join!(serving, ending);
    Exit::Done
}
