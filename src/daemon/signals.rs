//! The signals of the process, and what they tell it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the process is told by signals.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What a running sidecar is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGTERM, SIGINT
    End,
    /// SIGHUP: read the configuration again, and open the logs anew.
    Reload,
    /// SIGUSR1: open the logs anew.
    Reopen,
    /// The configuration's file has changed.
    Changed,
}

impl Signals {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Resolves when the process shall end, whoever says so. A terminal that goes away says so, too.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    pub(super) async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.user.recv() => Told::Reopen,
        }
    }
}
