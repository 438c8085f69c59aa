//! What stands in the way of `http-01` through a door: which rule of which file, what comes of it, what to do.
//! Everything here is advice: it follows from reading, and the probe has the last word.

use std::path::Path;

use super::configuration::Configuration;
use super::glob;
pub use super::obstacle::{Obstacle, Severity};
use super::server_name::{Choice, Fit};
use super::site::Server;
use super::socket::Socket;
use super::syntax::Directive;
use super::visit::Detour;
use super::way::Ways;
use crate::challenge;
use crate::identifier::Identifier;

/// What is in the way of validating `host` through the door in `include_dir`; what blocks comes first.
/// A wildcard has none: it is validated by `dns-01`, which nginx has no part in.
pub fn obstacles(
    configuration: &Configuration,
    host: &Identifier,
    include_dir: &Path,
) -> Vec<Obstacle> {
    if host.needs_dns() {
        return Vec::new();
    }
    let mut survey = Survey {
        configuration,
        ways: Ways::new(configuration, host.host(), include_dir),
        found: Vec::new(),
    };
    survey.doors_nginx_would_refuse();
    survey.answers();
    survey.what_was_not_read();
    survey.found.sort_by_key(|obstacle| obstacle.severity);
    survey.found
}

struct Survey<'a> {
    configuration: &'a Configuration,
    ways: Ways<'a>,
    found: Vec<Obstacle>,
}

impl<'a> Survey<'a> {
    fn add(
        &mut self,
        severity: Severity,
        rule: &Directive,
        effect: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let shown = rule.to_string();
        let mut known = self.found.iter().filter(|o| o.place == rule.place);
        if !known.any(|o| o.rule == shown && o.severity <= severity) {
            self.found.push(Obstacle {
                severity,
                place: rule.place.clone(),
                rule: shown,
                effect: effect.into(),
                remedy: remedy.into(),
            });
        }
    }

    /// The line that leads to the door.
    fn include_line(&self) -> String {
        format!("include {}/*.conf;", self.ways.include_dir.display())
    }

    /// With these nginx refuses the whole configuration as soon as the door is there, whoever it is for.
    fn doors_nginx_would_refuse(&mut self) {
        const REFUSED: &str = "nginx refuses a second one (\"duplicate location\"), and with it its whole configuration, as soon as the door is open";
        for server in self.configuration.servers() {
            let includes: Vec<_> = server.includes_of_door(self.ways.include_dir).collect();
            let Some(first) = includes.first() else {
                continue;
            };
            if let Some(location) = server.challenge_location(self.ways.include_dir) {
                self.add(
                    Severity::Blocks,
                    location,
                    REFUSED,
                    format!(
                        "remove this location: the door included in {} takes its place",
                        first.place
                    ),
                );
            }
            for again in &includes[1..] {
                self.add(
                    Severity::Blocks,
                    again,
                    format!(
                        "it takes in the door a second time (first: {}); {REFUSED}",
                        first.place
                    ),
                    "remove one of the two",
                );
            }
            for include in includes {
                let written = include.argument();
                if !glob::is_pattern(Path::new(&*written)) {
                    self.add(
                        Severity::Advice,
                        include,
                        "it names the door's own file, so nginx refuses to start whenever the door is closed",
                        format!("write `{}`", self.include_line()),
                    );
                }
            }
        }
    }

    fn what_was_not_read(&mut self) {
        for unread in self.configuration.unread() {
            self.found.push(Obstacle {
                severity: Severity::Advice,
                place: unread.included.clone(),
                rule: format!("include {};", unread.path.display()),
                effect: format!(
                    "it could not be read ({}), so its rules are not known here",
                    unread.error
                ),
                remedy: "let sidedoor's user read it, or trust the probe".to_owned(),
            });
        }
    }

    /// Who answers the CA's first visit, and how.
    fn answers(&mut self) {
        let candidates = self.ways.candidates();
        let mut ports = Vec::new();
        let mut answered = false;
        for socket in &candidates {
            let (server, certain) = match socket.chosen(&self.ways.host) {
                Choice::Named(server) => (server, true),
                Choice::Unclear(server) => (server, false),
                Choice::Default(server) if server.includes(self.ways.include_dir).is_some() => {
                    (server, true)
                }
                Choice::Default(_) => continue,
            };
            answered = true;
            ports.push(socket.listen.address.port());
            self.answer(server, certain);
            self.only_http2(socket);
        }
        if !answered {
            self.nobody_answers(candidates.first());
            return;
        }
        for socket in &candidates {
            if let Choice::Default(server) = socket.chosen(&self.ways.host)
                && ports.contains(&socket.listen.address.port())
                && server.includes(self.ways.include_dir).is_none()
            {
                self.stranger_answers(socket, server);
            }
        }
    }

    /// A server that has the name, on a plain socket.
    fn answer(&mut self, server: Server<'a>, certain: bool) {
        let Some(include) = server.includes(self.ways.include_dir) else {
            self.not_included(server, certain);
            return;
        };
        for detour in self.ways.detours(server, include) {
            self.detour(server, include, detour, certain);
        }
        self.not_switched_off(server);
    }

    fn detour(
        &mut self,
        server: Server<'a>,
        include: &Directive,
        detour: Detour<'_>,
        certain: bool,
    ) {
        let led = self.ways.led_to_door(server, detour.rule);
        let severity = match detour.certain && certain && led.is_none() {
            true => Severity::Blocks,
            false => Severity::Advice,
        };
        let when = match detour.condition {
            Some(condition) if !detour.certain => format!("where `{condition}` holds, "),
            _ => String::new(),
        };
        let then = match led {
            Some(place) => {
                format!("; the CA follows to the TLS server in {place}, which includes it")
            }
            None => String::new(),
        };
        self.add(
            severity,
            detour.rule,
            format!(
                "it stands before the door ({}), so {when}nginx applies it first and a challenge does not reach the door{then}",
                include.place
            ),
            format!(
                "move `{include}` before it: it belongs in the first line of the server in {}",
                server.place()
            ),
        );
    }

    fn not_included(&mut self, server: Server<'a>, certain: bool) {
        if let Some(include) = server.includes_in_location(self.ways.include_dir) {
            self.add(
                Severity::Advice,
                include,
                "it stands in a location, so the door gets only what nginx gives to that location",
                format!(
                    "move it to the first line of the server in {}",
                    server.place()
                ),
            );
            return;
        }
        let twin = self
            .configuration
            .servers()
            .filter(|other| other.fits(&self.ways.host) == Fit::Yes)
            .find_map(|other| Some((other, other.includes(self.ways.include_dir)?)));
        let led = self
            .ways
            .redirect(server)
            .and_then(|rule| self.ways.led_to_door(server, rule));
        let severity = self.absence(certain && led.is_none());
        let mut effect = match certain {
            true => format!(
                "this server answers for {} and does not include the door",
                self.ways.host
            ),
            false => format!(
                "if its regular expression fits {}, this server answers, and it does not include the door",
                self.ways.host
            ),
        };
        if let Some(place) = led {
            effect +=
                &format!("; the CA follows its redirect to the TLS server in {place}, which does");
        } else if let Some((other, include)) = twin {
            effect += &format!(
                "; the server in {}, which has the name too, does ({}), but is not the one asked",
                other.place(),
                include.place
            );
        }
        let remedy = format!(
            "add `{}` as the first line of this server ({})",
            self.include_line(),
            server.place()
        );
        self.add(severity, server.headline(), effect, remedy);
    }

    /// No plain socket that the CA may reach has a server with the name or the door.
    fn nobody_answers(&mut self, socket: Option<&Socket<'a>>) {
        let default = socket.map(Socket::default);
        let instead = match (socket, default) {
            (Some(socket), Some(server)) => format!(
                "the default server on {} ({}) answers the CA",
                socket.listen.address,
                server.place()
            ),
            _ => "nothing answers the CA".to_owned(),
        };
        if self.served_elsewhere(default, &instead) {
            return;
        }
        let http = || self.configuration.directives().find(|d| d.is("http"));
        let (rule, remedy) = match default {
            Some(server) => (
                Some(server.headline()),
                "add it to the `server_name` of its server, which also needs `listen 80;`"
                    .to_owned(),
            ),
            None => (http(), format!("add {}", self.new_server())),
        };
        if let Some(rule) = rule {
            self.add(
                self.absence(true),
                rule,
                format!("no server has the name {}, so {instead}", self.ways.host),
                remedy,
            );
        }
    }

    /// A server has the name, but not where the CA begins. Says whether there is one.
    fn served_elsewhere(&mut self, default: Option<Server<'a>>, instead: &str) -> bool {
        let served = self
            .ways
            .sockets
            .iter()
            .filter_map(|socket| match socket.chosen(&self.ways.host) {
                Choice::Named(server) | Choice::Unclear(server) => Some((&socket.listen, server)),
                Choice::Default(_) => None,
            })
            .min_by_key(|(listen, _)| listen.tls);
        let Some((listen, server)) = served else {
            return false;
        };
        let led = default
            .and_then(|server| Some((server, self.ways.redirect(server)?)))
            .and_then(|(server, rule)| self.ways.led_to_door(server, rule));
        // Another port may be led here from port 80, by a container's engine or a balancer.
        let mapped = !listen.tls && server.includes(self.ways.include_dir).is_some();
        let how = match listen.tls {
            true => "by TLS",
            false => "on another port",
        };
        let mut effect = format!(
            "{} is served only {how} ({}), but a CA begins with plain http on port 80, where {instead}",
            self.ways.host, listen.address
        );
        if let Some(place) = led {
            effect +=
                &format!(" and leads it to the TLS server in {place}, which includes the door");
        }
        let remedy = format!("add `listen 80;` to this server, or {}", self.new_server());
        let severity = self.absence(!mapped && led.is_none());
        self.add(severity, server.headline(), effect, remedy);
        true
    }

    fn new_server(&self) -> String {
        format!(
            "a server with `listen 80; server_name {}; {}`",
            self.ways.host,
            self.include_line()
        )
    }

    /// The weight of something missing: where not all could be read, it may stand in what could not.
    fn absence(&self, certain: bool) -> Severity {
        match certain && self.configuration.unread().is_empty() {
            true => Severity::Blocks,
            false => Severity::Advice,
        }
    }

    /// Some visitors come by an address at which another server is the default.
    fn stranger_answers(&mut self, socket: &Socket<'a>, server: Server<'a>) {
        let address = &socket.listen.address;
        self.add(
            Severity::Advice,
            server.headline(),
            format!(
                "who comes by {address} is answered by this server, its default, for no server there has the name {} (a CA prefers IPv6 where the name has such an address)",
                self.ways.host
            ),
            format!("add `listen {address};` to the server of {}", self.ways.host),
        );
    }

    fn only_http2(&mut self, socket: &Socket<'a>) {
        let listens = socket
            .servers()
            .flat_map(|server| server.directives().filter(|d| d.is("listen")))
            .find(|listen| listen.arguments().iter().any(|word| *word == "http2"));
        if let Some(listen) = listens.filter(|_| socket.listen.http2) {
            self.add(
                Severity::Advice,
                listen,
                "before nginx 1.25.1 a plain listener with `http2` speaks nothing else, but a CA speaks HTTP/1.1",
                "remove `http2` from it",
            );
        }
    }

    /// Rules a location inherits and can't switch off.
    fn not_switched_off(&mut self, server: Server<'a>) {
        const NAMES: [&str; 8] = [
            "access_by_lua",
            "access_by_lua_block",
            "access_by_lua_file",
            "rewrite_by_lua_block",
            "rewrite_by_lua_file",
            "auth_jwt",
            "auth_oidc",
            "modsecurity",
        ];
        for name in NAMES {
            if let Some(rule) = server.in_force(name).filter(|_| server.uses(name)) {
                self.add(
                    Severity::Advice,
                    rule,
                    "the door's location inherits it, and it may refuse a CA's visit",
                    format!("let it pass {}", challenge::PREFIX),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_is_told_as_advice() {
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("nginx.conf");
        let door = root.path().join("door");
        fs::write(
            &main,
            "http { server { include door/*.conf;\ninclude secret.conf; } }",
        )
        .unwrap();
        let configuration = Configuration::read_with(&main, |path| match path == main {
            true => fs::read(path),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        })
        .unwrap();
        let found = obstacles(&configuration, &"a.x".parse().unwrap(), &door);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Advice);
        assert_eq!(found[0].place.line, 2);
        assert!(found[0].effect.contains("permission denied"));

        // What seems to be missing may stand in that file.
        let elsewhere = root.path().join("elsewhere");
        let found = obstacles(&configuration, &"a.x".parse().unwrap(), &elsewhere);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|o| o.severity == Severity::Advice));
    }
}
