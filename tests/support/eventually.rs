//! Waiting for something that tells nobody when it happens: a file, a port, a process.

use std::thread;
use std::time::{Duration, Instant};

/// So often is looked again: short beside what is waited for, long beside the look.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Asks until there is an answer, and gives that; panics with `what` was missing after `deadline`.
pub fn eventually<T>(what: &str, deadline: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(
            start.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        thread::sleep(LOOK_AGAIN);
    }
}
