//! An app's users: a bounded, steady load over kept and new connections, which misses nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::certificate::{TRUSTING_ANYBODY, connect_tls};
use super::exchange::{Fault, connect, exchange, request};
use super::{App, Kind, Nginx, Tally, eventually};

/// A load that nobody stops ends by itself after so many requests or so long.
const MOST_REQUESTS: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(300);

/// Users of one app, who haven't come yet.
pub struct Load {
    users: User,
    kept_alive: usize,
    new: usize,
    per_second: u32,
}

/// Users who are there until they are told to go.
pub struct Crowd {
    users: Vec<JoinHandle<Tally>>,
    shared: Arc<Shared>,
}

impl Load {
    /// Users who ask this nginx for `host` and expect this app's answer: 4 over kept connections and 2 over new ones, together 2,000
    /// requests a second.
    pub fn on(nginx: &Nginx, host: &str, app: &App) -> Self {
        Self::at(nginx.http_port(), host, app.name())
    }

    /// The same at a port of 127.0.0.1.
    pub fn at(port: u16, host: &str, expected: &str) -> Self {
        Self {
            users: User {
                port,
                tls: false,
                host: host.to_owned(),
                expected: expected.as_bytes().to_owned(),
            },
            kept_alive: 4,
            new: 2,
            per_second: 2_000,
        }
    }

    /// Over TLS at this port. Certificates aren't checked: who is served a placeholder is served.
    pub fn over_tls(mut self, port: u16) -> Self {
        self.users.port = port;
        self.users.tls = true;
        self
    }

    /// So many users, each with one request at a time.
    pub fn users(mut self, kept_alive: usize, new: usize) -> Self {
        (self.kept_alive, self.new) = (kept_alive, new);
        self
    }

    /// All users together make at most so many requests a second.
    pub fn per_second(mut self, requests: u32) -> Self {
        self.per_second = requests;
        self
    }

    /// The users come.
    pub fn start(self) -> Crowd {
        let shared = Arc::new(Shared {
            sent: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            start: Instant::now(),
            each: Duration::from_secs(1) / self.per_second,
        });
        let kinds = std::iter::repeat_n(Kind::KeptAlive, self.kept_alive)
            .chain(std::iter::repeat_n(Kind::New, self.new));
        let users = kinds
            .map(|kind| {
                let (user, shared) = (self.users.clone(), Arc::clone(&shared));
                thread::spawn(move || user.ask(kind, &shared))
            })
            .collect();
        Crowd { users, shared }
    }
}

impl Crowd {
    /// How many requests they have made so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until they have made so many requests.
    pub fn reach(&self, requests: u64) {
        let what = format!("{requests} requests");
        eventually(&what, LONGEST, || (self.sent() >= requests).then_some(()));
    }

    /// They go once they have made so many requests.
    pub fn stop_at(self, requests: u64) -> Tally {
        self.reach(requests);
        self.stop()
    }

    /// They finish what they have begun, and go.
    pub fn stop(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for user in self.users.drain(..) {
            tally.add(&user.join().unwrap());
        }
        tally
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for user in self.users.drain(..) {
            let _ = user.join();
        }
    }
}

struct Shared {
    sent: AtomicU64,
    stop: AtomicBool,
    start: Instant,
    /// The steady beat: one request each.
    each: Duration,
}

impl Shared {
    /// Waits for the next beat; `false` once it is time to go.
    fn next(&self) -> bool {
        let nth = self.sent.fetch_add(1, Ordering::Relaxed);
        let beat = self.each * u32::try_from(nth).unwrap_or(u32::MAX);
        if let Some(early) = beat.checked_sub(self.start.elapsed()) {
            thread::sleep(early);
        }
        let go_on = !self.stop.load(Ordering::Relaxed)
            && nth < MOST_REQUESTS
            && self.start.elapsed() < LONGEST;
        if !go_on {
            self.sent.fetch_sub(1, Ordering::Relaxed);
        }
        go_on
    }
}

/// One of the users.
#[derive(Clone)]
struct User {
    port: u16,
    tls: bool,
    host: String,
    expected: Vec<u8>,
}

impl User {
    fn ask(self, kind: Kind, shared: &Shared) -> Tally {
        let mut tally = Tally::default();
        let mut kept = None;
        let request = request(&self.host, "/", kind == Kind::New);
        while shared.next() {
            tally.count(kind).sent += 1;
            if let Err(reason) = self.once(&mut kept, &request, kind, &mut tally) {
                kept = None;
                let at = shared.start.elapsed().as_millis();
                tally.failed(kind, reason);
                // The first few are told with their time, so that they can be found in the servers' logs.
                if tally.count(kind).failed <= 3 {
                    eprintln!("a request over {kind} failed {at} ms into the load");
                }
            }
        }
        tally.took = shared.start.elapsed();
        tally
    }

    fn once(
        &self,
        kept: &mut Option<Stream>,
        request: &[u8],
        kind: Kind,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let reused = kept.is_some();
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => self.connect(kind, tally)?,
        };
        let answer = match exchange(&mut stream, request) {
            // A kept connection may be closed at any time; what was sent over it then has not been read (RFC 9112 9.3.1).
            Err(Fault::Unanswered(_)) if reused => {
                tally.count(kind).repeated += 1;
                stream = self.connect(kind, tally)?;
                exchange(&mut stream, request)
            }
            answer => answer,
        }
        .map_err(|fault| fault.reason().to_owned())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        if answer.body != self.expected {
            return Err("a wrong body".to_owned());
        }
        if kind == Kind::KeptAlive && !answer.closes() {
            *kept = Some(stream);
        }
        Ok(())
    }

    fn connect(&self, kind: Kind, tally: &mut Tally) -> Result<Stream, String> {
        tally.count(kind).connections += 1;
        let stream = if self.tls {
            connect_tls(self.port, &self.host, &TRUSTING_ANYBODY)
                .map(|stream| Stream::Tls(Box::new(stream)))
        } else {
            connect(self.port).map(Stream::Plain)
        };
        stream.map_err(|error| format!("not connected: {error}"))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
