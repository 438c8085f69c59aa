//! A CA that suggests when to renew and is told what is replaced (RFC 9773), from end to end: it takes a newer Pebble.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shop::{NAMES, Shop};

const REPLACEMENT: &str = "is a replacement of";
const QUESTION: &str = "/renewalInfo/";

/// A shop with a certificate of such a CA, which nginx serves.
fn shop() -> Option<Shop> {
    let mut shop = Shop::with_newer_ca("profile = \"classic\"")?;
    shop.issue().succeeded();
    shop.serve_tls();
    Some(shop)
}

fn times(shop: &Shop, what: &str) -> usize {
    shop.pebble.log().matches(what).count()
}

/// Has the CA suggest this window for what is live.
fn suggest(shop: &Shop, start: &str, end: &str) {
    let certificate = fs::read_to_string(shop.sidedoor.live("shop").join("cert.pem")).unwrap();
    let answer = format!("{{\"suggestedWindow\":{{\"start\":\"{start}\",\"end\":\"{end}\"}}}}");
    shop.pebble.suggest(&certificate, &answer);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_window_that_is_over_is_followed_at_once_and_the_ca_hears_what_is_replaced() {
    let Some(shop) = shop() else { return };
    let before = shop.nginx.certificate(NAMES[0]);
    suggest(&shop, "2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z");
    shop.sidedoor.call(["renew"]).succeeded();
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, before.serial);
    assert_eq!(times(&shop, REPLACEMENT), 1);
}

#[test]
fn a_window_that_lies_ahead_is_waited_for_and_asked_about_once() {
    let Some(shop) = shop() else { return };
    suggest(&shop, "2091-01-01T00:00:00Z", "2091-01-02T00:00:00Z");
    for _ in 0..3 {
        shop.sidedoor.call(["renew"]).succeeded();
    }
    assert_eq!(shop.sidedoor.versions("shop").len(), 1);
    assert_eq!(times(&shop, QUESTION), 1);
}

#[test]
fn what_has_been_replaced_already_is_ordered_without_saying_so() {
    let Some(shop) = shop() else { return };
    let state = shop.sidedoor.state();
    let saved = state.with_file_name("saved");
    copy(&state, &saved);
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert_eq!(times(&shop, REPLACEMENT), 1);
    // As after a restored backup: the CA knows more than we do.
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&saved, &state).unwrap();
    shop.nginx.reload();
    let before = shop.nginx.certificate(NAMES[0]);
    let said = shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert!(said.stderr.contains("alreadyReplaced"), "{said:#?}");
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, before.serial);
    assert_eq!(times(&shop, REPLACEMENT), 1);
}
