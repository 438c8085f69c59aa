//! What can't succeed fails with exit status 1 and one clear sentence, and leaves everything as it was.

use std::fs;
use std::path::PathBuf;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Outcome, Tree};

/// What nginx reads, at one moment.
#[derive(Debug, PartialEq)]
struct Before {
    configuration: String,
    elsewhere: Tree,
    doors: Tree,
}

impl Before {
    fn of(shop: &Shop) -> Self {
        Self {
            configuration: fs::read_to_string(shop.nginx.configuration()).unwrap(),
            elsewhere: Tree::of(&shop.nginx.prefix().join("conf.d")),
            doors: Tree::of(&shop.nginx.doors()),
        }
    }
}

/// Issues in vain; what was said, once it is known that nothing has changed.
#[track_caller]
fn refused(shop: &Shop) -> Outcome {
    let before = Before::of(shop);
    let outcome = shop.issue().exited(1);
    assert_eq!(Before::of(shop), before, "{outcome:#?}");
    assert_eq!(shop.nginx.get(NAMES[0], "/").text(), "shop");
    let live = Certificate::in_file(&shop.sidedoor.live("shop").join("fullchain.pem"));
    assert!(!live.issuer.contains("Pebble"), "a placeholder at most");
    outcome
}

#[test]
fn a_location_that_is_there_already_is_named_before_anything_is_written() {
    let location = "location ^~ /.well-known/acme-challenge/ { return 418; }";
    let shop = Shop::with(|server| server.after(location));
    let workers = shop.nginx.workers();
    let outcome = refused(&shop);
    let file = shop.nginx.configuration();
    let line = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .position(|line| line.contains("acme-challenge"))
        .unwrap()
        + 1;
    let place = format!("{}:{line}", file.display());
    assert!(outcome.stderr.contains(&place), "{place} in {outcome:#?}");
    assert_eq!(shop.nginx.workers(), workers, "nginx was not even reloaded");
}

#[test]
fn a_configuration_broken_elsewhere_is_told_in_nginxs_own_words() {
    let shop = Shop::plain();
    shop.nginx.write_elsewhere("theirs.conf", "nonsense;\n");
    let outcome = refused(&shop);
    assert!(outcome.stderr.contains("theirs.conf"), "{outcome:#?}");
    assert!(outcome.stderr.contains("nonsense"), "{outcome:#?}");
}

#[test]
fn an_include_directory_that_cannot_be_written_is_named() {
    let shop = Shop::plain();
    let directory = shop.nginx.door_directory("shop");
    // Modes don't bind root, but nobody can write into a file as if it were a directory.
    fs::remove_dir(&directory).unwrap();
    fs::write(&directory, "not a directory").unwrap();
    let outcome = refused(&shop);
    let named = directory.display().to_string();
    assert!(outcome.stderr.contains(&named), "{outcome:#?}");
}

#[test]
fn a_ca_that_refuses_is_quoted() {
    let shop = Shop::visited_by(|ca| ca.refusing("shop.example"));
    let outcome = refused(&shop);
    assert!(
        outcome.stderr.contains("rejectedIdentifier") || outcome.stderr.contains("blocklist"),
        "{outcome:#?}"
    );
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_ca_that_cannot_be_reached_is_named() {
    let mut shop = Shop::plain();
    shop.pebble.end();
    let outcome = refused(&shop);
    let url = shop.pebble.directory_url();
    let address = url.trim_start_matches("https://").trim_end_matches("/dir");
    assert!(outcome.stderr.contains(address), "{outcome:#?}");
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_refused_renewal_leaves_the_live_certificate_alone() {
    let mut shop = Shop::plain();
    shop.issue().succeeded();
    shop.serve_tls();
    let (serial, live) = (
        shop.nginx.certificate(NAMES[0]).serial,
        Tree::of(&shop.sidedoor.state().join("live")),
    );
    shop.nginx.write_elsewhere("theirs.conf", "nonsense;\n");
    shop.sidedoor.call(["renew", "shop", "--force"]).exited(1);
    assert_eq!(shop.nginx.certificate(NAMES[0]).serial, serial);
    assert_eq!(Tree::of(&shop.sidedoor.state().join("live")), live);
    assert_eq!(shop.doors(), Vec::<PathBuf>::new());
}
