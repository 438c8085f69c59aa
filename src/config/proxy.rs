//! `[proxy]`: what the data path allows, whom it believes, and what it writes down.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;
use super::show::{list, span, text};
use crate::limits::Limits;
use crate::network::Network;

/// How requests are taken and passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// How much is allowed, and for how long.
    pub limits: Limits,
    /// Whose `X-Forwarded-*` is believed; the machine itself unless given.
    pub trusted_proxies: Option<Vec<Network>>,
    /// Whether `Forwarded` is written to apps.
    pub forwarded: bool,
    /// Whether clients begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Where a line per request goes.
    pub access_log: Option<AccessLog>,
}

/// Where a line per request goes, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where: a file that is added to, or the standard output.
    pub to: LogTarget,
    /// How.
    pub format: LogFormat,
}

/// A file, or the standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// `"stdout"`.
    Stdout,
    /// A path.
    File(PathBuf),
}

/// `"json"` or `"combined"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One object per line.
    #[default]
    Json,
    /// As nginx does.
    Combined,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "combined" => Ok(Self::Combined),
            _ => Err("an access log's format is \"json\" or \"combined\""),
        }
    }
}

type Count = fn(&mut Limits) -> &mut usize;
type Span = fn(&mut Limits) -> &mut Duration;

/// The limits that are numbers, and the least that makes sense.
const COUNTS: [(&str, usize, Count); 7] = [
    ("connections", 1, |limits| &mut limits.connections),
    ("header_bytes", 1_024, |limits| &mut limits.header_bytes),
    ("header_count", 8, |limits| &mut limits.header_count),
    ("target_bytes", 256, |limits| &mut limits.target_bytes),
    ("tunnels", 0, |limits| &mut limits.tunnels),
    ("idle_upstreams", 0, |limits| &mut limits.idle_upstreams),
    ("warm_connections", 0, |limits| &mut limits.warm_connections),
];

/// The limits that are spans of time.
const SPANS: [(&str, Span); 7] = [
    ("header_time", |limits| &mut limits.header_time),
    ("idle_time", |limits| &mut limits.idle_time),
    ("body_idle_time", |limits| &mut limits.body_idle_time),
    ("connect_time", |limits| &mut limits.connect_time),
    ("response_time", |limits| &mut limits.response_time),
    ("tunnel_idle_time", |limits| &mut limits.tunnel_idle_time),
    ("upstream_idle_time", |limits| {
        &mut limits.upstream_idle_time
    }),
];

impl Proxy {
    pub(super) fn read(section: Option<Section<'_>>) -> Self {
        let mut this = Self::default();
        let Some(mut section) = section else {
            return this;
        };
        this.trusted_proxies = section.list("trusted_proxies");
        this.forwarded = section.flag("forwarded").unwrap_or(false);
        this.proxy_protocol = section.flag("proxy_protocol").unwrap_or(false);
        let format = section.parsed("access_log_format");
        this.access_log = match section.string("access_log") {
            None if format.is_some() => {
                section.refuse(
                    "access_log_format",
                    "there is no access log to have a format: say where it goes with access_log",
                );
                None
            }
            None => None,
            Some("stdout") => Some(LogTarget::Stdout),
            Some(_) => section.path("access_log").map(LogTarget::File),
        }
        .map(|to| AccessLog {
            to,
            format: format.unwrap_or_default(),
        });
        this.limits.body_bytes = section.number("body_bytes", 0).map(|bytes| bytes as u64);
        for (key, least, limit) in COUNTS {
            if let Some(count) = section.number(key, least) {
                *limit(&mut this.limits) = count;
            }
        }
        for (key, limit) in SPANS {
            match section.span(key) {
                Some(Duration::ZERO) => section.refuse(key, "at least a second is needed here"),
                Some(span) => *limit(&mut this.limits) = span,
                None => {}
            }
        }
        this
    }
}

/// The keys of `[proxy]`, with every default in them.
impl Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut limits = self.limits.clone();
        if let Some(trusted) = &self.trusted_proxies {
            writeln!(f, "trusted_proxies = {}", list(trusted))?;
        }
        writeln!(f, "forwarded = {}", self.forwarded)?;
        writeln!(f, "proxy_protocol = {}", self.proxy_protocol)?;
        if let Some(log) = &self.access_log {
            let to = match &log.to {
                LogTarget::Stdout => text("stdout"),
                LogTarget::File(path) => text(path.display()),
            };
            let format = match log.format {
                LogFormat::Json => "json",
                LogFormat::Combined => "combined",
            };
            writeln!(f, "access_log = {to}\naccess_log_format = {}", text(format))?;
        }
        if let Some(bytes) = limits.body_bytes {
            writeln!(f, "body_bytes = {bytes}")?;
        }
        for (key, _, limit) in COUNTS {
            writeln!(f, "{key} = {}", limit(&mut limits))?;
        }
        for (key, limit) in SPANS {
            writeln!(f, "{key} = {}", span(*limit(&mut limits)))?;
        }
        Ok(())
    }
}
