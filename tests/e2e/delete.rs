//! A certificate forgotten: only if nobody needs it, and nginx starts afterwards as before.

use crate::shop::{NAMES, Shop};
use crate::support::{Server, Tree};

/// A shop with a certificate for one of its names, which is no app's and which nginx doesn't know.
fn with_one_too_many() -> Shop {
    let shop = Shop::certified();
    shop.sidedoor.call(["issue", "-d", NAMES[1]]).succeeded();
    shop
}

fn paths_of(shop: &Shop, name: &str) -> Vec<std::path::PathBuf> {
    let state = shop.sidedoor.state();
    let all = [
        format!("archive/{name}"),
        format!("lineages/{name}.json"),
        format!("live/{name}"),
    ];
    let all = all.map(|path| state.join(path));
    all.into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn a_certificate_that_nobody_needs_is_forgotten_and_what_was_deleted_is_told() {
    let shop = with_one_too_many();
    let paths = paths_of(&shop, NAMES[1]);
    assert_eq!(paths.len(), 3);
    let before = Tree::of(&shop.sidedoor.state());
    let asked = shop.sidedoor.call(["delete", NAMES[1]]).exited(2);
    assert!(asked.stderr.contains("--yes"), "{asked:#?}");
    assert_eq!(Tree::of(&shop.sidedoor.state()), before);

    let deleted = shop
        .sidedoor
        .call(["delete", NAMES[1], "--yes"])
        .succeeded();
    for path in &paths {
        let told = format!("deleted {}\n", path.display());
        assert!(deleted.stdout.contains(&told), "{deleted:#?}");
        assert!(!path.exists());
    }
    assert_eq!(paths_of(&shop, "shop").len(), 3);
    let again = shop.sidedoor.call(["delete", NAMES[1], "--yes"]).exited(1);
    assert!(again.stderr.contains("no certificate"), "{again:#?}");
    shop.sidedoor.call(["renew"]).succeeded();
    assert_eq!(paths_of(&shop, NAMES[1]).len(), 0);
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn an_apps_certificate_and_one_that_nginx_names_stay() {
    let shop = Shop::certified();
    let sidecar = shop.sidedoor.run();
    let state = || Tree::of(&shop.sidedoor.state().join("archive"));
    let before = state();
    let apps = shop.sidedoor.call(["delete", "shop", "--yes"]).exited(1);
    assert!(apps.stderr.contains("enabled = false"), "{apps:#?}");
    assert!(sidecar.stop().success());
    shop.configure("name = \"shop\"", "name = \"shop\"\nenabled = false");
    let named = shop.sidedoor.call(["delete", "shop", "--yes"]).exited(1);
    assert!(named.stderr.contains("nginx.conf:"), "{named:#?}");
    assert_eq!(state(), before);
}

#[test]
fn nginx_starts_also_after_what_it_names_was_deleted_by_force() {
    let shop = Shop::certified();
    shop.configure("name = \"shop\"", "name = \"shop\"\nenabled = false");
    let force = ["delete", "shop", "--force", "--yes"];
    let deleted = shop.sidedoor.call(force).succeeded();
    assert!(deleted.stdout.contains("placeholder"), "{deleted:#?}");
    shop.assert_as_if_nothing_had_been();
    assert_eq!(shop.sidedoor.versions("shop").len(), 0);
    shop.nginx.reload();
    assert_eq!(shop.nginx.certificate(NAMES[0]).names, NAMES);
    assert!(!shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
    // And it is no dead end.
    shop.configure("enabled = false", "");
    shop.issue().succeeded();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
}

#[test]
fn an_apps_certificate_that_nginx_does_not_name_goes_wholly_by_force() {
    let mut shop = Shop::plain();
    shop.issue().succeeded();
    shop.sidedoor
        .call(["delete", "shop", "--force", "--yes"])
        .succeeded();
    assert_eq!(paths_of(&shop, "shop").len(), 0);
    shop.issue().succeeded();
    shop.serve_tls();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
}

#[test]
fn what_nginx_may_name_in_a_file_nobody_can_read_stays() {
    let mut shop = with_one_too_many();
    shop.nginx
        .add(Server::of(&["other.example"]).before("include /nonexistent/of-nobody.conf;"));
    let unknown = shop.sidedoor.call(["delete", NAMES[1], "--yes"]).exited(1);
    assert!(unknown.stderr.contains("can't be told"), "{unknown:#?}");
    assert_eq!(paths_of(&shop, NAMES[1]).len(), 3);
}
