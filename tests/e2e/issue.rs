//! One certificate, from the command to what nginx serves.

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, eventually};
use std::time::Duration;

#[test]
fn the_first_certificate_comes_and_no_door_stays() {
    let mut shop = Shop::plain();
    shop.issue().succeeded();
    shop.assert_as_if_nothing_had_been();
    shop.serve_tls();
    assert_eq!(shop.nginx.certificate(NAMES[0]).names, NAMES);
    for name in NAMES {
        assert!(shop.pebble.vouches_for(&shop.nginx, name), "{name}");
    }
}

#[test]
fn the_next_certificate_is_served_when_the_command_ends() {
    let mut shop = Shop::plain();
    shop.issue().succeeded();
    shop.serve_tls();
    let first = shop.nginx.certificate(NAMES[0]);
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    let second = shop.nginx.certificate(NAMES[0]);
    assert_ne!(first.serial, second.serial);
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert_eq!(second, Certificate::in_file(&live));
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_ca_that_rejects_every_second_nonce_is_asked_again() {
    let shop = Shop::visited_by(|ca| ca.rejecting_nonces(50));
    shop.issue().succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn authorizations_that_are_still_valid_are_not_waited_for() {
    let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(100));
    shop.issue().succeeded();
    shop.serve_tls();
    let first = shop.nginx.certificate(NAMES[0]);
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, first.serial);
}

#[test]
fn a_ca_that_takes_its_time_is_waited_for() {
    let shop = Shop::visited_by(|ca| ca.sleeping(2));
    shop.issue().succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_certificate_for_one_of_an_apps_names_is_named_after_it() {
    let shop = Shop::plain();
    shop.sidedoor.call(["issue", "-d", NAMES[1]]).succeeded();
    let live = shop.sidedoor.live(NAMES[1]).join("fullchain.pem");
    assert_eq!(Certificate::in_file(&live).names, [NAMES[1]]);
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn names_that_are_an_apps_get_the_apps_certificate() {
    let shop = Shop::plain();
    let backwards = ["issue", "-d", NAMES[1], "-d", NAMES[0]];
    shop.sidedoor.call(backwards).succeeded();
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert!(Certificate::in_file(&live).issuer.contains("Pebble"));
}

#[test]
fn a_running_sidecar_issues_for_the_command() {
    let mut shop = Shop::plain();
    let sidecar = shop.sidecar();
    shop.serve_tls();
    shop.sidedoor.call(["issue", "shop", "--force"]).succeeded();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
    shop.assert_as_if_nothing_had_been();
    assert!(sidecar.stop().success());
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn nginx_starts_on_the_placeholder_and_serves_the_first_certificate_when_the_command_ends() {
    let mut shop = Shop::plain();
    let sidecar = shop.sidedoor.run();
    let live = shop.sidedoor.live("shop").join("privkey.pem");
    eventually("the placeholder", Duration::from_secs(10), || {
        live.is_file().then_some(())
    });
    shop.serve_tls();
    shop.issue().succeeded();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
    assert!(sidecar.stop().success());
}

#[test]
fn a_certificate_that_is_still_good_is_left_alone_unless_forced() {
    let shop = Shop::plain();
    shop.issue().succeeded();
    shop.issue().succeeded();
    shop.sidedoor.call(["renew"]).succeeded();
    assert_eq!(shop.sidedoor.versions("shop").len(), 1);
    shop.sidedoor.call(["renew", "--force"]).succeeded();
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
}

#[test]
fn a_command_may_come_while_the_sidecar_starts() {
    let mut shop = Shop::plain();
    let sidecar = shop.sidedoor.run();
    shop.issue().succeeded();
    shop.serve_tls();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
    shop.assert_as_if_nothing_had_been();
    assert!(sidecar.stop().success());
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_sidecar_that_starts_gets_the_certificates_that_are_missing() {
    let shop = Shop::plain();
    let _sidecar = shop.sidecar();
    assert_eq!(shop.sidedoor.versions("shop").len(), 1);
}

#[test]
fn a_sidecar_renews_a_certificate_that_is_no_apps_as_well() {
    let shop = Shop::visited_by(|ca| ca.valid_for(Duration::from_secs(20)));
    shop.sidedoor.call(["issue", "-d", NAMES[1]]).succeeded();
    let _sidecar = shop.sidedoor.run();
    eventually("a second certificate", Duration::from_secs(60), || {
        (shop.sidedoor.versions(NAMES[1]).len() > 1).then_some(())
    });
}
