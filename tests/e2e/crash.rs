//! Killed without a word at each step: what is left is valid, the next start clears it up, and the certificate comes.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Outcome, Sidedoor, eventually};

/// The named steps of an issuance at which the power may go.
const STEPS: [&str; 16] = [
    "begun",
    "account",
    "ordered",
    "door-written",
    "tested",
    "reloaded",
    "door-proven",
    "tokens-in",
    "visited",
    "order-ready",
    "finalised",
    "certificate",
    "saved",
    "flipped",
    "live",
    "door-closed",
];

/// A shop that nginx serves over TLS by what is live, be it only the placeholder.
fn shop() -> Shop {
    let mut shop = Shop::plain();
    shop.sidedoor.call(["issue", "shop"]).succeeded();
    shop.serve_tls();
    shop
}

/// Runs a command that is to be killed at `step`, and sees that it was.
pub(crate) fn crash(sidedoor: &Sidedoor, arguments: &[&str], step: &str) {
    let mut command = sidedoor.command(arguments);
    command.env("SIDEDOOR_CRASH_AT", step);
    let outcome = Outcome::of(&command);
    assert_eq!(outcome.code(), None, "not killed at {step}: {outcome:#?}");
}

/// What holds in the very moment after a crash, before anybody has cleared up.
fn assert_still_standing(shop: &Shop, step: &str) {
    assert_eq!(shop.nginx.test(), Ok(()), "{step}");
    assert_pair(shop, step);
    assert_eq!(shop.nginx.get(NAMES[0], "/").text(), "shop", "{step}");
    // Through a door that leads to nobody the app answers, for any method.
    let path = "/.well-known/acme-challenge/unknown";
    assert_eq!(shop.nginx.get(NAMES[0], path).text(), "shop", "{step}");
}

/// Key and certificate that are live belong together: nginx would say so otherwise.
fn assert_pair(shop: &Shop, step: &str) {
    let live = shop.sidedoor.live("shop");
    let chain = std::fs::read_to_string(live.join("fullchain.pem")).unwrap();
    let key = std::fs::read_to_string(live.join("privkey.pem")).unwrap();
    let chain = sidedoor::certificate::Chain::from_pem(&chain).unwrap();
    let key = sidedoor::certificate::PrivateKey::from_pem(&key).unwrap();
    assert_eq!(chain.check_key(&key), Ok(()), "{step}");
}

#[test]
fn killed_at_any_step_of_a_renewal_the_next_try_succeeds_and_leaves_no_door() {
    let shop = shop();
    for step in STEPS {
        crash_and_try_again(&shop, step);
    }
}

#[test]
fn killed_at_any_step_of_a_first_issuance_the_next_try_succeeds_and_leaves_no_door() {
    let shop = shop();
    for step in STEPS {
        forget_the_last_visit(&shop);
        crash_and_try_again(&shop, step);
    }
}

/// As before the CA has ever looked: the order is placed while the door is opened.
fn forget_the_last_visit(shop: &Shop) {
    let file = shop.sidedoor.state().join("lineages/shop.json");
    let text = std::fs::read(&file).unwrap();
    let mut lineage: serde_json::Value = serde_json::from_slice(&text).unwrap();
    lineage["validated"] = serde_json::Value::Null;
    std::fs::write(&file, lineage.to_string()).unwrap();
}

fn crash_and_try_again(shop: &Shop, step: &str) {
    let before = shop.nginx.certificate(NAMES[0]);
    crash(&shop.sidedoor, &["renew", "shop", "--force"], step);
    assert_still_standing(shop, step);
    let outcome = shop
        .sidedoor
        .call(["-v", "issue", "shop", "--force"])
        .succeeded();
    shop.assert_as_if_nothing_had_been();
    let after = shop.nginx.certificate(NAMES[0]);
    assert_ne!(before.serial, after.serial, "{step}: {outcome:#?}");
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert_eq!(after, Certificate::in_file(&live), "{step}");
}

#[test]
fn a_sidecar_that_starts_after_a_crash_closes_the_door_it_left() {
    let shop = shop();
    for step in ["door-written", "reloaded", "tokens-in"] {
        crash(&shop.sidedoor, &["renew", "shop", "--force"], step);
        assert_eq!(shop.doors().len(), 1, "{step}");
        let sidecar = shop.sidedoor.run();
        eventually("the door is gone", Duration::from_secs(20), || {
            shop.doors().is_empty().then_some(())
        });
        assert!(sidecar.stop().success());
        shop.assert_as_if_nothing_had_been();
    }
}

#[test]
fn close_all_clears_up_after_a_crash() {
    let shop = shop();
    crash(&shop.sidedoor, &["renew", "shop", "--force"], "tokens-in");
    assert_eq!(shop.doors().len(), 1);
    let outcome = shop.sidedoor.call(["close", "--all"]).succeeded();
    assert!(
        outcome.stdout.contains("the door of shop is closed"),
        "{outcome:#?}"
    );
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_certificate_that_was_saved_before_the_crash_is_put_live_without_another_order() {
    let shop = shop();
    crash(&shop.sidedoor, &["renew", "shop", "--force"], "saved");
    let outcome = shop.sidedoor.call(["-v", "issue", "shop"]).succeeded();
    assert!(!outcome.stderr.contains("ordered"), "{outcome:#?}");
    assert!(outcome.stderr.contains("live"), "{outcome:#?}");
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert_eq!(
        shop.nginx.certificate(NAMES[0]),
        Certificate::in_file(&live)
    );
}

#[test]
fn a_sidecar_killed_in_the_middle_leaves_nothing_that_the_next_does_not_clear_up() {
    let shop = shop();
    let mut command = shop.sidedoor.command(["run"]);
    command.env("SIDEDOOR_CRASH_AT", "tokens-in");
    let sidecar = shop.sidedoor.start_command(&command);
    let admin = shop.sidedoor.admin();
    eventually("it takes orders", Duration::from_secs(20), || {
        UnixStream::connect(&admin).ok()
    });
    shop.sidedoor.call(["renew", "shop", "--force"]).exited(1);
    sidecar.ends();
    assert_still_standing(&shop, "tokens-in");
    let sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert!(sidecar.stop().success());
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_door_that_a_living_process_holds_is_not_swept() {
    let shop = shop();
    let holder = shop.sidedoor.start(["open", "shop"]);
    eventually("the door is open", Duration::from_secs(20), || {
        holder.log().contains("is open until").then_some(())
    });
    // Another configuration of the same state, whose commands don't find the holder's admin socket.
    let mut stranger = shop.sidedoor.with_another_admin();
    Outcome::of(stranger.args(["close", "--all"])).succeeded();
    assert_eq!(shop.doors().len(), 1);
    assert!(holder.stop().success());
    shop.assert_as_if_nothing_had_been();
}
