//! What the CA visits: answers with the key authorizations it was given, and notices each visit.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sidedoor::acme::Presenter;
use sidedoor::challenge::{KeyAuthorization, token_in};
use sidedoor::identifier::Identifier;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, String>>,
    visits: AtomicUsize,
    visited: Notify,
}

/// A responder on loopback; it ends when the first of its handles is dropped.
pub(crate) struct Responder {
    address: SocketAddr,
    state: Arc<State>,
    /// The visits this handle has told of.
    seen: AtomicUsize,
    /// Names at which it shows something else.
    broken: Vec<Identifier>,
    _server: Option<JoinSet<()>>,
}

impl Responder {
    pub(crate) async fn start() -> Self {
        Self::broken_for(&[]).await
    }

    /// One that shows a wrong key authorization for these names.
    pub(crate) async fn broken_for(names: &[Identifier]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        server.spawn(async move {
            let mut visits = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                visits.spawn(async move {
                    let _ = answer(stream, &state).await;
                });
            }
        });
        Self {
            address,
            state,
            seen: AtomicUsize::new(0),
            broken: names.to_vec(),
            _server: Some(server),
        }
    }

    /// A further handle, for an order beside others.
    pub(crate) fn another(&self) -> Self {
        Self {
            address: self.address,
            state: Arc::clone(&self.state),
            seen: AtomicUsize::new(self.visits()),
            broken: self.broken.clone(),
            _server: None,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn visits(&self) -> usize {
        self.state.visits.load(Ordering::Relaxed)
    }
}

impl Presenter for Responder {
    async fn present(&self, identifier: &Identifier, key_authorization: &KeyAuthorization) {
        let token = key_authorization.token().to_string();
        let answer = match self.broken.contains(identifier) {
            true => "something else".to_owned(),
            false => key_authorization.as_str().to_owned(),
        };
        self.state.answers.lock().unwrap().insert(token, answer);
    }

    async fn visited(&self) {
        loop {
            let next = self.state.visited.notified();
            let visits = self.visits();
            if self.seen.swap(visits, Ordering::Relaxed) < visits {
                return;
            }
            next.await;
        }
    }
}

async fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let answers = state.answers.lock().unwrap().clone();
    let response = match token_in(path).and_then(|token| answers.get(token)) {
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
        None => {
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        }
    };
    stream.write_all(response.as_bytes()).await?;
    state.visits.fetch_add(1, Ordering::Relaxed);
    state.visited.notify_waiters();
    Ok(())
}
