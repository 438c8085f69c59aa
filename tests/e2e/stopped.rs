//! Whatever ends a command, no door stays; and no door goes while somebody needs it.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::shop::{NAMES, Shop};
use crate::support::{Running, eventually};

/// A shop whose CA takes seconds to come.
fn a_shop_far_away() -> Shop {
    Shop::visited_by(|ca| ca.sleeping(8))
}

/// An issuance whose door stands.
fn under_way(shop: &Shop) -> Running {
    let command = shop.sidedoor.start(["issue", "shop", "-v"]);
    until_the_door_stands(shop);
    command
}

fn until_the_door_stands(shop: &Shop) {
    eventually("the door stands", Duration::from_secs(20), || {
        (shop.doors().len() == 1).then_some(())
    });
}

#[test]
fn ctrl_c_closes_the_door() {
    let shop = a_shop_far_away();
    let status = under_way(&shop).ends_after(Signal::INT);
    assert!(!status.success());
    shop.assert_as_if_nothing_had_been();
    shop.issue().succeeded();
}

#[test]
fn sigterm_closes_the_door() {
    let shop = a_shop_far_away();
    let status = under_way(&shop).ends_after(Signal::TERM);
    assert!(!status.success());
    shop.assert_as_if_nothing_had_been();
    shop.issue().succeeded();
}

#[test]
fn a_killed_commands_door_is_swept_by_the_next() {
    let shop = a_shop_far_away();
    under_way(&shop).kill();
    assert_eq!(shop.doors().len(), 1);
    assert_eq!(shop.nginx.test(), Ok(()));
    assert_eq!(shop.nginx.get(NAMES[0], "/").text(), "shop");
    shop.sidedoor.call(["close", "--all"]).succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_door_that_a_living_process_holds_is_not_swept() {
    let shop = a_shop_far_away();
    let command = under_way(&shop);
    let doors = shop.doors();
    let _ = shop.sidedoor.call(["close", "--all"]);
    assert_eq!(shop.doors(), doors);
    assert!(command.ends().success());
    assert_eq!(shop.doors(), Vec::<PathBuf>::new());
}

#[test]
fn a_sidecar_that_is_stopped_while_it_issues_closes_the_door() {
    let shop = a_shop_far_away();
    let sidecar = shop.sidedoor.run();
    until_the_door_stands(&shop);
    assert!(sidecar.stop().success());
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn no_core_dump_can_hold_a_private_key() {
    let shop = Shop::plain();
    let sidecar = shop.sidedoor.run();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", sidecar.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}
