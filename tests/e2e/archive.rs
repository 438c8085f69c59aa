//! What the archive keeps.

use std::fs::File;
use std::time::{Duration, SystemTime};

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
