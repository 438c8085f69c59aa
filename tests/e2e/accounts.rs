//! The account at the CA: made, shown, given another key, closed; alone, and through a running sidecar.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sidedoor::acme::Credentials;

use crate::shop::Shop;
use crate::support::Outcome;

impl Shop {
    /// `sidedoor account …`, which succeeds.
    fn account(&self, arguments: &[&str]) -> Outcome {
        self.sidedoor
            .call(["account"].iter().chain(arguments))
            .succeeded()
    }

    fn shown(&self) -> Value {
        serde_json::from_str(&self.account(&["show", "--json"]).stdout).unwrap()
    }

    /// The one directory of an account.
    fn account_directory(&self) -> PathBuf {
        let directories = fs::read_dir(self.sidedoor.state().join("accounts")).unwrap();
        let directories: Vec<_> = directories.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(directories.len(), 1, "{directories:?}");
        directories[0].clone()
    }

    fn account_file(&self) -> PathBuf {
        self.account_directory().join("account.json")
    }

    /// Another certificate is ordered, so that the account has to be good.
    fn renew(&self) {
        self.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    }
}

fn read(file: &Path) -> Credentials {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn an_account_is_made_and_shown_and_the_certificates_use_it() {
    let shop = Shop::plain();
    let before = shop.shown();
    assert_eq!(before["url"], Value::Null);
    assert!(shop.account(&["show"]).stdout.contains("no account"));
    shop.account(&["register"]);
    let made = shop.shown();
    assert_eq!(made["status"], "valid");
    assert_eq!(made["contact"], serde_json::json!(["ops@example.com"]));
    let file = shop.account_file();
    assert_eq!(made["file"], file.display().to_string());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        read(&file).thumbprint().unwrap(),
        made["thumbprint"].as_str().unwrap()
    );
    shop.issue().succeeded();
    shop.account(&["register"]);
    assert_eq!(shop.shown(), made);
}

#[test]
fn a_new_key_is_used_by_the_sidecar_that_was_asked_for_it() {
    let shop = Shop::plain();
    let _sidecar = shop.sidecar();
    let before = shop.shown();
    let told = shop.account(&["rollover"]).stdout;
    let after = shop.shown();
    assert_eq!(before["url"], after["url"]);
    assert_ne!(before["thumbprint"], after["thumbprint"]);
    assert!(
        told.contains(after["thumbprint"].as_str().unwrap()),
        "{told}"
    );
    shop.renew();
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
}

#[test]
fn a_new_key_is_used_by_a_sidecar_that_heard_nothing_of_it() {
    let shop = Shop::plain();
    let _sidecar = shop.sidecar();
    let mut other = shop.sidedoor.with_another_admin();
    other.args(["account", "rollover"]);
    Outcome::of(&other).succeeded();
    shop.renew();
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
}

#[test]
fn after_a_crash_on_either_side_of_the_change_the_account_has_one_key_again() {
    let shop = Shop::plain();
    shop.issue().succeeded();
    let file = shop.account_file();
    let next = file.with_file_name("account.json.next");

    // The CA had heard of the new key, and we had not heard of that.
    let old = fs::read(&file).unwrap();
    shop.account(&["rollover"]);
    let new = read(&file).thumbprint().unwrap();
    fs::rename(&file, &next).unwrap();
    fs::write(&file, old).unwrap();
    shop.renew();
    assert_eq!(read(&file).thumbprint().unwrap(), new);
    assert!(!next.exists());

    // The CA had not heard of it.
    let prepared = read(&file).with_new_key().unwrap();
    fs::write(&next, serde_json::to_vec(&prepared).unwrap()).unwrap();
    shop.renew();
    let settled = read(&file).thumbprint().unwrap();
    assert_eq!(settled, prepared.thumbprint().unwrap());
    assert!(!next.exists());
    shop.renew();
}

#[test]
fn an_account_is_closed_only_by_who_says_so_and_its_key_is_kept() {
    let shop = Shop::plain();
    shop.issue().succeeded();
    let file = shop.account_file();
    let key = fs::read(&file).unwrap();
    let asked = shop.sidedoor.call(["account", "deactivate"]).exited(2);
    assert!(asked.stderr.contains("--yes"), "{asked:#?}");
    assert_eq!(shop.shown()["status"], "valid");

    let closed = shop.account(&["deactivate", "--yes"]);
    assert!(closed.stdout.contains("closed"), "{closed:#?}");
    assert!(!file.exists());
    let aside = file.with_file_name("account.json.deactivated-1");
    assert_eq!(fs::read(&aside).unwrap(), key);
    let again = shop
        .sidedoor
        .call(["account", "deactivate", "--yes"])
        .exited(1);
    assert!(again.stderr.contains("no account"), "{again:#?}");
    let old = shop.pebble.log();
    shop.renew();
    assert!(shop.pebble.log().len() > old.len());
    assert_ne!(fs::read(&file).unwrap(), key);
}

#[test]
fn other_addresses_in_the_configuration_are_told_with_the_next_certificate_or_by_hand() {
    let shop = Shop::plain();
    shop.issue().succeeded();
    shop.configure("ops@example.com", "new@example.com");
    shop.renew();
    assert_eq!(
        shop.shown()["contact"],
        serde_json::json!(["new@example.com"])
    );
    shop.configure("new@example.com", "third@example.com");
    shop.account(&["update"]);
    assert_eq!(
        shop.shown()["contact"],
        serde_json::json!(["third@example.com"])
    );
}

#[test]
fn a_ca_that_no_certificate_comes_from_has_no_account_of_ours() {
    let shop = Shop::plain();
    let elsewhere = ["account", "register", "--directory", "zerossl"];
    let outcome = shop.sidedoor.call(elsewhere).exited(1);
    assert!(
        outcome.stderr.contains(&shop.pebble.directory_url()),
        "{outcome:#?}"
    );
    let nonsense = ["account", "register", "--directory", "zerossel"];
    shop.sidedoor.call(nonsense).exited(2);
    let url = shop.pebble.directory_url();
    shop.account(&["register", "--directory", &url]);
}

#[test]
fn terms_that_were_not_agreed_to_are_named_and_no_door_is_opened() {
    let shop = Shop::plain();
    shop.configure("accept_terms = true", "accept_terms = false");
    let workers = shop.nginx.workers();
    for arguments in [&["issue", "shop"][..], &["account", "register"]] {
        let outcome = shop.sidedoor.call(arguments).exited(1);
        assert!(
            outcome.stderr.contains("Do%20what%20thou%20wilt"),
            "{outcome:#?}"
        );
        assert!(
            outcome.stderr.contains("accept_terms = true"),
            "{outcome:#?}"
        );
    }
    assert_eq!(shop.nginx.workers(), workers, "nginx was reloaded");
    shop.assert_as_if_nothing_had_been();
}
