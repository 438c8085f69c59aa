//! Doors: open and closed, by hand and by issuing, transient and permanent.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::shop::{NAMES, Shop};
use crate::support::{Tree, eventually};

/// A shop for which the sidecar does nothing unasked.
fn a_shop_left_alone() -> Shop {
    Shop::configured("enabled = false")
}

const TOKEN: &str = "/.well-known/acme-challenge/nobodys-token";

#[test]
fn a_permanent_door_stays_and_nothing_is_reloaded_to_validate() {
    let shop = Shop::configured("door = \"permanent\"");
    shop.issue().succeeded();
    let doors = Tree::of(&shop.nginx.doors());
    assert_eq!(doors.includes().len(), 1);
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert_eq!(Tree::of(&shop.nginx.doors()), doors);
    assert_eq!(shop.nginx.test(), Ok(()));
}

#[test]
fn behind_an_open_door_a_token_that_is_not_ours_goes_on_to_the_app() {
    let shop = a_shop_left_alone();
    let _sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["open", "shop"]).succeeded();
    assert_eq!(shop.doors().len(), 1);
    let answer = shop.nginx.get(NAMES[0], TOKEN);
    assert_eq!((answer.status, answer.text().as_str()), (200, "shop"));
    shop.sidedoor.call(["close", "shop"]).succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn the_app_answers_behind_a_door_whose_sidecar_is_gone() {
    let shop = a_shop_left_alone();
    let sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["open", "shop"]).succeeded();
    sidecar.kill();
    let answer = shop.nginx.get(NAMES[0], TOKEN);
    assert_eq!((answer.status, answer.text().as_str()), (200, "shop"));
}

#[test]
fn a_permanent_door_that_nobody_holds_is_closed_by_its_name_or_with_all() {
    let shop = Shop::configured("door = \"permanent\"");
    for close in [["close", "shop"], ["close", "--all"]] {
        shop.sidedoor.call(["issue", "shop", "--force"]).succeeded();
        assert_eq!(shop.doors().len(), 1);
        shop.sidedoor.call(close).succeeded();
        shop.assert_as_if_nothing_had_been();
    }
}

#[test]
fn a_permanent_door_that_a_sidecar_holds_stays() {
    let shop = Shop::configured("door = \"permanent\"");
    let _sidecar = shop.sidedoor.run();
    eventually("the door stands", Duration::from_secs(20), || {
        (shop.doors().len() == 1).then_some(())
    });
    shop.sidedoor.call(["close", "--all"]).succeeded();
    let refused = shop.sidedoor.call(["close", "shop"]).exited(1);
    assert!(refused.stderr.contains("permanent"), "{refused:#?}");
    assert_eq!(shop.doors().len(), 1);
}

#[test]
fn closing_what_is_closed_is_no_mistake() {
    let shop = Shop::plain();
    shop.sidedoor.call(["close", "shop"]).succeeded();
    shop.sidedoor.call(["close", "--all"]).succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_sidecar_that_stops_takes_its_doors_with_it() {
    let shop = a_shop_left_alone();
    let sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["open", "shop"]).succeeded();
    assert_eq!(shop.doors().len(), 1);
    assert!(sidecar.stop().success());
    assert_eq!(shop.doors(), Vec::<PathBuf>::new());
}

#[test]
fn a_token_given_by_hand_is_answered_through_nginx_until_it_is_removed() {
    let shop = a_shop_left_alone();
    let _sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["open", "shop"]).succeeded();
    let answer = format!("a-token.{}", "x".repeat(43));
    let path = "/.well-known/acme-challenge/a-token";
    shop.sidedoor
        .call(["challenge", "add", "a-token", &answer])
        .succeeded();
    assert_eq!(shop.nginx.get(NAMES[0], path).text(), answer);
    let list = shop.sidedoor.call(["challenge", "list"]).succeeded();
    assert!(list.stdout.contains("a-token"), "{list:#?}");
    shop.sidedoor
        .call(["challenge", "remove", "a-token"])
        .succeeded();
    assert_eq!(shop.nginx.get(NAMES[0], path).text(), "shop");
}

#[test]
fn the_operators_files_beside_a_door_are_left_alone() {
    let shop = Shop::plain();
    let theirs = shop.nginx.door_directory("shop").join("theirs.conf");
    fs::write(&theirs, "add_header X-Theirs yes;\n").unwrap();
    let before = Tree::of(&shop.nginx.doors());
    shop.issue().succeeded();
    shop.sidedoor.call(["close", "--all"]).succeeded();
    assert_eq!(Tree::of(&shop.nginx.doors()), before);
}

#[test]
fn a_new_app_in_the_configuration_is_known_without_a_restart() {
    let shop = Shop::plain();
    let file = shop.sidedoor.configuration();
    let whole = fs::read_to_string(&file).unwrap();
    let (without, app) = whole.split_once("[[app]]").unwrap();
    fs::write(&file, without).unwrap();
    let _sidecar = shop.sidedoor.run();
    shop.issue().exited(1);
    fs::write(&file, format!("{without}[[app]]{app}")).unwrap();
    eventually("the app is known", Duration::from_secs(10), || {
        shop.issue().status.success().then_some(())
    });
}

#[test]
fn a_bad_new_configuration_leaves_the_old_one_at_work() {
    let shop = Shop::plain();
    let file = shop.sidedoor.configuration();
    let good = fs::read_to_string(&file).unwrap();
    let sidecar = shop.sidecar();
    fs::write(&file, good.replace("shop.example", "a;b")).unwrap();
    eventually("the mistake is told", Duration::from_secs(10), || {
        sidecar.log().contains("a;b").then_some(())
    });
    shop.sidedoor.call(["config", "check"]).exited(2);
    assert_eq!(shop.nginx.get(NAMES[0], "/").text(), "shop");
    fs::write(&file, good).unwrap();
    eventually("it is taken again", Duration::from_secs(10), || {
        let forced = ["issue", "shop", "--force"];
        shop.sidedoor.call(forced).status.success().then_some(())
    });
    assert!(sidecar.stop().success());
}
