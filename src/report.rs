//! A failure as a person sees it: one sentence of what happened, one of what to do next.

use serde::{Deserialize, Serialize};

/// What happened, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
pub struct Report {
    /// What happened.
    pub what: String,
    /// What to do next.
    pub next_step: String,
}

impl Report {
    /// Puts the two sentences together.
    pub fn new(what: impl ToString, next_step: impl Into<String>) -> Self {
        Self {
            what: what.to_string(),
            next_step: next_step.into(),
        }
    }
}
