//! Free ports on 127.0.0.1 for servers that can't be given a listening socket.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux), so that our own load can't take
/// a port between the choice and the server's bind.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// What this process has handed out already: no two doubles of one test binary are given the same port.
static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port nobody listens on. Another process may still come first: servers are started anew with other ports then.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let random = RandomState::new();
    (0_u64..1_000)
        .map(|n| RANGE.start + (random.hash_one(n) % u64::from(RANGE.end - RANGE.start)) as u16)
        .find(|port| {
            !taken.contains(port)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
                && taken.insert(*port)
        })
        .expect("a free port on 127.0.0.1")
}
