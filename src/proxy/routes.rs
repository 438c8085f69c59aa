//! Which app a request belongs to: the one its door names, else by `Host`, exactly, then by leading wildcard, then the default app
//! (RFC 9110 7.4: otherwise 421).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::identifier::{AppName, Identifier};
use crate::upstream::Upstream;

use super::gate::Gate;
use super::meter::AppMeter;
use super::peer::Peer;
use super::trust::Trust;

/// One app: the names it answers to and where it is reached.
#[derive(Debug, Clone)]
pub struct Route {
    /// The app's name, for logs and metrics.
    pub app: AppName,
    /// The names and addresses it answers to, wildcards included.
    pub hosts: Vec<Identifier>,
    /// Where it is reached; tried in turn. With none, whatever isn't a token of ours gets 404.
    pub upstreams: Vec<Upstream>,
    /// Whether it also answers to every name that no other app has.
    pub is_default: bool,
    /// Whose certificates its `https://` upstreams may show.
    pub trust: Trust,
}

/// All apps of a gate.
#[derive(Debug, Default)]
pub struct Routes {
    /// By the app's own name.
    named: Table,
    exact: Table,
    /// By what follows the `*.`.
    wildcard: Table,
    default: Option<Arc<App>>,
}

/// Apps by name, in order. Nobody but the operator puts names in, so there is nothing to gain from a keyed hash, which costs more.
#[derive(Debug, Default)]
struct Table(Vec<(Box<str>, Arc<App>)>);

impl Table {
    fn new(names: BTreeMap<Box<str>, Arc<App>>) -> Self {
        Self(names.into_iter().collect())
    }

    fn get(&self, name: &str) -> Option<&Arc<App>> {
        let at = self
            .0
            .binary_search_by(|(known, _)| known.as_ref().cmp(name));
        at.ok().map(|at| &self.0[at].1)
    }
}

/// A route as requests see it.
#[derive(Debug)]
pub(super) struct App {
    pub(super) name: AppName,
    pub(super) peers: Vec<Arc<Peer>>,
    next: AtomicUsize,
    /// The gate's counts for an app of this name, which outlive the routes. Looked up once.
    meter: OnceLock<Arc<AppMeter>>,
}

impl App {
    pub(super) fn meter(&self, gate: &Gate) -> &Arc<AppMeter> {
        let counts = || gate.meter.app(Some(&self.name));
        self.meter.get_or_init(counts)
    }

    /// The upstreams in the order in which they are to be tried: each request begins with another one, and those that have failed lately come last.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Arc<Peer>> {
        let count = self.peers.len();
        let first = match count {
            0 | 1 => 0,
            count => self.next.fetch_add(1, Relaxed) % count,
        };
        // One look at each, so that none is skipped because it changed in between. Beyond 64 all count as up.
        let down = self
            .peers
            .iter()
            .take(64)
            .enumerate()
            .filter(|(_, peer)| !peer.is_up())
            .fold(0_u64, |down, (at, _)| down | 1 << at);
        let turn = move || (first..count).chain(0..first);
        let is_down = move |at: &usize| *at < 64 && down >> at & 1 == 1;
        turn()
            .filter(move |at| !is_down(at))
            .chain(turn().filter(is_down))
            .map(|at| &self.peers[at])
    }
}

impl Routes {
    /// Of two routes with the same host, or two defaults, the first wins.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut named = BTreeMap::new();
        let (mut exact, mut wildcard) = (BTreeMap::new(), BTreeMap::new());
        let mut default = None;
        for route in routes {
            let app = Arc::new(App {
                next: AtomicUsize::new(0),
                meter: OnceLock::new(),
                name: route.app,
                peers: route
                    .upstreams
                    .into_iter()
                    .map(|upstream| Arc::new(Peer::new(upstream, &route.trust)))
                    .collect(),
            });
            named
                .entry(app.name.as_str().into())
                .or_insert_with(|| Arc::clone(&app));
            for host in &route.hosts {
                let host = host.host();
                let (names, name) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, host.as_str()),
                };
                names.entry(name.into()).or_insert_with(|| Arc::clone(&app));
            }
            if route.is_default {
                default.get_or_insert(app);
            }
        }
        Self {
            named: Table::new(named),
            exact: Table::new(exact),
            wildcard: Table::new(wildcard),
            default,
        }
    }

    /// The app of this name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<App>> {
        self.named.get(name)
    }

    /// The app for the value of a `Host` header.
    pub(super) fn find(&self, host: &str) -> Option<&Arc<App>> {
        if self.exact.0.is_empty() && self.wildcard.0.is_empty() {
            return self.default.as_ref();
        }
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Some(address) = name.strip_prefix('[') {
            // However it is abbreviated.
            let address = address.trim_end_matches(']').parse::<Ipv6Addr>();
            address
                .ok()
                .and_then(|address| self.exact.get(&format!("[{address}]")))
        } else if name.bytes().any(|b| b.is_ascii_uppercase()) {
            self.find_lower_case(&name.to_ascii_lowercase())
        } else {
            self.find_lower_case(name)
        }
        .or(self.default.as_ref())
    }

    fn find_lower_case(&self, name: &str) -> Option<&Arc<App>> {
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            self.wildcard.get(parent).filter(|_| !label.is_empty())
        })
    }
}

/// `Host` without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(app: &str, hosts: &[&str], is_default: bool) -> Route {
        Route {
            app: app.parse().unwrap(),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            upstreams: Vec::new(),
            is_default,
            trust: Trust::default(),
        }
    }

    fn found<'a>(routes: &'a Routes, host: &str) -> Option<&'a str> {
        routes.find(host).map(|app| app.name.as_str())
    }

    #[test]
    fn prefers_the_exact_name_then_the_wildcard_then_the_default() {
        let routes = Routes::new(vec![
            route("wild", &["*.example.com"], false),
            route("shop", &["shop.example.com", "example.com"], false),
            route("rest", &[], true),
        ]);
        for (host, app) in [
            ("shop.example.com", "shop"),
            ("SHOP.Example.com:8080", "shop"),
            ("shop.example.com.", "shop"),
            ("example.com", "shop"),
            ("a.example.com", "wild"),
            ("a.b.example.com", "rest"),
            (".example.com", "rest"),
            ("[::1]:80", "rest"),
            ("[::1]", "rest"),
            ("", "rest"),
        ] {
            assert_eq!(found(&routes, host), Some(app), "{host}");
        }
    }

    #[test]
    fn an_address_finds_its_app_however_it_is_written() {
        let routes = Routes::new(vec![route("shop", &["192.0.2.1", "2001:db8::1"], false)]);
        for host in [
            "192.0.2.1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[2001:DB8:0:0::1]:8080",
        ] {
            assert_eq!(found(&routes, host), Some("shop"), "{host}");
        }
        for host in ["192.0.2.2", "[2001:db8::2]", "[", "[]", "[x]:80"] {
            assert_eq!(found(&routes, host), None, "{host}");
        }
    }

    #[test]
    fn knows_no_app_for_an_unknown_host_without_a_default() {
        let routes = Routes::new(vec![route("shop", &["shop.example.com"], false)]);
        assert_eq!(found(&routes, "other.example.com"), None);
        assert_eq!(found(&Routes::default(), "a.example"), None);
    }
}
