//! One thing that stands in the way of validation, told so that it can be removed.

use std::fmt;

use super::syntax::Place;

/// How much an obstacle weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Validation fails for certain, or nginx refuses the door.
    Blocks,
    /// Validation may fail, by some ways or for some visitors.
    Advice,
}

/// One rule in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// How much it weighs.
    pub severity: Severity,
    /// Where the rule stands.
    pub place: Place,
    /// The rule as it stands.
    pub rule: String,
    /// What happens because of it.
    pub effect: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            rule,
            effect,
            remedy,
            ..
        } = self;
        write!(f, "{place}: `{rule}`: {effect}; {remedy}")
    }
}
