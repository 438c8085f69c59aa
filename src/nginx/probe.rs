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

use super::settled::{Patience, Question, Settled, settle};
use crate::address::Address;
use crate::challenge::{KeyAuthorization, PREFIX};

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

/// The question whether a door is open: is this answered with our own token?
struct Probe<'a> {
    knock: &'a Knock,
    expected: &'a KeyAuthorization,
}

impl Question for Probe<'_> {
    type Other = Saw;

    async fn ask(&self) -> Result<(), Saw> {
        match &self.knock.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(no_answer)?;
                ask(stream, self.knock, self.expected).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(no_answer)?;
                ask(stream, self.knock, self.expected).await
            }
        }
    }

    fn no_answer(&self, limit: Duration) -> Saw {
        Saw::NoAnswer(format!("none within {} s", limit.as_secs()))
    }
}

/// Knocks until our token comes back for good.
pub async fn prove(
    knock: &Knock,
    expected: &KeyAuthorization,
    patience: Patience,
) -> Result<Settled, NotProven> {
    let probe = Probe { knock, expected };
    let settled = settle(&probe, patience).await;
    settled.map_err(|saw| NotProven {
        knock: knock.clone(),
        saw,
    })
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
