//! The resting upstream connections of one worker thread, last in first out: the warmest is used, the coldest ages.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::task::Context;

use super::clock;
use super::link::Link;
use super::peer::Peer;
use crate::limits::Limits;

thread_local! {
    static RESTING: RefCell<HashMap<u64, VecDeque<Resting>>> = RefCell::default();
}

struct Resting {
    link: Box<Link>,
    since: u64,
}

/// The connection that rested last, if it still stands.
pub(super) fn take(peer: &Peer, cx: &mut Context<'_>) -> Option<Box<Link>> {
    RESTING.with_borrow_mut(|resting| {
        let links = resting.get_mut(&peer.id)?;
        while let Some(Resting { mut link, .. }) = links.pop_back() {
            if link.is_quiet(cx) {
                return Some(link);
            }
        }
        None
    })
}

/// Keeps a connection for the next request.
pub(super) fn put(mut link: Box<Link>, limits: &Limits) {
    link.settle();
    RESTING.with_borrow_mut(|resting| {
        let links = resting.entry(link.peer.id).or_default();
        if links.len() >= limits.idle_upstreams {
            links.pop_front();
        }
        if limits.idle_upstreams > 0 {
            links.push_back(Resting {
                link,
                since: clock::now(),
            });
        }
    });
}

/// Closes what has rested for too long. Says whether anything is left.
pub(super) fn age(limits: &Limits) -> bool {
    let oldest = clock::now().saturating_sub(limits.upstream_idle_time.as_millis() as u64);
    RESTING.with_borrow_mut(|resting| {
        resting.retain(|_, links| {
            while links.front().is_some_and(|first| first.since < oldest) {
                links.pop_front();
            }
            !links.is_empty()
        });
        !resting.is_empty()
    })
}

/// Closes all.
pub(super) fn clear() {
    RESTING.with_borrow_mut(HashMap::clear);
}
