//! When a certificate is tried, and when it isn't: names without an address, back-off, the CA's limits, and what is due together.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::shop::{NAMES, Shop};
use crate::support::{App, Nginx, Pebble, Server, Sidedoor, eventually};

/// The only certificate that `status --json` tells of.
fn status(sidedoor: &Sidedoor) -> Value {
    let status = sidedoor.call(["status", "--json"]).succeeded();
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    status["certificates"][0].clone()
}

fn reason(sidedoor: &Sidedoor) -> String {
    let reason = &status(sidedoor)["next_attempt"]["reason"]["reason"];
    reason.as_str().unwrap_or_default().to_owned()
}

/// A shop whose CA rejects no nonce, so that each order is placed by one request.
fn counting() -> Shop {
    Shop::visited_by(|ca| ca.rejecting_nonces(0))
}

/// How often the CA was asked for something by POST to a path that ends so.
fn asked(pebble: &Pebble, path: &str) -> usize {
    let post = format!("POST /{path} ->");
    pebble.log().matches(&post).count()
}

#[test]
fn the_sidecar_waits_for_a_name_to_resolve_and_goes_when_it_does() {
    let shop = counting();
    shop.pebble.forget_all_names();
    shop.pebble.give_address_to(NAMES[0]);
    let sidecar = shop.sidedoor.run();
    eventually("it waits", Duration::from_secs(20), || {
        (reason(&shop.sidedoor) == "unresolved").then_some(())
    });
    assert_eq!(
        status(&shop.sidedoor)["next_attempt"]["reason"]["names"],
        serde_json::json!([NAMES[1]])
    );
    assert!(status(&shop.sidedoor)["failure"].is_null());
    assert_eq!(asked(&shop.pebble, "order-plz"), 0);
    shop.pebble.give_address_to(NAMES[1]);
    eventually("the certificate", Duration::from_secs(30), || {
        sidecar
            .log()
            .contains("a new certificate is live")
            .then_some(())
    });
    assert_eq!(asked(&shop.pebble, "order-plz"), 1);
}

#[test]
fn a_command_says_which_name_does_not_resolve_and_whoever_insists_is_not_kept() {
    let shop = counting();
    shop.pebble.forget_all_names();
    let refused = shop.issue().exited(1);
    for name in NAMES {
        assert!(refused.stderr.contains(name), "{refused:#?}");
    }
    assert!(refused.stderr.contains("DNS"), "{refused:#?}");
    assert_eq!(asked(&shop.pebble, "order-plz"), 0);
    shop.assert_as_if_nothing_had_been();
    shop.sidedoor.call(["issue", "shop", "--force"]).exited(1);
    assert_eq!(asked(&shop.pebble, "order-plz"), 1);
}

#[test]
fn what_has_failed_keeps_its_distance_also_after_a_restart_but_not_from_a_new_configuration() {
    const UNKNOWN: &str = "profile = \"none-such\"";
    let shop = Shop::configured(UNKNOWN);
    let attempts = || status(&shop.sidedoor)["failure"]["attempts"].as_u64();
    let sidecar = shop.sidedoor.run();
    eventually("a failure", Duration::from_secs(20), || {
        (attempts() == Some(1)).then_some(())
    });
    assert!(sidecar.stop().success());
    // Neither another sidecar nor the job of a timer tries again at once; somebody who asks does.
    let _sidecar = shop.sidedoor.run();
    let waiting = shop.sidedoor.call(["renew"]).exited(1);
    assert!(waiting.stderr.contains("waiting: shop"), "{waiting:#?}");
    assert_eq!(reason(&shop.sidedoor), "back-off");
    assert_eq!(attempts(), Some(1));
    shop.issue().exited(1);
    assert_eq!(attempts(), Some(2));
    let file = shop.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(UNKNOWN, "")).unwrap();
    eventually("the certificate", Duration::from_secs(20), || {
        status(&shop.sidedoor)["failure"].is_null().then_some(())
    });
    assert_eq!(shop.sidedoor.versions("shop").len(), 1);
}

#[test]
fn a_limit_that_is_used_up_is_not_run_into_unless_somebody_insists() {
    let shop = counting();
    shop.issue().succeeded();
    let budgets = shop.sidedoor.state().join("budgets");
    let budget = fs::read_dir(budgets).unwrap().next().unwrap().unwrap();
    let used_up = serde_json::json!({ "failures": { NAMES[0]: "2999-01-01T00:00:00Z" } });
    fs::write(budget.path(), used_up.to_string()).unwrap();
    let orders = asked(&shop.pebble, "order-plz");
    // Another set of names is needed, and the old certificate goes on serving.
    let refused = shop.sidedoor.call(["issue", "-d", NAMES[0]]).exited(1);
    assert!(refused.stderr.contains("limit"), "{refused:#?}");
    assert!(refused.stderr.contains("room again at"), "{refused:#?}");
    assert_eq!(asked(&shop.pebble, "order-plz"), orders);
    shop.assert_as_if_nothing_had_been();
    shop.sidedoor
        .call(["issue", "-d", NAMES[0], "--force"])
        .succeeded();
}

#[test]
fn what_is_due_together_shares_its_reloads() {
    const HOSTS: usize = 25;
    let app = App::named("shop");
    let names: Vec<_> = (0..HOSTS).map(|n| format!("host{n}")).collect();
    let domains: Vec<_> = names.iter().map(|name| format!("{name}.example")).collect();
    let servers = names
        .iter()
        .zip(&domains)
        .map(|(name, domain)| Server::of(&[domain]).to(&app).with_door(name));
    let nginx = Nginx::serving(servers);
    let pebble = Pebble::visiting(&nginx).start();
    let apps = names.iter().zip(&domains);
    let apps = apps.map(|(name, domain)| (name.as_str(), domain.as_str()));
    let sidedoor = Sidedoor::beside(&nginx, &pebble).apps(apps, &app);
    sidedoor.call(["renew"]).succeeded();
    for name in &names {
        assert_eq!(sidedoor.versions(name).len(), 1);
    }
    let reloads = nginx.log().matches("signal 1 (SIGHUP) received").count();
    // One opens the doors, one closes them and puts the certificates live; a busy machine may miss a few of them.
    assert!(reloads <= 4, "{reloads} reloads for {HOSTS} certificates");
}
