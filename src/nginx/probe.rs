//! Proves that a door is open: our own token has to come back through nginx, from its new workers, before a CA is told to look.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use crate::address::Address;
use crate::challenge::{KeyAuthorization, PREFIX};

/// nginx's master lets its old workers answer for 100 ms after it has started the new ones (measured, and in its source);
/// until then one good answer proves nothing.
const OLD_WORKERS_ANSWER: Duration = Duration::from_millis(110);
/// This many good answers in a row, each on a connection of its own, end a proof.
const IN_A_ROW: u32 = 5;
/// One knock takes a few milliseconds; an nginx that needs longer than this is busy starting workers.
const KNOCK_LIMIT: Duration = Duration::from_secs(5);

/// Where and for whom nginx is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Knock {
    /// An address on which nginx listens for plain HTTP.
    pub address: Address,
    /// Whether that listener wants a PROXY protocol header first.
    pub proxy_protocol: bool,
    /// The `Host` to ask for.
    pub host: String,
}

/// What came back instead of our token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saw {
    /// Nothing listens there, or the connection broke.
    NoAnswer(String),
    /// Another status; with the target of a redirect.
    Status(StatusCode, Option<String>),
    /// 200, but another body: its beginning.
    Body(String),
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(reason) => write!(f, "no answer ({reason})"),
            Self::Status(status, Some(location)) => write!(
                f,
                "status {} with a redirect to {location}",
                status.as_u16()
            ),
            Self::Status(status, None) => write!(f, "status {}", status.as_u16()),
            Self::Body(beginning) => write!(f, "another body: {beginning:?}"),
        }
    }
}

/// The door is not open as seen from outside.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the door is not open: nginx at {} answers our probe for {} with {saw}", knock.address, knock.host)]
pub struct NotProven {
    /// Which knock failed.
    pub knock: Knock,
    /// What came back last.
    pub saw: Saw,
}

/// How a proof went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// How many knocks were answered by us.
    pub good: u32,
    /// How many were answered by something else, such as workers that were about to go.
    pub other: u32,
}

/// What a proof has to wait for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// When nginx was told to reload; `None` if it wasn't, and so no old workers are about.
    pub reloaded: Option<Instant>,
    /// How long it may take at most.
    pub limit: Duration,
}

/// How long nginx may need for what took us `took` to test and reload: with 1,000 TLS hosts, new workers were there
/// 3.7 s after a command of 1.7 s (measured).
pub fn limit_after(took: Duration) -> Duration {
    Duration::from_secs(3) + 5 * took
}

/// Knocks until our token has come back often enough in a row.
pub async fn prove(
    knock: &Knock,
    expected: &KeyAuthorization,
    patience: Patience,
) -> Result<Proof, NotProven> {
    let start = Instant::now();
    let mut proof = Proof { good: 0, other: 0 };
    let mut in_a_row = 0;
    let mut first_good = None;
    let mut pause = Duration::from_millis(2);
    loop {
        match knock_once(knock, expected).await {
            Ok(()) => {
                let since = *first_good.get_or_insert_with(Instant::now);
                proof.good += 1;
                // Old workers' answers before the last wait are no news.
                let settled = patience
                    .reloaded
                    .is_none_or(|reloaded| since.elapsed() >= settling(since - reloaded));
                in_a_row = if settled { in_a_row + 1 } else { 0 };
                if in_a_row >= IN_A_ROW {
                    return Ok(proof);
                }
                pause = if settled {
                    Duration::ZERO
                } else {
                    Duration::from_millis(8)
                };
            }
            Err(saw) => {
                proof.other += 1;
                in_a_row = 0;
                if start.elapsed() >= patience.limit {
                    return Err(NotProven {
                        knock: knock.clone(),
                        saw,
                    });
                }
                pause = (pause * 3 / 2).clamp(Duration::from_millis(2), Duration::from_millis(100));
            }
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// How long old workers may still answer. A big configuration starts slowly and lets go slowly (0.9 s of 3.7 s with 1,000 TLS hosts).
fn settling(until_first_good: Duration) -> Duration {
    OLD_WORKERS_ANSWER
        .max(until_first_good / 2)
        .min(Duration::from_secs(5))
}

/// Asks once, on a new connection.
async fn knock_once(knock: &Knock, expected: &KeyAuthorization) -> Result<(), Saw> {
    let asked = async {
        match &knock.address {
            Address::Tcp(address) => {
                ask(
                    TcpStream::connect(address).await.map_err(no_answer)?,
                    knock,
                    expected,
                )
                .await
            }
            Address::Unix(path) => {
                ask(
                    UnixStream::connect(path).await.map_err(no_answer)?,
                    knock,
                    expected,
                )
                .await
            }
        }
    };
    match timeout(KNOCK_LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Saw::NoAnswer(format!(
            "none within {} s",
            KNOCK_LIMIT.as_secs()
        ))),
    }
}

#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn no_answer(error: io::Error) -> Saw {
    Saw::NoAnswer(error.to_string())
}

async fn ask<S>(mut stream: S, knock: &Knock, expected: &KeyAuthorization) -> Result<(), Saw>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    const BODY_LIMIT: usize = 4096;
    let broken = |error: hyper::Error| Saw::NoAnswer(error.to_string());
    if knock.proxy_protocol {
        stream
            .write_all(b"PROXY UNKNOWN\r\n")
            .await
            .map_err(no_answer)?;
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = Request::get(format!("{PREFIX}{}", expected.token()))
        .header(header::HOST, &knock.host)
        .header(
            header::USER_AGENT,
            concat!("sidedoor/", env!("CARGO_PKG_VERSION"), " (probe)"),
        )
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Saw::NoAnswer(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            let location = response
                .headers()
                .get(header::LOCATION)
                .map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            return Err(Saw::Status(status, location));
        }
        match Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
        {
            Ok(body) => match body.to_bytes() {
                body if body == expected.as_str() => Ok(()),
                body => Err(Saw::Body(
                    String::from_utf8_lossy(&body).chars().take(60).collect(),
                )),
            },
            Err(error) => Err(Saw::NoAnswer(error.to_string())),
        }
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before the answer has been read; the answer knows best then.
        _ = connection => answer.await,
    }
}
