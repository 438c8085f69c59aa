//! Proves that a door is open: our own token has to come back through nginx, from its new workers, before a CA is told to look.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::reach::{self, Stream};
use super::settled::{Patience, Question, Settled, settle};
use crate::address::Address;
use crate::challenge::{KeyAuthorization, PREFIX};

/// So many redirects a CA follows (Boulder's validator).
const REDIRECTS: usize = 10;

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
#[error("the door is not open: nginx at {} answers our probe for {} with {answer}", knock.address, knock.host)]
pub struct NotProven {
    /// Which knock failed.
    pub knock: Knock,
    /// What came back last.
    pub answer: Answer,
}

/// What came back, and where redirects had led until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The URLs that redirects have led to, in their order.
    pub hops: Vec<String>,
    /// What came back there.
    pub saw: Saw,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hops[..] {
            [] => self.saw.fmt(f),
            [only] => write!(f, "a redirect to {only}, and there with {}", self.saw),
            [.., last] => write!(
                f,
                "{} redirects, the last to {last}, and there with {}",
                self.hops.len(),
                self.saw
            ),
        }
    }
}

/// The question whether a door is open: is this answered with our own token?
struct Probe<'a> {
    knock: &'a Knock,
    expected: &'a KeyAuthorization,
}

impl Question for Probe<'_> {
    type Other = Answer;

    /// Asks as a CA does, redirects included, but always the nginx that was knocked at.
    async fn ask(&self) -> Result<(), Answer> {
        let mut hop = Hop::first(self.knock, self.expected);
        let mut hops = Vec::new();
        loop {
            let saw = match self.ask_at(&hop).await {
                Ok(()) => return Ok(()),
                Err(saw) => saw,
            };
            let next = match &saw {
                Saw::Status(status, Some(location)) if is_followed(*status) => {
                    hop.redirected(location, self.knock)
                }
                _ => None,
            };
            match next {
                Some(next) if hops.len() < REDIRECTS => {
                    hops.push(next.url());
                    hop = next;
                }
                _ => return Err(Answer { hops, saw }),
            }
        }
    }

    fn no_answer(&self, limit: Duration) -> Answer {
        Answer {
            hops: Vec::new(),
            saw: Saw::NoAnswer(format!("none within {} s", limit.as_secs())),
        }
    }
}

impl Probe<'_> {
    async fn ask_at(&self, hop: &Hop) -> Result<(), Saw> {
        let stream = reach::connect(&hop.address, self.knock.proxy_protocol);
        let stream = stream.await.map_err(no_answer)?;
        if !hop.tls {
            return ask(stream, hop, self.expected).await;
        }
        let host = hop.host.trim_start_matches('[').trim_end_matches(']');
        let tls = reach::shake_hands(stream, host).await;
        ask(Box::new(tls.map_err(no_answer)?), hop, self.expected).await
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
    settled.map_err(|answer| NotProven {
        knock: knock.clone(),
        answer,
    })
}

/// Where one request goes.
struct Hop {
    address: Address,
    tls: bool,
    host: String,
    /// As a redirect names it; nothing where it goes without saying.
    port: Option<u16>,
    path: PathAndQuery,
}

impl Hop {
    fn first(knock: &Knock, expected: &KeyAuthorization) -> Self {
        let path = format!("{PREFIX}{}", expected.token());
        Self {
            address: knock.address.clone(),
            tls: false,
            host: knock.host.clone(),
            port: None,
            // invariant: a token is base64url, which a path may hold.
            path: PathAndQuery::try_from(path).unwrap_or_else(|_| PathAndQuery::from_static("/")),
        }
    }

    /// Where a redirect leads, if a CA would go there.
    fn redirected(&self, location: &str, knock: &Knock) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        let absolute = match location.as_bytes() {
            [b'/', b'/', ..] => format!("{scheme}:{location}"),
            [b'/', ..] => format!("{scheme}://{}{location}", self.authority()),
            _ => location.to_owned(),
        };
        let to: Uri = absolute.parse().ok()?;
        let tls = match to.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let host = to.host()?;
        // What follows the host and is no port can't be gone to.
        if to.port_u16().is_none() && to.authority()?.as_str() != host {
            return None;
        }
        let port = to.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self {
            address: address_of(port, knock)?,
            tls,
            host: host.to_owned(),
            port: to.port_u16(),
            path: to.path_and_query()?.clone(),
        })
    }

    fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }
}

fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 307 | 308)
}

/// Where the same nginx listens on this port, if a CA would go there: to 80 and 443 only. An nginx that is knocked at
/// elsewhere has something before it that maps ports, so any may be meant.
fn address_of(port: u16, knock: &Knock) -> Option<Address> {
    let (ip, own) = match &knock.address {
        Address::Tcp(address) => (address.ip(), Some(address.port())),
        Address::Unix(_) => (IpAddr::from(Ipv4Addr::LOCALHOST), None),
    };
    match (port, own) {
        // Port 80 is where the knock stands for.
        (80, _) => Some(knock.address.clone()),
        (443, _) => Some(Address::Tcp((ip, port).into())),
        (_, Some(80)) => None,
        _ => Some(Address::Tcp((ip, port).into())),
    }
}

#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn no_answer(error: io::Error) -> Saw {
    Saw::NoAnswer(error.to_string())
}

async fn ask(stream: Box<dyn Stream>, hop: &Hop, expected: &KeyAuthorization) -> Result<(), Saw> {
    const BODY_LIMIT: usize = 4096;
    let broken = |error: hyper::Error| Saw::NoAnswer(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = Request::get(hop.path.as_str())
        .header(header::HOST, hop.authority())
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
                // A CA takes no offence at white space behind it.
                body if body.trim_ascii_end() == expected.as_str().as_bytes() => Ok(()),
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

#[cfg(test)]
mod tests;
