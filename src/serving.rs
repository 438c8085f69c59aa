//! What the configuration says, in the data path's own terms.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;

use crate::config::{App, Config, LogFormat, LogTarget};
use crate::network::Network;
use crate::proxy::{AccessFormat, AccessLog, Listener, Route, Routes, Settings, Trust};

/// Which app answers to what.
pub fn routes(config: &Config) -> Routes {
    Routes::new(config.apps.iter().map(route).collect())
}

fn route(app: &App) -> Route {
    Route {
        app: app.name.clone(),
        hosts: app.domains.clone(),
        upstreams: app.upstreams.clone(),
        is_default: app.is_default,
        trust: Trust::default(),
    }
}

/// Limits, trust and the access log. They hold from start to end: a change takes a restart.
///
/// # Errors
/// If the access log can't be opened.
pub fn settings(config: &Config) -> io::Result<Settings> {
    let proxy = &config.proxy;
    let access_log = match &proxy.access_log {
        None => None,
        Some(log) => {
            let to: Box<dyn Write + Send> = match &log.to {
                LogTarget::Stdout => Box::new(io::stdout()),
                LogTarget::File(path) => {
                    Box::new(OpenOptions::new().create(true).append(true).open(path)?)
                }
            };
            let format = match log.format {
                LogFormat::Json => AccessFormat::Json,
                LogFormat::Combined => AccessFormat::Combined,
            };
            Some(Arc::new(AccessLog::new(format, to)?))
        }
    };
    Ok(Settings {
        limits: proxy.limits.clone(),
        trusted_proxies: match &proxy.trusted_proxies {
            Some(trusted) => trusted.clone(),
            None => Network::LOOPBACK.to_vec(),
        },
        forwarded: proxy.forwarded,
        access_log,
    })
}

/// The listener as the configuration wants it.
pub fn introduced(listener: Listener, config: &Config) -> Listener {
    match config.proxy.proxy_protocol {
        true => listener.with_proxy_protocol(),
        false => listener,
    }
}
