//! What the configuration says, in the data path's own terms.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, App, Config, LogFormat, LogTarget, UpstreamTrust};
use crate::identifier::AppName;
use crate::network::Network;
use crate::proxy::{AccessFormat, AccessLog, Route, Routes, Settings, Trust};

/// Why the data path can't be as the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The access log can't be opened.
    #[error("the access log can't be opened: {0}")]
    AccessLog(#[source] io::Error),
    /// The roots of an app's upstreams can't be used.
    #[error("{}, the upstream_ca_file of {app}, can't be used: {source}", file.display())]
    UpstreamRoots {
        /// The app.
        app: AppName,
        /// The file.
        file: PathBuf,
        /// What the system said, or what is wrong with the file.
        source: io::Error,
    },
}

impl ServingError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::AccessLog(_) => "let the user who runs sidedoor write to the file in `proxy.access_log`, or name another".into(),
            Self::UpstreamRoots { file, .. } => format!(
                "see that {} holds certificates in PEM form, and that the user who runs sidedoor may read it",
                file.display()
            ),
        }
    }
}

/// Which app answers to what.
///
/// # Errors
/// If an app's roots can't be used.
pub fn routes(config: &Config) -> Result<Routes, ServingError> {
    let routes = config.apps.iter().map(route);
    Ok(Routes::new(routes.collect::<Result<_, _>>()?))
}

fn route(app: &App) -> Result<Route, ServingError> {
    Ok(Route {
        app: app.name.clone(),
        hosts: app.domains.clone(),
        upstreams: app.upstreams.clone(),
        is_default: app.is_default,
        trust: trust(app)?,
    })
}

fn trust(app: &App) -> Result<Trust, ServingError> {
    let file = match &app.trust {
        UpstreamTrust::System => return Ok(Trust::System),
        UpstreamTrust::Anybody => return Ok(Trust::Anybody),
        UpstreamTrust::Roots(file) => file,
    };
    let roots = fs::read(file).and_then(|pem| Trust::of_roots(&pem));
    roots.map_err(|source| ServingError::UpstreamRoots {
        app: app.name.clone(),
        file: file.clone(),
        source,
    })
}

/// Limits, trust and the access log.
///
/// # Errors
/// If the access log can't be opened.
pub fn settings(config: &Config) -> Result<Settings, ServingError> {
    let proxy = &config.proxy;
    let access_log = proxy.access_log.as_ref().map(open).transpose();
    Ok(Settings {
        limits: proxy.limits.clone(),
        trusted_proxies: match &proxy.trusted_proxies {
            Some(trusted) => trusted.clone(),
            None => Network::LOOPBACK.to_vec(),
        },
        forwarded: proxy.forwarded,
        access_log: access_log.map_err(ServingError::AccessLog)?.map(Arc::new),
    })
}

fn open(log: &config::AccessLog) -> io::Result<AccessLog> {
    let to: Box<dyn Write + Send> = match &log.to {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    };
    let format = match log.format {
        LogFormat::Json => AccessFormat::Json,
        LogFormat::Combined => AccessFormat::Combined,
    };
    AccessLog::new(format, to)
}
