//! What follows when a certificate is live: hooks, and how many of its predecessors are kept.

use std::time::Duration;

use super::reader::Section;

/// What follows when a certificate is live. Its keys stand in `[acme]` and in apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Commands that are told, one after the other.
    pub hooks: Vec<Vec<String>>,
    /// How long each of them may take.
    pub hook_time: Duration,
    /// How many versions of a certificate are kept, the live one among them.
    pub keep: usize,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            hooks: Vec::new(),
            hook_time: Duration::from_secs(60),
            keep: 5,
        }
    }
}

impl Handover {
    /// Takes over each key that is written in `section`.
    pub(super) fn override_from(&mut self, section: &mut Section<'_>) {
        if let Some(hooks) = section.commands("deploy_hook") {
            self.hooks = hooks;
        }
        if let Some(span) = section.span("deploy_hook_time") {
            if span.is_zero() {
                section.refuse("deploy_hook_time", "at least \"1s\" is needed here");
            }
            self.hook_time = span;
        }
        // The one before the live one is what goes back when nginx won't have the next.
        if let Some(keep) = section.number("keep", 2) {
            self.keep = keep;
        }
    }
}
