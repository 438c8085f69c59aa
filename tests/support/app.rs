//! A small app: answers every request with its name, and counts.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// An app on a port of its own, with a thread of its own.
pub struct App {
    name: String,
    port: u16,
    served: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl App {
    /// Listens, so that whoever connects from now on is served.
    pub fn named(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let answer = Answering {
            body: Bytes::from(name.to_owned()),
            served: Arc::clone(&served),
        };
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    tokio::select! {
                        () = answer.everybody(listener) => {}
                        _ = stopped => {}
                    }
                });
        });
        Self {
            name: name.to_owned(),
            port,
            served,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The app's name, which is also every answer's body.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests it has answered.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Answering {
    body: Bytes,
    served: Arc<AtomicU64>,
}

impl Answering {
    async fn everybody(self, listener: TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = stream.set_nodelay(true);
            let this = self.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                let answer = this.answer();
                async move { Ok::<_, Infallible>(answer) }
            });
            connections
                .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            while connections.try_join_next().is_some() {}
        }
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        Response::new(Full::new(self.body.clone()))
    }
}
