//! Tried out at a CA's staging: all is done as it would be, and nothing is changed.

use crate::shop::{NAMES, Shop};
use crate::support::{Behaviour, Pebble, Server, Tree};

/// A shop, and where its CA's certificates are tried out.
struct Rehearsal {
    shop: Shop,
    staging: Pebble,
}

impl Rehearsal {
    fn of(shop: Shop) -> Self {
        Self::at(shop, |staging| staging)
    }

    fn at(shop: Shop, behaviour: impl FnOnce(Behaviour) -> Behaviour) -> Self {
        let staging = behaviour(Pebble::visiting(&shop.nginx)).start();
        let wish = format!(
            "accept_terms = true\nstaging_directory = {:?}",
            staging.directory_url()
        );
        shop.configure("accept_terms = true", &wish);
        shop.trusting(&[&shop.pebble, &staging]);
        Self { shop, staging }
    }

    /// All that is remembered of certificates.
    fn remembered(&self) -> [Tree; 4] {
        let state = self.shop.sidedoor.state();
        ["archive", "live", "lineages", "budgets"].map(|part| {
            let part = state.join(part);
            std::fs::create_dir_all(&part).unwrap();
            Tree::of(&part)
        })
    }
}

#[test]
fn a_certificate_that_would_come_is_thrown_away_and_nothing_is_remembered_of_it() {
    let scene = Rehearsal::of(Shop::certified());
    let Rehearsal { shop, staging } = &scene;
    let before = (scene.remembered(), shop.pebble.log());
    let served = shop.nginx.certificate(NAMES[0]);
    for arguments in [
        &["issue", "shop", "--dry-run"][..],
        &["issue", "-d", NAMES[1], "--dry-run"],
        &["renew", "--dry-run"],
        &["renew", "shop", "--dry-run"],
    ] {
        let orders = staging.log().matches("Issued certificate").count();
        let said = shop.sidedoor.call(arguments).succeeded().stdout;
        assert!(said.contains("would be issued"), "{arguments:?}: {said}");
        assert!(said.contains(&staging.directory_url()), "{said}");
        let now = staging.log().matches("Issued certificate").count();
        assert_eq!(now, orders + 1, "{arguments:?}");
        shop.assert_as_if_nothing_had_been();
    }
    assert_eq!((scene.remembered(), shop.pebble.log()), before);
    assert_eq!(shop.nginx.certificate(NAMES[0]), served);
    let at_staging = ["account", "show", "--directory", &staging.directory_url()];
    let account = shop.sidedoor.call(at_staging).succeeded().stdout;
    assert!(account.contains("status   valid"), "{account}");
}

#[test]
fn before_the_first_certificate_it_leaves_nothing_but_an_account() {
    let scene = Rehearsal::of(Shop::plain());
    let sidecarless = scene.remembered();
    let tried = scene.shop.sidedoor.call(["issue", "--dry-run"]);
    tried.succeeded();
    assert_eq!(scene.remembered(), sidecarless);
    scene.shop.issue().succeeded();
}

#[test]
fn a_running_sidecar_tries_it_out_for_the_command() {
    let scene = Rehearsal::of(Shop::plain());
    let sidecar = scene.shop.sidecar();
    let before = scene.remembered();
    let tried = scene.shop.sidedoor.call(["renew", "--dry-run"]);
    tried.succeeded();
    assert_eq!(scene.remembered(), before);
    assert!(sidecar.stop().success());
    scene.shop.assert_as_if_nothing_had_been();
}

#[test]
fn what_would_be_in_the_way_is_told_and_costs_no_failure() {
    let blocked = |server: Server| server.before("return 301 https://elsewhere.example/;");
    let scene = Rehearsal::of(Shop::with(blocked));
    let before = scene.remembered();
    let tried = scene.shop.sidedoor.call(["issue", "shop", "--dry-run"]);
    let said = tried.exited(1).stderr;
    assert!(
        said.contains("a redirect to https://elsewhere.example/"),
        "{said}"
    );
    assert_eq!(scene.remembered(), before);
    assert_eq!(scene.shop.doors().len(), 0);
}

#[test]
fn what_the_staging_refuses_is_told() {
    let scene = Rehearsal::at(Shop::plain(), |staging| staging.refusing(NAMES[0]));
    let tried = scene.shop.sidedoor.call(["issue", "shop", "--dry-run"]);
    let said = tried.exited(1).stderr;
    assert!(said.contains("rejectedIdentifier"), "{said}");
    scene.shop.assert_as_if_nothing_had_been();
    scene.shop.issue().succeeded();
}

#[test]
fn a_ca_without_a_staging_is_not_bothered() {
    let shop = Shop::plain();
    let log = shop.pebble.log();
    for arguments in [&["issue", "--dry-run"][..], &["renew", "--dry-run"]] {
        let said = shop.sidedoor.call(arguments).exited(1).stderr;
        assert!(said.contains("staging_directory"), "{said}");
    }
    assert_eq!(shop.pebble.log(), log);
    shop.sidedoor
        .call(["issue", "--dry-run", "--force"])
        .exited(2);
}
