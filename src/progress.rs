//! How far an issuance has come: named steps with their times, for the terminal, the log and whoever asked over the admin socket.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::identifier::AppName;

/// The steps of an issuance, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing is in the way on our own side: the lock is held and the state can be written.
    Begun,
    /// The door's file is in place.
    DoorWritten,
    /// `nginx -t` has passed.
    Tested,
    /// nginx was told to read its configuration.
    Reloaded,
    /// The account and the CA's directory are at hand.
    Account,
    /// The CA has taken the order.
    Ordered,
    /// Our probe has come back through nginx often enough.
    DoorProven,
    /// The tokens are answered.
    TokensIn,
    /// The CA has asked for a token.
    Visited,
    /// The CA is satisfied.
    OrderReady,
    /// The CA has our certificate request.
    Finalised,
    /// The certificate is here and belongs to its key.
    Certificate,
    /// Key and certificate are in the archive.
    Saved,
    /// The live link points to them.
    Flipped,
    /// nginx serves the certificate.
    Live,
    /// The door is gone from nginx.
    DoorClosed,
    /// What was to follow is done: hooks were run, files are in place.
    HandedOver,
}

impl Step {
    /// The step's name, as in logs and `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::DoorWritten => "door-written",
            Self::Tested => "tested",
            Self::Reloaded => "reloaded",
            Self::Account => "account",
            Self::Ordered => "ordered",
            Self::DoorProven => "door-proven",
            Self::TokensIn => "tokens-in",
            Self::Visited => "visited",
            Self::OrderReady => "order-ready",
            Self::Finalised => "finalised",
            Self::Certificate => "certificate",
            Self::Saved => "saved",
            Self::Flipped => "flipped",
            Self::Live => "live",
            Self::DoorClosed => "door-closed",
            Self::HandedOver => "handed-over",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something to tell whoever waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Note {
    /// A step was reached.
    Step {
        /// Which.
        step: Step,
        /// What there is to say about it.
        detail: String,
        /// Since the beginning.
        elapsed_ms: u64,
        /// Whose it is, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        among: Option<Among>,
    },
    /// Something worth knowing that is no failure.
    Notice {
        /// One sentence.
        text: String,
        /// Whose it is, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        among: Option<Among>,
    },
}

/// One of several certificates that are worked on together, and how far all of them were when it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Among {
    /// The lineage.
    pub certificate: AppName,
    /// How many they are.
    pub all: usize,
    /// How many are there.
    pub done: usize,
    /// How many are not.
    pub failed: usize,
    /// For how many it is too early.
    pub waiting: usize,
}

/// Tells of one certificate's progress. Cheap to clone.
#[derive(Clone)]
pub struct Progress {
    certificate: AppName,
    begun: Instant,
    listener: Arc<dyn Fn(Note) + Send + Sync>,
}

impl Progress {
    /// Tells `listener`, and the log.
    pub fn new(certificate: AppName, listener: Arc<dyn Fn(Note) + Send + Sync>) -> Self {
        Self {
            certificate,
            begun: Instant::now(),
            listener,
        }
    }

    /// Tells that a step was reached.
    pub fn reached(&self, step: Step, detail: impl Into<String>) {
        let (certificate, detail) = (&self.certificate, detail.into());
        let elapsed = self.begun.elapsed();
        tracing::debug!(%certificate, %step, elapsed_ms = milliseconds(elapsed), detail, "a step was reached");
        (self.listener)(Note::Step {
            step,
            detail,
            elapsed_ms: milliseconds(elapsed),
            among: None,
        });
        #[cfg(debug_assertions)]
        crash_if_asked(step);
    }

    /// Tells something worth knowing.
    pub fn notice(&self, text: impl Into<String>) {
        let (certificate, text) = (&self.certificate, text.into());
        tracing::info!(%certificate, "{text}");
        (self.listener)(Note::Notice { text, among: None });
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Kills this process where a test asks for it, as a power cut would. Not in release builds.
#[cfg(debug_assertions)]
fn crash_if_asked(step: Step) {
    use rustix::process::{Signal, getpid, kill_process};

    if std::env::var("SIDEDOOR_CRASH_AT").is_ok_and(|at| at == step.as_str()) {
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal takes the whole process before this returns to anybody.
        std::thread::park();
    }
}
