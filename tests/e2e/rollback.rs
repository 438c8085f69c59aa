//! A new certificate that nginx refuses, or doesn't serve, goes back, and what was live before is live again.

use std::fs;
use std::path::PathBuf;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Outcome};

/// Served over TLS, by a CA that remembers having looked, so that a renewal needs no door.
fn shop() -> Shop {
    let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(100));
    shop.issue().succeeded();
    shop.serve_tls();
    shop
}

/// Renews in vain, and sees that everything is as before.
fn renewed_in_vain(shop: &Shop) -> Outcome {
    let serial = shop.nginx.certificate(NAMES[0]).serial;
    let live = fs::read_link(shop.sidedoor.live("shop")).unwrap();
    let outcome = shop.sidedoor.call(["renew", "shop", "--force"]).exited(1);
    assert_eq!(fs::read_link(shop.sidedoor.live("shop")).unwrap(), live);
    assert_eq!(shop.nginx.test(), Ok(()));
    assert_eq!(shop.nginx.certificate(NAMES[0]).serial, serial);
    assert_eq!(shop.doors(), Vec::<PathBuf>::new());
    outcome
}

#[test]
fn a_certificate_that_nginx_does_not_serve_goes_back() {
    let shop = shop();
    let file = shop.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, with_a_reload_that_does_nothing(&text)).unwrap();
    let outcome = renewed_in_vain(&shop);
    assert!(
        outcome.stderr.contains("the previous one is live again"),
        "{outcome:#?}"
    );
    fs::write(&file, text).unwrap();
    // What was wrong was nginx, not the certificate: it goes live without another order.
    let again = shop.sidedoor.call(["-v", "issue", "shop"]).succeeded();
    assert!(!again.stderr.contains("ordered"), "{again:#?}");
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
    let saved = shop
        .sidedoor
        .state()
        .join("archive/shop/0002/fullchain.pem");
    assert_eq!(
        shop.nginx.certificate(NAMES[0]),
        Certificate::in_file(&saved)
    );
}

#[test]
fn whoever_insists_after_a_certificate_went_back_gets_another() {
    let shop = shop();
    let file = shop.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, with_a_reload_that_does_nothing(&text)).unwrap();
    renewed_in_vain(&shop);
    fs::write(&file, text).unwrap();
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert_eq!(shop.sidedoor.versions("shop").len(), 3);
}

/// A command that says it has reloaded nginx, and hasn't.
fn with_a_reload_that_does_nothing(configuration: &str) -> String {
    let lines = configuration
        .lines()
        .map(|line| match line.starts_with("reload = ") {
            true => "reload = [\"true\"]",
            false => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_certificate_that_nginx_refuses_goes_back() {
    let shop = shop();
    // Their server has our certificate, but a copy of its key: the next certificate won't match.
    let key = shop.nginx.prefix().join("copy.pem");
    fs::copy(shop.sidedoor.live("shop").join("privkey.pem"), &key).unwrap();
    let server = format!(
        "server {{ listen 127.0.0.1:{} ssl; server_name theirs.example; ssl_certificate {}; ssl_certificate_key {}; }}\n",
        shop.nginx.tls_port(),
        shop.sidedoor.live("shop").join("fullchain.pem").display(),
        key.display(),
    );
    shop.nginx.write_elsewhere("theirs.conf", &server);
    shop.nginx.reload();
    let outcome = renewed_in_vain(&shop);
    assert!(
        outcome.stderr.contains("key values mismatch"),
        "{outcome:#?}"
    );
}
