//! Many hosts in one nginx: all first certificates at once, and a few that are due among many.

use std::time::Instant;

use crate::support::{App, Certificate, Nginx, Pebble, Server, Sidedoor};

const FIRST: usize = 100;
const HOSTS: usize = 1_000;
const DUE: usize = 50;

/// So many apps, `host0` and so on, each with a name of its own.
struct Street {
    names: Vec<String>,
    domains: Vec<String>,
}

impl Street {
    fn of(count: usize) -> Self {
        let names: Vec<_> = (0..count).map(|n| format!("host{n}")).collect();
        let domains = names.iter().map(|name| format!("{name}.example")).collect();
        Self { names, domains }
    }

    fn apps(&self) -> impl Iterator<Item = (&str, &str)> {
        let domains = self.domains.iter().map(String::as_str);
        self.names.iter().map(String::as_str).zip(domains)
    }
}

fn reloads(nginx: &Nginx) -> usize {
    nginx.log().matches("signal 1 (SIGHUP) received").count()
}

/// Runs a pass and tells how long it took and what it cost nginx.
fn pass(what: &str, nginx: &Nginx, sidedoor: &Sidedoor, arguments: &[&str]) {
    let before = reloads(nginx);
    let start = Instant::now();
    sidedoor.call(arguments).succeeded();
    let took = start.elapsed();
    let reloads = reloads(nginx) - before;
    println!("{what}: {:.2} s, {reloads} reloads", took.as_secs_f64());
}

/// 100 first certificates for 100 hosts.
pub(crate) fn first() {
    let street = Street::of(FIRST);
    let app = App::named("app");
    let servers = street
        .apps()
        .map(|(name, domain)| Server::of(&[domain]).to(&app).with_door(name));
    let nginx = Nginx::serving(servers);
    let pebble = Pebble::visiting(&nginx).rejecting_nonces(0).start();
    let sidedoor = Sidedoor::beside(&nginx, &pebble).apps(street.apps(), &app);
    let what = format!("{FIRST} first certificates");
    pass(&what, &nginx, &sidedoor, &["renew"]);
    for name in &street.names {
        assert_eq!(sidedoor.versions(name).len(), 1);
    }
}

/// 1,000 virtual hosts over TLS, 50 of which are due.
pub(crate) fn due() {
    let street = Street::of(HOSTS);
    let app = App::named("app");
    let plain = street
        .apps()
        .map(|(name, domain)| Server::of(&[domain]).to(&app).with_door(name));
    let mut nginx = Nginx::serving(plain);
    let pebble = Pebble::visiting(&nginx).rejecting_nonces(0).start();
    let sidedoor = Sidedoor::beside(&nginx, &pebble).apps(street.apps(), &app);
    let what = format!("{HOSTS} first certificates");
    pass(&what, &nginx, &sidedoor, &["renew"]);
    let over_tls = street.apps().map(|(name, domain)| {
        let live = sidedoor.live(name);
        Server::of(&[domain])
            .to(&app)
            .with_door(name)
            .over_tls(&live)
    });
    nginx.add_all(over_tls);
    let start = Instant::now();
    nginx.reload();
    println!(
        "one reload by nginx -s reload, until the old workers are gone: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    pass("nothing due", &nginx, &sidedoor, &["renew"]);
    let due: Vec<_> = street.names.iter().take(DUE).map(String::as_str).collect();
    let before: Vec<_> = due.iter().map(|name| serial(&nginx, name)).collect();
    let mut arguments = vec!["renew", "--force"];
    arguments.extend(&due);
    let what = format!("{DUE} renewals among {HOSTS} hosts");
    pass(&what, &nginx, &sidedoor, &arguments);
    for (name, before) in due.iter().zip(before) {
        assert_ne!(serial(&nginx, name), before, "{name} is served anew");
    }
}

fn serial(nginx: &Nginx, name: &str) -> String {
    Certificate::served(nginx.tls_port(), &format!("{name}.example")).serial
}
