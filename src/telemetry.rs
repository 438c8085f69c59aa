//! The log: one event is one sentence with stable keys, as text or JSON, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Silent,
    /// Failures only.
    Quiet,
    /// What changes something.
    Normal,
    /// Every step.
    Verbose,
}

/// Begins. `RUST_LOG` overrides the level.
pub fn start(format: LogFormat, level: Level) {
    let directives = match level {
        Level::Silent => "off",
        Level::Quiet => "error",
        Level::Normal => "sidedoor=info,warn",
        Level::Verbose => "sidedoor=debug,info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives));
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // They would go to standard error too, by a macro that panics where nobody reads it any more.
        .log_internal_errors(false)
        .with_target(false);
    // A second start, as in tests, keeps the first.
    let _ = match format {
        LogFormat::Text => events.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    };
}
