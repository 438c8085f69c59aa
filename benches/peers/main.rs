//! Two proxies to measure: ours (also with an access log), and what one writes in an afternoon with hyper-util's client.
//!
//! `peers ours|logged|naive LISTEN UPSTREAM THREADS` serves until it is killed. benches/peers/run.py puts them beside nginx and HAProxy.

// A bench that can't start has nothing better to do than to stop.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sidedoor::challenge::KeyAuthorization;
use sidedoor::proxy::challenges::Challenges;
use sidedoor::proxy::{
    AccessFormat, AccessLog, Gate, Listener, Proxy, Route, Routes, Settings, Trust,
};
use tokio_util::task::TaskTracker;

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["ours", listen, upstream, threads] => {
            ours(
                listen,
                upstream,
                threads.parse().unwrap(),
                Settings::default(),
            );
        }
        ["logged", listen, upstream, threads] => {
            let nowhere = std::fs::File::create("/dev/null").unwrap();
            let log = AccessLog::new(AccessFormat::Json, Box::new(nowhere)).unwrap();
            let settings = Settings {
                access_log: Some(Arc::new(log)),
                ..Settings::default()
            };
            ours(listen, upstream, threads.parse().unwrap(), settings);
        }
        ["naive", listen, upstream, threads] => naive(
            listen.parse().unwrap(),
            upstream.parse().unwrap(),
            threads.parse().unwrap(),
        ),
        _ => eprintln!("peers ours|logged|naive LISTEN UPSTREAM THREADS; run benches/peers/run.py"),
    }
}

const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

fn ours(listen: &str, upstream: &str, threads: usize, settings: Settings) {
    let challenges = Arc::new(Challenges::default());
    let key_authorization = format!("{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
    let _presented = challenges
        .present(&KeyAuthorization::new(TOKEN.parse().unwrap(), &key_authorization).unwrap());
    let route = Route {
        app: "bench".parse().unwrap(),
        hosts: vec!["bench.example".parse().unwrap()],
        upstreams: vec![format!("http://{upstream}").parse().unwrap()],
        is_default: true,
        trust: Trust::default(),
    };
    let gate = Gate::new(challenges, Routes::new(vec![route]), settings);
    let listener = Listener::bind(&listen.parse().unwrap()).unwrap();
    let _proxy = Proxy::start(vec![listener], gate, threads).unwrap();
    loop {
        std::thread::park();
    }
}

type Forwarder = Client<HttpConnector, Incoming>;

fn naive(listen: SocketAddr, upstream: Authority, threads: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Forwarder = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = stream.set_nodelay(true);
            let (client, upstream) = (client.clone(), upstream.clone());
            connections.spawn(async move {
                let service = service_fn(|request| forward(&client, &upstream, request));
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn forward(
    client: &Forwarder,
    upstream: &Authority,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, hyper::Error> {
    if request
        .uri()
        .path()
        .starts_with("/.well-known/acme-challenge/")
    {
        let body = Full::from(format!("{TOKEN}.thumbprint")).map_err(|never| match never {});
        return Ok(Response::new(body.boxed()));
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream.clone());
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    request.headers_mut().remove(header::CONNECTION);
    Ok(match client.request(request).await {
        Ok(answer) => answer.map(BodyExt::boxed),
        Err(_) => {
            let body = Full::default().map_err(|never| match never {});
            let mut answer = Response::new(body.boxed());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    })
}
