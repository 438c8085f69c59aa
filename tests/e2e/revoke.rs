//! A certificate revoked: the CA knows, another one with another key is served, or none until somebody asks for it.

use std::fs;

use serde_json::Value;
use sidedoor::certificate::PrivateKey;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Tree};

impl Shop {
    /// What Pebble says of a certificate: `Valid` or `Revoked`, and why.
    fn fate(&self, certificate: &Certificate) -> (String, Value) {
        let serial = certificate.serial.replace(':', "");
        let path = format!("/cert-status-by-serial/{serial}");
        let answer = self.pebble.management(&path);
        let told: Value = serde_json::from_str(&answer.text()).unwrap();
        (
            told["Status"].as_str().unwrap().to_owned(),
            told["Reason"].clone(),
        )
    }

    fn key(&self) -> PrivateKey {
        let file = self.sidedoor.live("shop").join("privkey.pem");
        PrivateKey::from_pem(&fs::read_to_string(file).unwrap()).unwrap()
    }

    fn told(&self) -> String {
        self.sidedoor.call(["status"]).succeeded().stdout
    }
}

#[test]
fn a_revoked_certificate_is_replaced_by_one_with_another_key() {
    let shop = Shop::certified();
    let (old, old_key) = (shop.nginx.certificate(NAMES[0]), shop.key());
    let revoke = ["revoke", "shop", "--reason", "superseded"];
    let said = shop.sidedoor.call(revoke).succeeded().stdout;
    assert!(said.contains("by the account"), "{said}");
    assert_eq!(shop.fate(&old), ("Revoked".to_owned(), 4.into()));
    let new = shop.nginx.certificate(NAMES[0]);
    assert_ne!(new.serial, old.serial);
    assert_eq!(shop.fate(&new).0, "Valid");
    assert_ne!(shop.key().public_key(), old_key.public_key());
    assert!(!shop.told().contains("REVOKED"));
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_key_that_others_may_have_revokes_for_itself_and_is_never_used_again() {
    let shop = Shop::certified();
    let _sidecar = shop.sidedoor.run();
    let (old, old_key) = (shop.nginx.certificate(NAMES[0]), shop.key());
    let revoke = ["revoke", "shop", "--reason", "keyCompromise"];
    let said = shop.sidedoor.call(revoke).succeeded().stdout;
    assert!(said.contains("by its key"), "{said}");
    assert_eq!(shop.fate(&old), ("Revoked".to_owned(), 1.into()));
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, old.serial);
    assert_ne!(shop.key().public_key(), old_key.public_key());
}

#[test]
fn where_the_account_is_gone_the_certificates_key_revokes() {
    let shop = Shop::certified();
    let old = shop.nginx.certificate(NAMES[0]);
    fs::remove_dir_all(shop.sidedoor.state().join("accounts")).unwrap();
    let said = shop.sidedoor.call(["revoke", "shop"]).succeeded().stdout;
    assert!(said.contains("by its key"), "{said}");
    assert_eq!(shop.fate(&old).0, "Revoked");
    // Another account than the one that has ordered it has no say, either.
    let old = shop.nginx.certificate(NAMES[0]);
    let close = ["account", "deactivate", "--yes"];
    shop.sidedoor.call(close).succeeded();
    shop.sidedoor.call(["account", "register"]).succeeded();
    let said = shop.sidedoor.call(["revoke", "shop"]).succeeded().stdout;
    assert!(said.contains("by its key"), "{said}");
    assert_eq!(shop.fate(&old).0, "Revoked");
}

#[test]
fn a_revocation_that_fails_changes_nothing() {
    let mut shop = Shop::certified();
    let state = || Tree::of(&shop.sidedoor.state());
    let before = state();
    let unknown = shop.sidedoor.call(["revoke", "nobody"]).exited(1);
    assert!(unknown.stderr.contains("nobody"), "{unknown:#?}");
    shop.sidedoor
        .call(["revoke", "shop", "--reason", "boredom"])
        .exited(2);
    assert_eq!(state(), before);
    shop.pebble.end();
    let failed = shop.sidedoor.call(["revoke", "shop"]).exited(1);
    assert!(failed.stderr.contains("next: "), "{failed:#?}");
    assert_eq!(Tree::of(&shop.sidedoor.state()), before);
    assert!(!shop.told().contains("REVOKED"));
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn without_a_new_one_nobody_issues_it_until_somebody_asks_by_hand() {
    let shop = Shop::certified();
    let old = shop.nginx.certificate(NAMES[0]);
    shop.sidedoor
        .call(["revoke", "shop", "--no-new"])
        .succeeded();
    assert_eq!(shop.fate(&old).0, "Revoked");
    assert!(shop.told().contains("REVOKED"), "{}", shop.told());
    shop.sidedoor.call(["renew"]).succeeded();
    let named = shop.sidedoor.call(["renew", "shop", "--force"]).exited(1);
    assert!(named.stderr.contains("sidedoor issue shop"), "{named:#?}");

    let sidecar = shop.sidedoor.run();
    shop.sidedoor.call(["issue", "-d", NAMES[1]]).succeeded();
    shop.sidedoor.call(["renew"]).succeeded();
    assert_eq!(shop.sidedoor.versions("shop").len(), 1);
    assert_eq!(shop.nginx.certificate(NAMES[0]).serial, old.serial);

    shop.issue().succeeded();
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, old.serial);
    assert!(!shop.told().contains("REVOKED"));
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert!(sidecar.stop().success());
}

#[test]
fn a_revoked_certificate_is_replaced_as_soon_as_that_can_be_done() {
    let shop = Shop::certified();
    let old = shop.nginx.certificate(NAMES[0]);
    // nginx takes no door now.
    let configuration = shop.nginx.configuration();
    let good = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, format!("{good}\nnonsense;\n")).unwrap();
    let failed = shop.sidedoor.call(["revoke", "shop"]).exited(1);
    assert!(failed.stderr.contains("is revoked, but"), "{failed:#?}");
    assert_eq!(shop.fate(&old).0, "Revoked");
    assert!(shop.told().contains("REVOKED"));
    fs::write(&configuration, good).unwrap();
    shop.issue().succeeded();
    assert_ne!(shop.nginx.certificate(NAMES[0]).serial, old.serial);
    assert!(!shop.told().contains("REVOKED"));
}
