//! The scene of most tests: one app behind nginx, a CA that visits it, and sidedoor set up for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{
    App, Behaviour, Certificate, Nginx, Outcome, Pebble, Running, Server, Sidedoor, Tree,
    eventually, newer_pebble,
};

/// The shop's names.
pub(crate) const NAMES: [&str; 2] = ["shop.example", "www.shop.example"];

/// A shop that is open for its users, with no certificate yet.
pub(crate) struct Shop {
    pub(crate) sidedoor: Sidedoor,
    pub(crate) pebble: Pebble,
    pub(crate) nginx: Nginx,
    pub(crate) app: App,
}

impl Shop {
    /// With a plain server, a transient door, and a CA that behaves as Pebble does by default but for its sleeps.
    pub(crate) fn plain() -> Self {
        Self::with(|server| server)
    }

    /// With what the operator has written into the server.
    pub(crate) fn with(written: impl FnOnce(Server) -> Server) -> Self {
        Self::whole(written, "", |visiting| visiting)
    }

    /// With a CA of some behaviour.
    pub(crate) fn visited_by(behaviour: impl FnOnce(Behaviour) -> Behaviour) -> Self {
        Self::whole(|server| server, "", behaviour)
    }

    /// With further lines in the app's table of sidedoor's configuration.
    pub(crate) fn configured(lines: &str) -> Self {
        Self::whole(|server| server, lines, |visiting| visiting)
    }

    /// With a CA that knows when to renew and has profiles, and further lines in the app's table; nothing where there is none.
    pub(crate) fn with_newer_ca(lines: &str) -> Option<Self> {
        newer_pebble()?;
        let newer = |visiting: Behaviour| visiting.newer().expect("it was there just now");
        Some(Self::whole(|server| server, lines, newer))
    }

    /// With all of that.
    pub(crate) fn whole(
        written: impl FnOnce(Server) -> Server,
        lines: &str,
        behaviour: impl FnOnce(Behaviour) -> Behaviour,
    ) -> Self {
        let app = App::named("shop");
        let server = Server::of(&NAMES).to(&app).with_door("shop");
        let nginx = Nginx::serving([written(server)]);
        let pebble = behaviour(Pebble::visiting(&nginx)).start();
        let sidedoor = Sidedoor::beside(&nginx, &pebble).app_with("shop", &NAMES, &app, lines);
        Self {
            sidedoor,
            pebble,
            nginx,
            app,
        }
    }

    /// nginx serves what is live over TLS from now on.
    pub(crate) fn serve_tls(&mut self) {
        let live = self.sidedoor.live("shop");
        self.nginx.add(
            Server::of(&NAMES)
                .to(&self.app)
                .with_door("shop")
                .over_tls(&live),
        );
        self.nginx.reload();
    }

    /// With a certificate that nginx serves.
    pub(crate) fn certified() -> Self {
        let mut shop = Self::plain();
        shop.issue().succeeded();
        shop.serve_tls();
        shop
    }

    /// `sidedoor issue shop`.
    pub(crate) fn issue(&self) -> Outcome {
        self.sidedoor.call(["issue", "shop"])
    }

    /// The sidecar, once it has got the first certificate by itself.
    pub(crate) fn sidecar(&self) -> Running {
        let sidecar = self.sidedoor.run();
        let live = self.sidedoor.live("shop").join("fullchain.pem");
        eventually("the first certificate", Duration::from_secs(30), || {
            let issued = sidecar.log().contains("a new certificate is live");
            (issued && Certificate::in_file(&live).issuer.contains("Pebble")).then_some(())
        });
        sidecar
    }

    /// Another configuration.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let file = self.sidedoor.configuration();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// With these CAs in place of its own.
    pub(crate) fn ordering_from(&self, cas: &[&Pebble]) {
        let directories: Vec<_> = cas.iter().map(|ca| ca.directory_url()).collect();
        let own = format!("directory = {:?}", self.pebble.directory_url());
        self.configure(&own, &format!("directory = {directories:?}"));
        self.trusting(cas);
    }

    /// Reaches all these CAs.
    pub(crate) fn trusting(&self, cas: &[&Pebble]) {
        let anchors = cas
            .iter()
            .map(|ca| fs::read_to_string(ca.ca_file()).unwrap());
        let file = self.sidedoor.configuration().with_file_name("cas.pem");
        fs::write(&file, anchors.collect::<String>()).unwrap();
        let own = format!("ca_file = {:?}", self.pebble.ca_file());
        self.configure(&own, &format!("ca_file = {file:?}"));
    }

    /// The doors that stand, as files below nginx's directory of doors.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        let tree = Tree::of(&self.nginx.doors());
        tree.includes().into_iter().map(Path::to_owned).collect()
    }

    /// Panics unless nginx's configuration is valid, nobody's door stands, and the shop serves.
    pub(crate) fn assert_as_if_nothing_had_been(&self) {
        assert_eq!(self.nginx.test(), Ok(()));
        assert_eq!(self.doors(), Vec::<PathBuf>::new());
        assert_eq!(self.nginx.get(NAMES[0], "/").text(), "shop");
    }
}
