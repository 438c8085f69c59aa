//! The ways of a CA's visit through nginx: the sockets it may come by, the rules it meets, the redirects it follows to the door.
//! It finds; what that means is told by [`super::obstacles`].

use std::path::Path;

use super::configuration::{Configuration, in_force};
use super::listen::Address;
use super::server_name::Choice;
use super::site::{DOOR_FILE, Server, is_same};
use super::socket::Socket;
use super::syntax::{Body, Directive, Place};
use super::visit::{Detour, Visit};

/// All ways to one host's door.
pub(super) struct Ways<'a> {
    /// Every socket of the configuration.
    pub(super) sockets: Vec<Socket<'a>>,
    /// The host, in lower case and without port.
    pub(super) host: String,
    /// Where the door's file stands.
    pub(super) include_dir: &'a Path,
}

impl<'a> Ways<'a> {
    pub(super) fn new(
        configuration: &'a Configuration,
        host: String,
        include_dir: &'a Path,
    ) -> Self {
        Self {
            sockets: configuration.sockets(),
            host,
            include_dir,
        }
    }

    /// The sockets that the CA may reach: plain ones on port 80; where there are none, the port is mapped, and any may be it.
    pub(super) fn candidates(&self) -> Vec<Socket<'a>> {
        let keep = |sockets: &mut Vec<Socket<'a>>, wanted: &dyn Fn(&Socket<'a>) -> bool| {
            if sockets.iter().any(wanted) {
                sockets.retain(wanted);
            }
        };
        let mut sockets = self.sockets.clone();
        sockets.retain(|socket| !socket.listen.tls);
        keep(&mut sockets, &|s| s.listen.address.port() == Some(80));
        keep(&mut sockets, &|s| {
            !matches!(s.listen.address, Address::Unix(_))
        });
        keep(&mut sockets, &|s| !is_loopback(&s.listen.address));
        sockets
    }

    /// What a visit by plain http meets in a server before the door.
    pub(super) fn detours(&self, server: Server<'a>, include: &'a Directive) -> Vec<Detour<'a>> {
        self.visit(&self.host, false)
            .detours(server, self.before_door(server, include))
    }

    /// What stands before the door in a server: before the include, and in files which it takes in earlier.
    fn before_door(&self, server: Server<'a>, include: &'a Directive) -> Vec<&'a Directive> {
        let mut before: Vec<_> = server
            .directives()
            .take_while(|directive| !std::ptr::eq(*directive, include))
            .collect();
        if let Body::Included(directives) = &include.body {
            let earlier = directives
                .iter()
                .take_while(|directive| self.comes_before_door(&directive.place.file));
            before.extend(earlier.flat_map(|d| in_force(std::slice::from_ref(d))));
        }
        before
    }

    fn comes_before_door(&self, file: &Path) -> bool {
        let directory = file.parent().unwrap_or(file);
        match is_same(directory, self.include_dir) {
            true => file.file_name() < Some(DOOR_FILE.as_ref()),
            false => file < self.include_dir,
        }
    }

    /// The rule by which a server without a door redirects every challenge: at its own level, or in `location /`.
    pub(super) fn redirect(&self, server: Server<'a>) -> Option<&'a Directive> {
        let visit = self.visit(&self.host, false);
        let certain = |detours: Vec<Detour<'a>>| {
            let last = detours.last()?;
            (detours.len() == 1 && last.certain).then_some(last.rule)
        };
        certain(visit.detours(server, server.directives())).or_else(|| {
            let mut locations = server.directives().filter(|d| d.is("location"));
            let root = locations
                .next()
                .filter(|d| d.arguments().len() == 1 && d.argument() == "/")?;
            match locations.next() {
                Some(_) => None,
                None => certain(visit.detours(server, in_force(root.block()))),
            }
        })
    }

    /// The TLS server with an open way to the door to which a rule redirects the visit.
    pub(super) fn led_to_door(&self, server: Server<'a>, rule: &Directive) -> Option<&'a Place> {
        let visit = self.visit(&self.host, false);
        let host = visit.led_to_tls(server, rule)?;
        let tls = |wanted: Option<u16>| {
            self.sockets
                .iter()
                .find(|s| s.listen.tls && (wanted.is_none() || s.listen.address.port() == wanted))
        };
        let socket = tls(Some(443)).or_else(|| tls(None))?;
        let (Choice::Named(target) | Choice::Default(target)) = socket.chosen(&host) else {
            return None;
        };
        let include = target.includes(self.include_dir)?;
        let visit = self.visit(&host, true);
        let open = visit
            .detours(target, self.before_door(target, include))
            .is_empty();
        open.then(|| target.place())
    }

    fn visit<'v>(&self, host: &'v str, tls: bool) -> Visit<'v> {
        Visit { host, tls }
    }
}

fn is_loopback(address: &Address) -> bool {
    matches!(address, Address::Ip(address) if address.ip().is_loopback())
}
