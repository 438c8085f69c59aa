//! What operators write into their servers doesn't keep the CA out.

use std::fs;

use crate::shop::Shop;
use crate::support::Server;

#[track_caller]
fn the_certificate_comes_in_spite_of(written: impl FnOnce(Server) -> Server) {
    let shop = Shop::with(written);
    shop.issue().succeeded();
    assert_eq!(shop.nginx.test(), Ok(()));
    assert!(shop.doors().is_empty(), "{:?}", shop.doors());
}

#[test]
fn a_redirect_after_the_include_is_passed() {
    the_certificate_comes_in_spite_of(|server| {
        server.after("return 301 https://$host$request_uri;")
    });
}

#[test]
fn a_rewrite_after_the_include_is_passed() {
    the_certificate_comes_in_spite_of(|server| {
        server.after("rewrite ^ https://$host$request_uri permanent;")
    });
}

#[test]
fn a_password_is_not_asked_for() {
    the_certificate_comes_in_spite_of(|server| {
        let users = tempfile::NamedTempFile::new().unwrap();
        fs::write(users.path(), "somebody:{PLAIN}something\n").unwrap();
        let (_, users) = users.keep().unwrap();
        server
            .before("auth_basic \"friends only\";")
            .before(&format!("auth_basic_user_file {};", users.display()))
    });
}

#[test]
fn nobody_is_denied() {
    the_certificate_comes_in_spite_of(|server| server.before("deny all;"));
}

#[test]
fn hidden_paths_stay_hidden_but_for_the_challenge() {
    the_certificate_comes_in_spite_of(|server| server.before("location ~ /\\. { deny all; }"));
}

#[test]
fn the_operators_own_proxy_lines_change_nothing() {
    the_certificate_comes_in_spite_of(|server| {
        server
            .before("proxy_set_header Host something.else;")
            .before("proxy_intercept_errors on;")
            .before("error_page 404 500 502 /oops.html;")
    });
}
