//! Which resting connections of a thread keep their buffers: the ones used lately. The others are asked to shrink to their socket.
//!
//! A hot set rather than a sweep by the clock, because a sweep frees everything at once and leaves the heap in shreds (benches/README.md).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::client::Client;

thread_local! {
    static WARM: RefCell<VecDeque<Arc<Client>>> = RefCell::default();
}

/// A connection has come to rest.
pub(super) fn note(client: &Arc<Client>) {
    client.is_used.store(true, Relaxed);
    if client.is_warm.load(Relaxed) {
        return;
    }
    client.is_warm.store(true, Relaxed);
    let room = client.terms().settings.limits.warm_connections;
    WARM.with_borrow_mut(|warm| {
        warm.push_back(Arc::clone(client));
        // Second chance: whoever has been used since the last look goes to the back once more.
        for _ in 0..warm.len() {
            if warm.len() <= room {
                return;
            }
            let Some(oldest) = warm.pop_front() else {
                return;
            };
            if oldest.is_used.swap(false, Relaxed) && !oldest.has_ended() {
                warm.push_back(oldest);
            } else {
                oldest.is_warm.store(false, Relaxed);
                oldest.fold();
            }
        }
    });
}

/// Lets go of those that have ended, and of what they still know.
pub(super) fn forget_ended() {
    WARM.with_borrow_mut(|warm| warm.retain(|client| !client.has_ended()));
}

/// The thread ends.
pub(super) fn forget_all() {
    WARM.with_borrow_mut(VecDeque::clear);
}
