//! What can be typed, and what it means.

mod account;

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::acme::RevocationReason;
use crate::admin::protocol::Request;
use crate::challenge::{KeyAuthorization, Token};
use crate::config::DEFAULT_FILE;
use crate::identifier::{AppName, Identifier};
use crate::import::Client;
use crate::report::Report;
use crate::telemetry::{Level, LogFormat};
use account::AccountCommand;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sidedoor",
    version,
    about,
    infer_long_args = false,
    disable_help_subcommand = true
)]
pub(super) struct Arguments {
    #[command(flatten)]
    everywhere: Everywhere,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Everywhere {
    /// The configuration file
    #[arg(long, global = true, env = "SIDEDOOR_CONFIG", default_value = DEFAULT_FILE, value_name = "FILE")]
    config: PathBuf,
    /// How the log is written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
    /// Say more: each step with its time; twice for the log of a command, too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar: proxy, responder, doors, admin socket
    Run {
        /// Take the place of the sidecar that runs, without a request refused or lost; it finishes what it has and ends
        #[arg(long)]
        take_over: bool,
    },
    /// Get one certificate now; through the running sidecar if there is one, else all by itself
    Issue {
        /// The app whose names it is for; where there is only one, that one unless given
        #[arg(conflicts_with = "domains")]
        app: Option<AppName>,
        /// A name; may be given several times
        #[arg(short = 'd', long = "domain", value_name = "NAME")]
        domains: Vec<Identifier>,
        /// Also if the present certificate is still good
        #[arg(long)]
        force: bool,
        /// Try it out at the CA's staging, and change nothing here
        #[arg(long, conflicts_with = "force")]
        dry_run: bool,
    },
    /// Renew whatever is due
    Renew {
        /// Only these
        names: Vec<AppName>,
        /// Also what isn't due
        #[arg(long)]
        force: bool,
        /// Try it out at the CA's staging, due or not, and change nothing here
        #[arg(long, conflicts_with = "force")]
        dry_run: bool,
    },
    /// Revoke what is live at its CA, and get another certificate with a new key in its place
    Revoke {
        /// The certificate
        name: AppName,
        /// Why, as RFC 5280 names it: unspecified, keyCompromise, affiliationChanged, superseded or cessationOfOperation
        #[arg(long, default_value_t)]
        reason: RevocationReason,
        /// Get no other one, and don't renew it until it is issued by hand
        #[arg(long)]
        no_new: bool,
    },
    /// Forget a certificate: its files, its keys, and what is remembered of it
    Delete {
        /// The certificate
        name: AppName,
        /// Also if an app has it or nginx's configuration names its files; a placeholder stays there
        #[arg(long)]
        force: bool,
        /// Ask nobody
        #[arg(long)]
        yes: bool,
    },
    /// Tell how every certificate stands
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Tell whether validation would succeed now, and if not, which rule of which file is in the way
    Check {
        /// The app; every one, unless given
        #[arg(conflicts_with = "domains")]
        app: Option<AppName>,
        /// A name; may be given several times
        #[arg(short = 'd', long = "domain", value_name = "NAME")]
        domains: Vec<Identifier>,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Open an app's door by hand, for another client
    Open {
        /// The app
        app: AppName,
        /// How long it may stand, in minutes
        #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
        minutes: u16,
    },
    /// Close a door that was opened by hand, or that a crash has left
    Close {
        /// The app
        #[arg(required_unless_present = "all")]
        app: Option<AppName>,
        /// Every door that nobody needs
        #[arg(long, conflicts_with = "app")]
        all: bool,
    },
    /// Answer tokens for another client
    Challenge {
        #[command(subcommand)]
        command: Challenge,
    },
    /// Look after the accounts at the CAs; every app's certificates share one at each
    Account {
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Take over another client's certificates, keys, accounts and domains, without a new order; what is there stays as it is
    Import {
        /// The other client
        client: Client,
        /// Its directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum Challenge {
    /// Answer a token
    Add {
        /// The token
        token: Token,
        /// What to answer: the token, a dot, the account key's thumbprint
        key_authorization: String,
    },
    /// Answer a token no longer
    Remove {
        /// The token
        token: Token,
    },
    /// List the tokens that are answered
    List,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Check the configuration, and say everything that is wrong with it
    Check,
    /// Print the configuration with every default in it
    Show,
}

/// What is wanted.
pub(super) enum Meaning {
    /// The sidecar.
    Run {
        /// In the place of one that runs.
        take_over: bool,
    },
    /// A check of the configuration.
    CheckConfig,
    /// The whole configuration.
    ShowConfig,
    /// A look at what is in the way of validation.
    Check {
        /// Of this app.
        app: Option<AppName>,
        /// Of these names.
        names: Vec<Identifier>,
    },
    /// What another client has, taken over.
    Import {
        /// The other client.
        client: Client,
        /// Its directory.
        directory: PathBuf,
    },
    /// Something that a sidecar does, if one runs.
    Ask(Request),
}

impl Arguments {
    pub(super) fn config(&self) -> &Path {
        &self.everywhere.config
    }

    pub(super) fn log_format(&self) -> LogFormat {
        self.everywhere.log_format
    }

    /// A command tells its own story; the log would tell it twice.
    pub(super) fn log_level(&self) -> Level {
        let tells_itself =
            !matches!(self.command, Command::Run { .. }) && self.log_format() == LogFormat::Text;
        match (self.everywhere.quiet, tells_itself, self.everywhere.verbose) {
            (false, true, 0 | 1) => Level::Silent,
            (true, ..) => Level::Quiet,
            (false, false, 0) => Level::Normal,
            _ => Level::Verbose,
        }
    }

    pub(super) fn is_verbose(&self) -> bool {
        self.everywhere.verbose > 0
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.everywhere.quiet
    }

    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            Command::Status { json }
            | Command::Check { json, .. }
            | Command::Import { json, .. } => *json,
            Command::Account { command } => command.wants_json(),
            _ => false,
        }
    }

    /// What to ask before what can't be undone, unless it was answered by `--yes`.
    pub(super) fn question(&self) -> Option<String> {
        match &self.command {
            Command::Account { command } => command.question(),
            Command::Delete {
                name, yes: false, ..
            } => Some(format!("delete all certificates and keys of {name}?")),
            _ => None,
        }
    }

    pub(super) fn meaning(&self) -> Result<Meaning, Report> {
        Ok(Meaning::Ask(match &self.command {
            Command::Run { take_over } => {
                return Ok(Meaning::Run {
                    take_over: *take_over,
                });
            }
            Command::Config { command } => {
                return Ok(match command {
                    ConfigCommand::Check => Meaning::CheckConfig,
                    ConfigCommand::Show => Meaning::ShowConfig,
                });
            }
            Command::Check { app, domains, .. } => {
                return Ok(Meaning::Check {
                    app: app.clone(),
                    names: domains.clone(),
                });
            }
            Command::Import {
                client, directory, ..
            } => {
                return Ok(Meaning::Import {
                    client: *client,
                    directory: directory.clone(),
                });
            }
            Command::Issue {
                app,
                domains,
                dry_run: true,
                ..
            } => Request::Rehearse {
                app: app.clone(),
                names: domains.clone(),
                lineages: None,
            },
            Command::Issue {
                app,
                domains,
                force,
                ..
            } => Request::Issue {
                app: app.clone(),
                names: domains.clone(),
                force: *force,
            },
            Command::Renew {
                names,
                dry_run: true,
                ..
            } => Request::Rehearse {
                app: None,
                names: Vec::new(),
                lineages: Some(names.clone()),
            },
            Command::Renew { names, force, .. } => Request::Renew {
                names: names.clone(),
                force: *force,
            },
            Command::Revoke {
                name,
                reason,
                no_new,
            } => Request::Revoke {
                name: name.clone(),
                reason: *reason,
                no_new: *no_new,
            },
            Command::Delete { name, force, .. } => Request::Delete {
                name: name.clone(),
                force: *force,
            },
            Command::Status { .. } => Request::Status,
            Command::Account { command } => command.request(),
            Command::Open { app, minutes } => Request::Open {
                app: app.clone(),
                seconds: u64::from(*minutes) * 60,
            },
            Command::Close { app, .. } => Request::Close { app: app.clone() },
            Command::Challenge { command } => match command {
                Challenge::Add {
                    token,
                    key_authorization,
                } => {
                    let key_authorization = KeyAuthorization::new(token.clone(), key_authorization)
                        .map_err(|error| {
                            Report::new(
                                error,
                                "pass what the ACME client calls the key authorization, unchanged",
                            )
                        })?;
                    Request::AddChallenge { key_authorization }
                }
                Challenge::Remove { token } => Request::RemoveChallenge {
                    token: token.clone(),
                },
                Challenge::List => Request::ListChallenges,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn refuses_names_that_are_none_before_anything_is_done() {
        for arguments in [
            &["issue", "a;b"][..],
            &["issue", "../x"],
            &["issue", "-d", "x\n}"],
            &["open", "a/b"],
            &["challenge", "remove", "a.b"],
            &["close"],
            &["close", "shop", "--all"],
            &["issue", "shop", "-d", "a.example"],
        ] {
            let typed = std::iter::once("sidedoor").chain(arguments.iter().copied());
            assert!(Arguments::try_parse_from(typed).is_err(), "{arguments:?}");
        }
    }
}
