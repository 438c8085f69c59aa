//! The doubles: an app that records what reaches it byte for byte, a site with our proxy before it, and a client that sends raw bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sidedoor::challenge::KeyAuthorization;
use sidedoor::exposition::Page;
use sidedoor::proxy::challenges::{Challenges, Presented};
use sidedoor::proxy::{Address, Gate, Listener, Proxy, Route, Routes, Settings, Trust};

/// Nothing that is waited for takes longer, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection at one end of which a test stands.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Everything up to and including `mark`, or what came before the end.
    pub(crate) fn read_until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.ahead.windows(mark.len()).position(|w| w == mark) {
                return self.ahead.drain(..at + mark.len()).collect();
            }
            if !self.read_more() {
                return std::mem::take(&mut self.ahead);
            }
        }
    }

    /// Forgets what was read ahead, and says how much it was.
    pub(crate) fn take_ahead(&mut self) -> usize {
        std::mem::take(&mut self.ahead).len()
    }

    pub(crate) fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length && self.read_more() {}
        let length = length.min(self.ahead.len());
        self.ahead.drain(..length).collect()
    }

    /// Everything until the other end closes. A reset is shown, not hidden.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.try_read_more() {
                Ok(true) => {}
                Ok(false) => return std::mem::take(&mut self.ahead),
                Err(error) => {
                    let mut read = std::mem::take(&mut self.ahead);
                    read.extend_from_slice(format!("[{:?}]", error.kind()).as_bytes());
                    return read;
                }
            }
        }
    }

    fn read_more(&mut self) -> bool {
        self.try_read_more().unwrap_or(false)
    }

    fn try_read_more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let length = self.stream.read(&mut piece)?;
        self.ahead.extend_from_slice(&piece[..length]);
        Ok(length > 0)
    }

    /// One message, head and body, as raw bytes; empty at the end.
    pub(crate) fn read_message(&mut self, has_body: bool) -> Vec<u8> {
        let mut message = self.read_until(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
        if !has_body {
            return message;
        }
        if head.contains("\r\ntransfer-encoding: chunked") {
            loop {
                let line = self.read_until(b"\r\n");
                message.extend_from_slice(&line);
                let digits = String::from_utf8_lossy(&line);
                let digits = digits.trim().split(';').next().unwrap().trim().to_owned();
                let Ok(size) = usize::from_str_radix(&digits, 16) else {
                    return message;
                };
                if size == 0 {
                    break;
                }
                message.extend(self.read_exactly(size + 2));
            }
            loop {
                let line = self.read_until(b"\r\n");
                message.extend_from_slice(&line);
                if line == b"\r\n" || line.is_empty() {
                    return message;
                }
            }
        }
        if let Some((_, rest)) = head.split_once("\r\ncontent-length:") {
            let length = rest.lines().next().unwrap().trim().parse().unwrap();
            message.extend(self.read_exactly(length));
        }
        message
    }

    /// One answer as text.
    pub(crate) fn answer(&mut self) -> String {
        let message = self.read_message(true);
        String::from_utf8_lossy(&message).into_owned()
    }

    /// Whether the other end has closed in an orderly way.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && matches!(self.try_read_more(), Ok(false))
    }
}

/// An app: answers with a function of its own, and records every request it reads.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) seen: mpsc::Receiver<Vec<u8>>,
    accepted: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One connection as the app sees it.
pub(crate) struct Guest {
    pub(crate) wire: Wire,
    seen: mpsc::Sender<Vec<u8>>,
}

impl Guest {
    /// The next request's bytes; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Vec<u8>> {
        let request = self.wire.read_message(true);
        if request.is_empty() {
            return None;
        }
        let _the_test_may_be_over = self.seen.send(request.clone());
        Some(request)
    }
}

impl App {
    /// An app that does this with every connection.
    pub(crate) fn serving(serve: impl Fn(&mut Guest) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let serve = Arc::new(serve);
        let thread = std::thread::spawn({
            let (accepted, stopping) = (Arc::clone(&accepted), Arc::clone(&stopping));
            move || {
                let mut guests: Vec<(_, JoinHandle<()>)> = Vec::new();
                for stream in listener.incoming() {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    // A thread's stack stays until somebody lets go of it.
                    guests.retain(|(_, thread)| !thread.is_finished());
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let keeper = Arc::new(Mutex::new(stream.try_clone().ok()));
                    let kept = Arc::clone(&keeper);
                    let mut guest = Guest {
                        wire: Wire::new(stream),
                        seen: sender.clone(),
                    };
                    let serve = Arc::clone(&serve);
                    let thread = std::thread::spawn(move || {
                        // An app that gives up is part of some tests; their assertions are about what the client sees.
                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            serve(&mut guest);
                        }));
                        // The connection closes here, in whichever way the app has chosen.
                        kept.lock().unwrap().take();
                    });
                    guests.push((keeper, thread));
                }
                for (stream, thread) in guests {
                    if let Some(stream) = &*stream.lock().unwrap() {
                        let _already_closed = stream.shutdown(Shutdown::Both);
                    }
                    let _ = thread.join();
                }
            }
        });
        Self {
            address,
            seen,
            accepted,
            stopping,
            thread: Some(thread),
        }
    }

    /// An app that gives every request the same answer.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::serving(move |guest| {
            while guest.request().is_some() {
                guest.wire.send(&answer);
            }
        })
    }

    /// An app that says hello.
    pub(crate) fn hello() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 5\r\n\r\nhello")
    }

    /// The next request that reached it, as text.
    pub(crate) fn saw(&self) -> String {
        String::from_utf8_lossy(&self.seen.recv_timeout(PATIENCE).unwrap()).into_owned()
    }

    /// Whether no request has reached it that hasn't been looked at.
    pub(crate) fn saw_nothing_more(&self) -> bool {
        self.seen.try_recv().is_err()
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _wakes_the_listener = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A proxy with everything around it.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) proxy: Option<Proxy>,
}

impl Site {
    /// Our proxy before this app.
    pub(crate) fn before(app: &App) -> Self {
        Self::with(vec![route_to(&[app])], Settings::default())
    }

    pub(crate) fn with_settings(app: &App, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        Self::with(vec![route_to(&[app])], settings)
    }

    pub(crate) fn with(routes: Vec<Route>, settings: Settings) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        Self::listening(listener, routes, settings)
    }

    pub(crate) fn listening(listener: Listener, routes: Vec<Route>, settings: Settings) -> Self {
        let challenges = Arc::new(Challenges::default());
        let gate = Gate::new(Arc::clone(&challenges), Routes::new(routes), settings);
        let Address::Tcp(address) = *listener.address() else {
            panic!("not TCP");
        };
        let proxy = Proxy::start(vec![listener], Arc::clone(&gate), 1).unwrap();
        Self {
            address,
            gate,
            challenges,
            proxy: Some(proxy),
        }
    }

    pub(crate) fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).unwrap())
    }

    /// What it has counted.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.gate.write_metrics(&mut page);
        page.finish()
    }

    /// One request on a connection of its own, and its answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        self.client().send(request).answer()
    }

    /// Answers this token from now on.
    pub(crate) fn present(&self, token: &str) -> Presented {
        self.challenges.present(&key_authorization(token))
    }
}

pub(crate) fn key_authorization(token: &str) -> KeyAuthorization {
    let text = format!("{token}.{}", "k".repeat(43));
    KeyAuthorization::new(token.parse().unwrap(), &text).unwrap()
}

/// A default route to these apps.
pub(crate) fn route_to(apps: &[&App]) -> Route {
    Route {
        app: "app".parse().unwrap(),
        hosts: Vec::new(),
        upstreams: apps
            .iter()
            .map(|app| format!("http://{}", app.address).parse().unwrap())
            .collect(),
        is_default: true,
        trust: Trust::default(),
    }
}

/// What a request becomes that comes from 127.0.0.1 with `Host: a.example`: these fields are put behind its own.
pub(crate) fn origin(site: &Site) -> String {
    format!(
        "x-forwarded-for: 127.0.0.1\r\nx-real-ip: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: a.example\r\nx-forwarded-port: {}\r\n",
        site.address.port()
    )
}
