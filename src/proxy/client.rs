//! One client connection as everybody who has to do with it sees it: who it is, what it is doing, and since when.
//!
//! Only the thread that serves the connection writes here; the atomics are there because tasks have to be `Send`, and cost what plain fields cost.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::clock;
use super::gate::Gate;
use super::link::Link;
use super::terms::Terms;

/// What a connection is doing. Each has its own time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between two requests.
    Resting,
    /// Part of a request's head has come.
    ReadingHead,
    /// The request's body is passed on.
    Uploading,
    /// The upstream has the request and thinks.
    Waiting,
    /// The answer is under way.
    Sending,
    /// Bytes pass both ways, unread.
    Tunnel,
    /// The last answer is sent; what the client still sends is thrown away, so that no reset overtakes the answer.
    Lingering,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Resting,
        Self::ReadingHead,
        Self::Uploading,
        Self::Waiting,
        Self::Sending,
        Self::Tunnel,
        Self::Lingering,
    ];
}

/// The connection has been in its phase for longer than allowed.
const EXPIRED: u8 = 1;
/// Finish what is under way and end.
const DRAIN: u8 = 2;
/// Too many rest: shrink to the socket.
const FOLD: u8 = 4;
/// The connection's task is over.
const ENDED: u8 = 8;

/// How long a client may go on sending after its last answer.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// How long a client that has asked for nothing yet may wait with it while we drain.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// A client connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) gate: Arc<Gate>,
    /// The peer's address; none on a unix socket.
    pub(super) address: Option<IpAddr>,
    /// The same as text, for headers and logs.
    pub(super) address_text: Box<str>,
    /// The port it came in by; none on a unix socket.
    pub(super) local_port: Option<u16>,
    /// What its present request is served under, or its next one.
    terms: Mutex<Arc<Terms>>,
    trusted: AtomicBool,
    phase: AtomicU8,
    since: AtomicU64,
    signals: AtomicU8,
    /// Everything answered so far has left our buffers.
    flushed: AtomicBool,
    /// It has had an answer, so that it may be closed between two requests.
    served: AtomicBool,
    /// Whether bytes of a request were left unread when it was answered.
    unread: AtomicBool,
    /// It stands in the thread's list of connections that keep their buffers.
    pub(super) is_warm: AtomicBool,
    /// It has had a request since that list last looked.
    pub(super) is_used: AtomicBool,
    /// The task's waker; every poll of the task has the same one, so it is noted once.
    waker: Mutex<Option<Waker>>,
    /// The upstream's half of a tunnel, from the 101 until the connection's task takes it.
    tunnel: Mutex<Option<Box<Link>>>,
}

impl Client {
    pub(super) fn new(gate: Arc<Gate>, address: Option<IpAddr>, local_port: Option<u16>) -> Self {
        let address = address.map(|address| address.to_canonical());
        let terms = gate.terms.get();
        Self {
            trusted: AtomicBool::new(is_trusted(address, &terms)),
            terms: Mutex::new(terms),
            address,
            address_text: address.map_or_else(
                || "unix:".into(),
                |address| address.to_string().into_boxed_str(),
            ),
            local_port,
            gate,
            phase: AtomicU8::new(Phase::Resting as u8),
            since: AtomicU64::new(clock::now()),
            signals: AtomicU8::new(0),
            flushed: AtomicBool::new(true),
            served: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            is_warm: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            waker: Mutex::new(None),
            tunnel: Mutex::new(None),
        }
    }

    /// The same peer, from the beginning.
    pub(super) fn again(&self) -> Self {
        Self::new(Arc::clone(&self.gate), self.address, self.local_port)
    }

    /// Whether it may say whom it speaks for.
    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Relaxed)
    }

    /// What its present request is served under, or its last one.
    pub(super) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes on the terms of now. Only between two requests.
    pub(super) fn renew_terms(&self) -> Arc<Terms> {
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if terms.generation != self.gate.terms.generation() {
            *terms = self.gate.terms.get();
            self.trusted
                .store(is_trusted(self.address, &terms), Relaxed);
        }
        Arc::clone(&terms)
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }

    /// Enters a phase, whose time limit starts now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.touch();
    }

    /// Something has moved: the phase's time limit starts anew.
    pub(super) fn touch(&self) {
        self.since.store(clock::now(), Relaxed);
    }

    /// The answer is complete, though perhaps not yet sent.
    pub(super) fn answered(&self) {
        self.flushed.store(false, Relaxed);
        self.served.store(true, Relaxed);
        self.enter(Phase::Resting);
    }

    pub(super) fn set_flushed(&self) {
        self.flushed.store(true, Relaxed);
    }

    /// No request is under way, and every answer has been sent.
    pub(super) fn is_between_requests(&self) -> bool {
        self.flushed.load(Relaxed) && matches!(self.phase(), Phase::Resting | Phase::ReadingHead)
    }

    /// Nothing has come since the last answer was sent.
    pub(super) fn is_resting(&self) -> bool {
        self.flushed.load(Relaxed) && self.phase() == Phase::Resting
    }

    pub(super) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Relaxed);
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.signals.load(Relaxed) & EXPIRED != 0
    }

    pub(super) fn is_draining(&self) -> bool {
        self.signals.load(Relaxed) & DRAIN != 0
    }

    /// Whether it is to end as soon as HTTP lets it. Who has just come gets a moment to ask: a request may be on its way.
    pub(super) fn is_to_end(&self) -> bool {
        self.is_draining() && (self.served.load(Relaxed) || self.phase() != Phase::Resting)
    }

    /// Whether any signal has come.
    pub(super) fn is_signalled(&self) -> bool {
        self.signals.load(Relaxed) != 0
    }

    /// It gets a last answer, whose time limit starts anew.
    pub(super) fn clear_expired(&self) {
        self.signals.fetch_and(!EXPIRED, Relaxed);
    }

    /// Its task is over.
    pub(super) fn end(&self) {
        self.signals.fetch_or(ENDED, Relaxed);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.signals.load(Relaxed) & ENDED != 0
    }

    /// Whether it has been asked to shrink; asked once.
    pub(super) fn take_fold(&self) -> bool {
        self.signals.fetch_and(!FOLD, Relaxed) & FOLD != 0
    }

    /// Notes whom to wake. Called at the task's start.
    pub(super) fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn signal(&self, signal: u8) {
        self.signals.fetch_or(signal, Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }

    /// Asks the connection to finish what is under way and end.
    pub(super) fn drain(&self) {
        self.signal(DRAIN);
    }

    /// Asks the connection to shrink to its socket.
    pub(super) fn fold(&self) {
        self.signal(FOLD);
    }

    /// Signals the end of its time if it has been in its phase for too long.
    pub(super) fn expire(&self) {
        let phase = self.phase();
        let terms = match phase {
            Phase::Resting => self.renew_terms(),
            _ => self.terms(),
        };
        let limits = &terms.settings.limits;
        let limit = match phase {
            Phase::Resting if self.is_draining() => LAST_MOMENT.min(limits.idle_time),
            Phase::Resting => limits.idle_time,
            Phase::ReadingHead => limits.header_time,
            Phase::Uploading | Phase::Sending => limits.body_idle_time,
            Phase::Waiting => limits.response_time,
            Phase::Tunnel => limits.tunnel_idle_time,
            Phase::Lingering => LINGER_TIME,
        };
        let waited = clock::now().saturating_sub(self.since.load(Relaxed));
        if u128::from(waited) >= limit.as_millis() {
            self.signal(EXPIRED);
        }
    }

    /// Leaves the upstream's half of a tunnel for the connection's task.
    pub(super) fn set_tunnel(&self, link: Box<Link>) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }

    pub(super) fn take_tunnel(&self) -> Option<Box<Link>> {
        self.tunnel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Who comes by a unix socket could reach anything here anyway.
fn is_trusted(address: Option<IpAddr>, terms: &Terms) -> bool {
    address.is_none_or(|address| terms.settings.trusts(address))
}
