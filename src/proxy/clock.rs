//! The coarse clock of a worker thread: milliseconds since its start, moved on by the worker's tick.
//!
//! All time limits of the data path are kept by it. A timer per request would cost a tenth of a small request (benches/README.md).

use std::cell::Cell;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Milliseconds since the worker started, as of the last tick.
pub(super) fn now() -> u64 {
    NOW.get()
}

/// Moves the clock of this thread on.
pub(super) fn set(now: u64) {
    NOW.set(now);
}
