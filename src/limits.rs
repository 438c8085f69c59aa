//! How much the data path allows, and for how long. The defaults are safe to run with.

use std::time::Duration;

/// How much is allowed, and for how long. Times are kept by a coarse clock: they end up to a quarter late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Bytes in a request's head; more gets 431.
    pub header_bytes: usize,
    /// Header lines in a request's head; more gets 431.
    pub header_count: usize,
    /// Bytes in a request's target; more gets 414.
    pub target_bytes: usize,
    /// Bytes in a request's body; more gets 413. No limit unless given: the app behind knows best.
    pub body_bytes: Option<u64>,
    /// From the first byte of a head to its last; beyond it 408.
    pub header_time: Duration,
    /// How long a kept-alive connection may rest. Above the 60 s for which nginx keeps its own, so that nginx closes first.
    pub idle_time: Duration,
    /// How long a body may pause, in either direction.
    pub body_idle_time: Duration,
    /// How long an upstream may take to accept; beyond it the next address is tried, and then 504.
    pub connect_time: Duration,
    /// From the end of the request to the head of the upstream's answer; beyond it 504.
    pub response_time: Duration,
    /// Open tunnels (WebSockets and other upgrades); beyond it 503.
    pub tunnels: usize,
    /// How long a tunnel may be silent in both directions.
    pub tunnel_idle_time: Duration,
    /// Resting upstream connections kept per thread and upstream.
    pub idle_upstreams: usize,
    /// How long a resting upstream connection is kept. Below the 5 s after which Node closes its own.
    pub upstream_idle_time: Duration,
    /// Resting client connections per thread that keep their buffers; the others shrink to their socket.
    pub warm_connections: usize,
}

impl Limits {
    /// How often the clock moves on: a quarter of the shortest time limit, within reason.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [
            self.header_time,
            self.idle_time,
            self.body_idle_time,
            self.response_time,
            self.tunnel_idle_time,
            self.upstream_idle_time,
        ]
        .into_iter()
        .min()
        .unwrap_or_default();
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            header_bytes: 32 * 1024,
            header_count: 100,
            target_bytes: 16 * 1024,
            body_bytes: None,
            header_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(75),
            body_idle_time: Duration::from_secs(60),
            connect_time: Duration::from_secs(5),
            response_time: Duration::from_secs(60),
            tunnels: 4_096,
            tunnel_idle_time: Duration::from_secs(3_600),
            idle_upstreams: 64,
            upstream_idle_time: Duration::from_secs(4),
            warm_connections: 64,
        }
    }
}
