//! No request of an app's users fails because of us.

use crate::shop::{NAMES, Shop};
use crate::support::{Load, Tally};

/// Ten issuances while users come and go; ends when they have made at least this many requests.
const REQUESTS: u64 = 20_000;

fn ten_issuances_under_load(shop: &Shop, mut issue: impl FnMut()) -> Tally {
    let over_http = Load::on(&shop.nginx, NAMES[0], &shop.app).start();
    let over_tls = Load::on(&shop.nginx, NAMES[0], &shop.app)
        .over_tls(shop.nginx.tls_port())
        .users(2, 1)
        .per_second(200)
        .start();
    for nth in 1..=10 {
        // Spread over the load, so that each issuance has its share of the users.
        over_http.reach(REQUESTS / 10 * (nth - 1));
        issue();
    }
    let mut tally = over_http.stop_at(REQUESTS);
    tally.add(&over_tls.stop());
    tally
}

#[test]
fn no_request_fails_while_ten_certificates_are_issued() {
    let mut shop = Shop::plain();
    shop.issue().succeeded();
    shop.serve_tls();
    let tally = ten_issuances_under_load(&shop, || {
        shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    });
    tally.assert_nothing_failed();
    assert!(tally.total().sent >= REQUESTS, "{tally}");
    println!("{tally}");
}

#[test]
fn no_request_fails_while_the_sidecar_issues_ten_certificates() {
    let mut shop = Shop::plain();
    let sidecar = shop.sidecar();
    shop.serve_tls();
    let tally = ten_issuances_under_load(&shop, || {
        shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    });
    tally.assert_nothing_failed();
    assert!(tally.total().sent >= REQUESTS, "{tally}");
    println!("{tally}");
    assert!(sidecar.stop().success());
}
