//! One `[[app]]`: its names, where it is reached, and where its door stands.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::acme::Acme;
use super::install::Install;
use super::reader::Section;
use crate::identifier::{AppName, Identifier};
use crate::upstream::Upstream;

/// What one or more nginx server blocks serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name, which is also its lineage's.
    pub name: AppName,
    /// Its identifiers, in the order of the certificate.
    pub domains: Vec<Identifier>,
    /// Where it is reached; empty where nginx serves it by other means than HTTP.
    pub upstreams: Vec<Upstream>,
    /// Whose certificates its `https` upstreams may show.
    pub trust: UpstreamTrust,
    /// Where its door stands and how long.
    pub door: Door,
    /// Whether it gets the requests for hosts that no app has.
    pub is_default: bool,
    /// Whether it is looked after.
    pub enabled: bool,
    /// How its certificate is ordered.
    pub acme: Acme,
    /// Where else it shall lie.
    pub install: Vec<Install>,
}

/// Whose certificates an app's `https` upstreams may show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpstreamTrust {
    /// Those of the CAs that the system trusts.
    #[default]
    System,
    /// Those that lead to a certificate in this PEM file.
    Roots(PathBuf),
    /// Any, checked by nobody.
    Anybody,
}

/// Where a door stands and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// In this directory, while validation runs.
    Transient(PathBuf),
    /// In this directory, always.
    Permanent(PathBuf),
    /// Included by the operator's own hand, always; we write nothing.
    ByHand,
}

impl Door {
    /// The directory that the app's server blocks include.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Transient(directory) | Self::Permanent(directory) => Some(directory),
            Self::ByHand => None,
        }
    }
}

/// `transient` or `permanent`.
enum Stay {
    Transient,
    Permanent,
}

impl FromStr for Stay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "transient" => Ok(Self::Transient),
            "permanent" => Ok(Self::Permanent),
            _ => Err("a door is \"transient\" or \"permanent\""),
        }
    }
}

/// What two apps can't both have, and which app has it.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, AppName>,
    domains: HashMap<String, AppName>,
    directories: HashMap<String, AppName>,
    files: HashMap<String, AppName>,
    defaults: HashMap<String, AppName>,
}

fn take(
    taken: &mut HashMap<String, AppName>,
    section: &Section<'_>,
    key: &str,
    value: String,
    app: &AppName,
) {
    match taken.get(&value) {
        Some(other) => section.refuse(key, format!("{value:?} belongs to the app {other} already")),
        None => {
            taken.insert(value, app.clone());
        }
    }
}

impl App {
    pub(super) fn read(
        mut section: Section<'_>,
        defaults: &Acme,
        taken: &mut Taken,
    ) -> Option<Self> {
        let name = section.parsed::<AppName>("name");
        if !section.has("name") {
            section.refuse("name", "an app needs a name");
        }
        let domains = section.list::<Identifier>("domains");
        if !section.has("domains") || domains.as_ref().is_some_and(Vec::is_empty) {
            section.refuse("domains", "an app needs at least one domain");
        }
        let upstreams = section.list::<Upstream>("upstream").unwrap_or_default();
        let trust = Self::read_trust(&mut section, &upstreams);
        let directory = section.path("include_dir");
        let door = Self::read_door(&mut section, directory);
        Self::check_challenge(&mut section, domains.as_deref().unwrap_or_default());
        let is_default = section.flag("default").unwrap_or(false);
        let enabled = section.flag("enabled").unwrap_or(true);
        let mut acme = defaults.clone();
        acme.override_from(&mut section);
        let installs = section.sections("install").into_iter().map(Install::read);
        let install = installs.collect::<Option<Vec<_>>>();
        let app = Self {
            name: name?,
            domains: domains?,
            upstreams,
            trust,
            door: door?,
            is_default,
            enabled,
            acme,
            install: install?,
        };
        take(
            &mut taken.names,
            &section,
            "name",
            app.name.to_string(),
            &app.name,
        );
        for domain in &app.domains {
            take(
                &mut taken.domains,
                &section,
                "domains",
                domain.to_string(),
                &app.name,
            );
        }
        for (_, file) in app.install.iter().flat_map(|install| &install.files) {
            let file = file.display().to_string();
            take(&mut taken.files, &section, "install", file, &app.name);
        }
        if app.is_default {
            take(
                &mut taken.defaults,
                &section,
                "default",
                "true".to_owned(),
                &app.name,
            );
        }
        if let Some(directory) = app.door.directory() {
            take(
                &mut taken.directories,
                &section,
                "include_dir",
                directory.display().to_string(),
                &app.name,
            );
        }
        Some(app)
    }

    fn read_trust(section: &mut Section<'_>, upstreams: &[Upstream]) -> UpstreamTrust {
        const CA_FILE: &str = "upstream_ca_file";
        const VERIFY: &str = "upstream_verify";
        let shows_certificate =
            |upstream: &Upstream| matches!(upstream, Upstream::Tcp { tls: true, .. });
        let roots = section.path(CA_FILE);
        let verify = section.flag(VERIFY);
        if !upstreams.iter().any(shows_certificate) {
            for key in [CA_FILE, VERIFY] {
                if section.has(key) {
                    section.refuse(
                        key,
                        "no upstream of this app is https://, so none shows a certificate",
                    );
                }
            }
        }
        match (roots, verify) {
            (Some(_), Some(false)) => {
                section.refuse(
                    VERIFY,
                    format!("nothing is verified with false, so {CA_FILE} has no use: leave out one of them"),
                );
                UpstreamTrust::System
            }
            (Some(file), _) => UpstreamTrust::Roots(file),
            (None, Some(false)) => UpstreamTrust::Anybody,
            (None, _) => UpstreamTrust::System,
        }
    }

    fn read_door(section: &mut Section<'_>, directory: Option<PathBuf>) -> Option<Door> {
        match (section.parsed("door").unwrap_or(Stay::Transient), directory) {
            (Stay::Transient, Some(directory)) => Some(Door::Transient(directory)),
            (Stay::Permanent, Some(directory)) => Some(Door::Permanent(directory)),
            (Stay::Permanent, None) => Some(Door::ByHand),
            (Stay::Transient, None) => {
                if !section.has("include_dir") {
                    section.refuse(
                        "include_dir",
                        "a transient door needs the directory that the app's server blocks include; \
                         leave it out only with door = \"permanent\" and nginx-snippets/door.conf included by hand",
                    );
                }
                None
            }
        }
    }

    fn check_challenge(section: &mut Section<'_>, domains: &[Identifier]) {
        match section.string("challenge") {
            None | Some("http-01") => {}
            Some("dns-01" | "tls-alpn-01") => {
                section.refuse("challenge", "this version validates by \"http-01\" only")
            }
            Some(_) => section.refuse("challenge", "the challenge is \"http-01\""),
        }
        if let Some(wildcard) = domains.iter().find(|domain| domain.needs_dns()) {
            section.refuse("domains", format!("{wildcard} needs validation by dns-01, and this version validates by http-01 only"));
        }
    }

    /// Whether this app serves the identifier, by name or by wildcard.
    pub fn covers(&self, identifier: &Identifier) -> bool {
        self.domains.iter().any(|own| match (own, identifier) {
            (Identifier::Dns(own), Identifier::Dns(asked)) => own.covers(asked.as_str()),
            (own, asked) => own == asked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn what_an_upstream_shows_is_verified_unless_told_otherwise() {
        let app = |upstream: &str, lines: &str| {
            parse(&format!(
                "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ndoor = \"permanent\"\nupstream = [{upstream}]\n{lines}\n"
            ))
        };
        let trust = |lines: &str| app("\"https://a\"", lines).unwrap().apps.remove(0).trust;
        assert_eq!(trust(""), UpstreamTrust::System);
        assert_eq!(trust("upstream_verify = true"), UpstreamTrust::System);
        assert_eq!(trust("upstream_verify = false"), UpstreamTrust::Anybody);
        let file = UpstreamTrust::Roots("/etc/sidedoor/ca.pem".into());
        assert_eq!(trust("upstream_ca_file = \"ca.pem\""), file);
        for (upstream, lines, mistaken) in [
            ("\"http://a\"", "upstream_verify = false", "upstream_verify"),
            (
                "\"unix:/a\"",
                "upstream_ca_file = \"ca.pem\"",
                "upstream_ca_file",
            ),
            ("", "upstream_verify = true", "upstream_verify"),
            (
                "\"https://a\"",
                "upstream_verify = \"no\"",
                "upstream_verify",
            ),
            (
                "\"https://a\"",
                "upstream_verify = false\nupstream_ca_file = \"ca.pem\"",
                "upstream_verify",
            ),
        ] {
            let mistakes = app(upstream, lines).unwrap_err();
            let begin = format!("/etc/sidedoor/sidedoor.toml:6: app[1].{mistaken}: ");
            assert_eq!(mistakes.len(), 1, "{mistakes:?}");
            assert!(mistakes[0].starts_with(&begin), "{mistakes:?}");
        }
    }
}
