//! What the archive keeps, and who may read it.

use std::fs::{File, Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::{getegid, geteuid};

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Sidedoor};

/// As if every version had been saved long ago.
fn age(sidedoor: &Sidedoor) {
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for file in sidedoor.versions("shop") {
        let version = File::open(file.parent().unwrap()).unwrap();
        version.set_modified(long_ago).unwrap();
    }
}

#[test]
fn old_versions_go_when_a_new_one_is_seen_live_and_one_to_go_back_to_stays() {
    let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(100));
    shop.sidedoor.set("keep", "2");
    shop.issue().succeeded();
    shop.serve_tls();
    for _ in 0..3 {
        shop.sidedoor.call(["renew", "--force"]).succeeded();
    }
    let kept = |shop: &Shop| {
        let mut versions = shop.sidedoor.versions("shop");
        versions.sort();
        let number = |file: &std::path::PathBuf| {
            let directory = file.parent().unwrap().file_name().unwrap();
            directory.to_str().unwrap().to_owned()
        };
        versions.iter().map(number).collect::<Vec<_>>()
    };
    // Each was live a moment ago, so somebody may still be reading it.
    assert_eq!(kept(&shop), ["0001", "0002", "0003", "0004"]);
    age(&shop.sidedoor);
    shop.sidedoor.call(["renew", "--force"]).succeeded();
    assert_eq!(kept(&shop), ["0004", "0005"]);
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert_eq!(
        shop.nginx.certificate(NAMES[0]),
        Certificate::in_file(&live)
    );
    shop.assert_as_if_nothing_had_been();
}

/// Whether another user, of this group alone, can read a file. Only root can try; for anybody else the mode and group have to do.
fn group_reads(group: u32, file: &std::path::Path) -> bool {
    if !geteuid().is_root() {
        return std::fs::metadata(file).unwrap().permissions().mode() & 0o777 == 0o640;
    }
    let reads = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "--regid"])
        .arg(group.to_string())
        .arg("cat")
        .arg(file)
        .output();
    reads.unwrap().status.success()
}

#[test]
fn a_configured_group_reads_every_certificate_and_key_and_no_account() {
    let group = match geteuid().is_root() {
        true => 65533,
        false => getegid().as_raw(),
    };
    let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(100));
    let state = shop.sidedoor.state();
    set_permissions(state.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    shop.issue().succeeded();
    let key = shop.sidedoor.live("shop").join("privkey.pem");
    assert!(!group_reads(group, &key));
    shop.sidedoor.set_at_top("group", &format!("\"{group}\""));
    shop.sidedoor.call(["renew"]).succeeded();
    assert!(group_reads(group, &key), "what was there");
    shop.sidedoor.call(["renew", "--force"]).succeeded();
    assert!(group_reads(group, &key), "what has come");
    let account = std::fs::read_dir(state.join("accounts")).unwrap().next();
    let account = account.unwrap().unwrap().path().join("account.json");
    assert!(account.is_file() && !group_reads(group, &account));
}

#[test]
fn a_group_that_does_not_exist_is_told_before_anything_is_done() {
    let mut shop = Shop::plain();
    shop.sidedoor.set_at_top("group", "\"no-such-group\"");
    let outcome = shop.issue().exited(1);
    assert!(outcome.stderr.contains("no-such-group"), "{outcome:#?}");
    assert!(!shop.sidedoor.live("shop").exists());
}
