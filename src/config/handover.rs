//! What follows when a certificate is live: how many of its predecessors are kept.

use super::reader::Section;

/// What follows when a certificate is live. Its keys stand in `[acme]` and in apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// How many versions of a certificate are kept, the live one among them.
    pub keep: usize,
}

impl Default for Handover {
    fn default() -> Self {
        Self { keep: 5 }
    }
}

impl Handover {
    /// Takes over each key that is written in `section`.
    pub(super) fn override_from(&mut self, section: &mut Section<'_>) {
        // The one before the live one is what goes back when nginx won't have the next.
        if let Some(keep) = section.number("keep", 2) {
            self.keep = keep;
        }
    }
}
