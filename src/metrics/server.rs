//! The server of `metrics`: answers `GET /metrics`, and nothing else. Its own, so that nobody reaches it by a door.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;
use crate::exposition;
use crate::proxy::{Listener, Listening};

/// Who asks, asks at once and reads what it gets.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// So many may ask at a time; the others wait.
const AT_ONCE: usize = 16;
/// How long accepting pauses when there are no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound server of metrics.
#[derive(Debug)]
pub struct MetricsServer {
    listening: Listening,
}

impl MetricsServer {
    /// Takes over a bound listener. Within a runtime.
    ///
    /// # Errors
    /// If the runtime can't take it.
    pub fn new(listener: Listener) -> io::Result<Self> {
        Ok(Self {
            listening: Listening::alone(listener)?,
        })
    }

    /// Answers until told to stop, and then those who have asked.
    pub async fn serve(self, metrics: Metrics, stop: CancellationToken) {
        let metrics = Arc::new(metrics);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let tasks = TaskTracker::new();
        loop {
            let next = async {
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                (self.listening.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics can't be accepted");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let metrics = Arc::clone(&metrics);
            tasks.spawn(async move {
                let _held_until_the_end = place;
                let service = service_fn(|request| {
                    let metrics = Arc::clone(&metrics);
                    async move { Ok::<_, Infallible>(answer(metrics, &request).await) }
                });
                let serving = http1::Builder::new()
                    .keep_alive(false)
                    .header_read_timeout(None)
                    .serve_connection(TokioIo::new(stream), service);
                let _gone_or_too_slow = tokio::time::timeout(CONNECTION_LIMIT, serving).await;
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

async fn answer(metrics: Arc<Metrics>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let refused = |status, text: &'static str| {
        let mut answer = Response::new(Full::from(text));
        *answer.status_mut() = status;
        answer
    };
    if request.uri().path() != "/metrics" {
        return refused(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are answered here\n",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return answer;
    }
    let page = match tokio::task::spawn_blocking(move || metrics.page()).await {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, "metrics can't be told");
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "see sidedoor's log\n");
        }
    };
    let mut answer = Response::new(Full::from(page));
    let kind = HeaderValue::from_static(exposition::CONTENT_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
