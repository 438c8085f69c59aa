//! What a command prints: its end on standard output, how far it has come and what went wrong on standard error.

mod account;
mod line;

use std::io::{IsTerminal, Write};

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::arguments::Arguments;
use super::{Exit, exit_of};
use crate::admin::protocol::{Certificate, Fared, Rehearsal, Reply, RevokedBy};
use crate::check::{AppCheck, Check, Finding};
use crate::config::Config;
use crate::progress::{Among, Note};
use crate::report::Report;
use crate::status::{CertificateStatus, Status};
use crate::telemetry::LogFormat;

/// How this command talks.
#[derive(Debug, Clone)]
pub(super) struct Output {
    notes: Notes,
    json: bool,
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notes {
    /// Every step, each on a line of its own.
    Steps,
    /// The last step, on one line that is overwritten.
    OneLine,
    /// Only what is worth knowing.
    Notices,
    /// Nothing; the log has it.
    None,
}

impl Output {
    pub(super) fn new(arguments: &Arguments) -> Self {
        let notes = match (
            arguments.is_quiet(),
            arguments.log_format(),
            arguments.is_verbose(),
        ) {
            (true, ..) | (_, LogFormat::Json, _) => Notes::None,
            (_, _, true) => Notes::Steps,
            _ if std::io::stderr().is_terminal() => Notes::OneLine,
            _ => Notes::Notices,
        };
        Self {
            notes,
            json: arguments.wants_json(),
            quiet: arguments.is_quiet(),
        }
    }

    pub(super) fn note(&self, note: &Note) {
        let mut out = std::io::stderr().lock();
        // Nobody may be listening any more; the work goes on.
        let _ = match (note, self.notes) {
            (
                Note::Step {
                    step,
                    detail,
                    elapsed_ms,
                    among,
                },
                Notes::Steps,
            ) => writeln!(out, "{elapsed_ms:>6} ms  {step:<13} {}{detail}", of(among)),
            (Note::Step { step, among, .. }, Notes::OneLine) => {
                let line = line::line(*step, among.as_ref());
                write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
            }
            (Note::Notice { text, among }, Notes::OneLine) => {
                writeln!(out, "\r\x1b[Knote: {}{text}", of(among))
            }
            (Note::Notice { text, among }, Notes::Steps | Notes::Notices) => {
                writeln!(out, "note: {}{text}", of(among))
            }
            _ => Ok(()),
        };
    }

    fn clear_line(&self) {
        if self.notes == Notes::OneLine {
            tell(format_args!("\r\x1b[K"));
        }
    }

    /// Tells how it ended, and what that means to the caller.
    pub(super) fn end(&self, answer: Result<Reply, Report>) -> Exit {
        let exit = exit_of(&answer);
        self.clear_line();
        match answer {
            Ok(reply) => self.reply(&reply),
            Err(report) => self.failure(&report),
        }
        exit
    }

    pub(super) fn interrupted(&self) -> Exit {
        self.clear_line();
        tell(format_args!("stopped; the doors are closed\n"));
        Exit::Failed
    }

    pub(super) fn failure(&self, report: &Report) {
        tell(format_args!(
            "error: {}\n next: {}\n",
            report.what, report.next_step
        ));
    }

    pub(super) fn stays(&self) {
        self.say(
            "no sidecar is running, so this command stays and answers; Ctrl-C closes the door",
        );
    }

    pub(super) fn config_is_good(&self, config: &Config) {
        let apps = match config.apps.len() {
            1 => "1 app".to_owned(),
            count => format!("{count} apps"),
        };
        self.say(&format!("{} is good: {apps}", config.file.display()));
    }

    /// Tells what is in the way, and what that means to the caller.
    pub(super) fn check(&self, check: &Check) -> Exit {
        match self.json {
            true => self.json(check),
            false => check.apps.iter().for_each(|app| self.check_app(app)),
        }
        if check.is_blocked() {
            Exit::Failed
        } else {
            Exit::Done
        }
    }

    fn check_app(&self, app: &AppCheck) {
        let blocked = app.obstacles.iter().any(|finding| finding.blocks);
        let verdict = match (&app.unknown, blocked, app.obstacles.is_empty()) {
            (Some(reason), ..) => format!("can't be told beforehand: {reason}"),
            (None, true, _) => "validation would fail".to_owned(),
            (None, false, true) => "nothing is in the way".to_owned(),
            (None, false, false) => "validation should succeed, but".to_owned(),
        };
        self.say(&format!("{}: {verdict}", app.app));
        for Finding {
            place,
            rule,
            effect,
            remedy,
            ..
        } in &app.obstacles
        {
            self.say(&format!(
                "  {place}: {rule}\n    {effect}\n    next: {remedy}"
            ));
        }
    }

    pub(super) fn config(&self, config: &Config) {
        self.say(config.to_string().trim_end());
    }

    /// Whether one JSON object is wanted.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            // A reader that has gone away is no failure of the work.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(json) => self.say(&json),
            Err(error) => tell(format_args!("error: {error}\n")),
        }
    }

    fn reply(&self, reply: &Reply) {
        match reply {
            Reply::Issued(certificate) => self.say(&certificate_line(certificate)),
            Reply::Renewed { certificates } => self.renewed(certificates),
            Reply::Opened { app, until } => {
                self.say(&format!("the door of {app} is open until {}", time(*until)))
            }
            Reply::Closed {
                in_use: Some(app), ..
            } => self.say(&format!(
                "the door of {app} is needed by an issuance, and closes with it"
            )),
            Reply::Closed { apps, .. } if apps.is_empty() => self.say("no door had to be closed"),
            Reply::Closed { apps, .. } => apps
                .iter()
                .for_each(|app| self.say(&format!("the door of {app} is closed"))),
            Reply::Challenges { tokens } => {
                tokens.iter().for_each(|token| self.say(token.as_str()))
            }
            Reply::Status(status) if self.json => self.json(status),
            Reply::Status(status) => self.status(status),
            Reply::Rehearsed { certificates } => self.rehearsed(certificates),
            Reply::Revoked {
                name,
                serial,
                reason,
                by,
                new,
            } => {
                let by = match by {
                    RevokedBy::Account => "the account",
                    RevokedBy::Key => "its key",
                };
                self.say(&format!("{name}: {serial} is revoked ({reason}), by {by}"));
                match new {
                    Some(new) => self.say(&certificate_line(new)),
                    None => self.say(&format!(
                        "{name}: no other one is issued until `sidedoor issue {name}`"
                    )),
                }
            }
            Reply::Deleted {
                name,
                paths,
                placeholder,
            } => {
                paths
                    .iter()
                    .for_each(|path| self.say(&format!("deleted {path}")));
                if *placeholder {
                    self.say(&format!("{name}: a self-signed placeholder stays, since nginx needs the files; reload it when it doesn't"));
                }
            }
            Reply::Account { account, .. } if self.json => self.json(account),
            Reply::Account { act, account } => {
                account::lines(*act, account)
                    .iter()
                    .for_each(|line| self.say(line));
            }
            Reply::Bequest(_) | Reply::Done => {}
        }
    }

    fn renewed(&self, certificates: &[Fared]) {
        if certificates.is_empty() {
            self.say("there is nothing to renew");
        }
        for fared in certificates {
            match fared {
                Fared::Done(certificate) => self.say(&certificate_line(certificate)),
                Fared::Waiting { name, report, .. } => {
                    tell(format_args!(
                        "waiting: {name}: {}\n next: {}\n",
                        report.what, report.next_step
                    ));
                }
                Fared::Failed { name, report } => {
                    tell(format_args!(
                        "error: {name}: {}\n next: {}\n",
                        report.what, report.next_step
                    ));
                }
            }
        }
    }

    fn rehearsed(&self, certificates: &[Rehearsal]) {
        if certificates.is_empty() {
            self.say("there is nothing to try out");
        }
        for one in certificates {
            match one {
                Rehearsal::Done {
                    name,
                    directory,
                    issuer,
                    validated,
                } => self.say(&format!(
                    "{name}: would be issued; {directory} has looked at {validated} of its names, and the certificate by {issuer} is thrown away"
                )),
                Rehearsal::Failed { name, report } => tell(format_args!(
                    "error: {name}: {}\n next: {}\n",
                    report.what, report.next_step
                )),
            }
        }
    }

    fn status(&self, status: &Status) {
        if status.certificates.is_empty() {
            self.say("there are no apps and no certificates yet");
        }
        for certificate in &status.certificates {
            for line in status_lines(certificate) {
                self.say(&line);
            }
        }
        if !status.running {
            self.say("no sidecar is running");
        }
    }
}

/// Whose it is, before what is said of it.
fn of(among: &Option<Among>) -> String {
    let certificate = among.as_ref().map(|among| &among.certificate);
    certificate.map_or_else(String::new, |name| format!("{name}: "))
}

/// To standard error. Where nobody reads that any more, such as a terminal that was closed, the doors still have to be.
pub(super) fn tell(text: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

fn certificate_line(certificate: &Certificate) -> String {
    let Certificate {
        name,
        new,
        not_after,
        path,
        served,
        ..
    } = certificate;
    let until = time(*not_after);
    match (new, served) {
        (false, _) => format!("{name}: still good until {until}, in {path}"),
        (true, Some(_)) => format!("{name}: new, served by nginx, good until {until}, in {path}"),
        (true, None) => format!("{name}: new, good until {until}, in {path}"),
    }
}

fn status_lines(certificate: &CertificateStatus) -> Vec<String> {
    let names: Vec<_> = certificate
        .identifiers
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut lines = vec![format!(
        "{}{}",
        certificate.name,
        if certificate.enabled {
            ""
        } else {
            " (not looked after)"
        }
    )];
    lines.push(format!("  names    {}", names.join(", ")));
    if let Some(reason) = &certificate.unreadable {
        lines.push(format!("  UNKNOWN  {reason}"));
    }
    lines.push(match &certificate.live {
        None => "  stored   nothing yet".to_owned(),
        Some(live) if live.placeholder => format!(
            "  stored   a placeholder until the first certificate, in {}",
            live.path
        ),
        Some(live) => format!(
            "  stored   number {} by {}, good until {}, in {}",
            live.version,
            live.issuer,
            time(live.not_after),
            live.path
        ),
    });
    if let Some(revoked) = &certificate.revoked {
        let after = match revoked.withdrawn {
            true => format!("; `sidedoor issue {}` gets another", certificate.name),
            false => String::new(),
        };
        lines.push(format!(
            "  REVOKED  {} ({}){after}",
            time(revoked.at),
            revoked.reason
        ));
    }
    for served in &certificate.served {
        let what = match (served.is_live, served.not_after, &served.error) {
            (true, ..) => "the same".to_owned(),
            (false, Some(until), _) => format!("ANOTHER one, good until {}", time(until)),
            (false, None, error) => {
                format!("none ({})", error.as_deref().unwrap_or("not a certificate"))
            }
        };
        lines.push(format!(
            "  served   {} at {}: {what}",
            served.name, served.address
        ));
    }
    if let Some(step) = certificate.in_flight {
        lines.push(format!("  now      {step}"));
    }
    if let Some(door) = &certificate.door {
        let until = door.until.map_or("for good".to_owned(), |until| {
            format!("until {}", time(until))
        });
        lines.push(format!(
            "  door     open {until}, by process {}",
            door.process
        ));
    }
    if let Some(next) = &certificate.next_attempt {
        lines.push(format!("  attempt  {}: {}", time(next.at), next.why));
    }
    if let Some(failure) = &certificate.failure {
        lines.push(format!(
            "  failed   {} ({} in a row): {}",
            time(failure.at),
            failure.attempts,
            failure.what
        ));
        lines.push(format!("  next     {}", failure.next_step));
    }
    for errand in &certificate.errands {
        if let Some(failure) = &errand.failure {
            lines.push(format!("  FAILED   {}: {}", time(errand.at), failure.what));
            lines.push(format!("  next     {}", failure.next_step));
        }
    }
    lines
}

/// In UTC, to the minute.
pub(super) fn time(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    time.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_else(|_| time.to_string())
}
