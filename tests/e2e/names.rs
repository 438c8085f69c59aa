//! Names that are no names never reach a file.

use std::fs;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Server, Tree};

const NO_NAMES: [&str; 7] = ["a;b", "../x", "x\n}", "a b", "${x}", "x}server{", "-d"];

#[test]
fn on_the_command_line_they_end_with_exit_status_2() {
    let shop = Shop::plain();
    let before = (
        Tree::of(&shop.nginx.doors()),
        Tree::of(&shop.sidedoor.state()),
    );
    let long = "a".repeat(300);
    for name in NO_NAMES.into_iter().chain([long.as_str(), ""]) {
        for arguments in [
            &["issue", "-d", name][..],
            &["issue", "--", name],
            &["renew", "--", name],
            &["open", "--", name],
            &["close", "--", name],
        ] {
            let outcome = shop.sidedoor.call(arguments);
            assert_eq!(outcome.code(), Some(2), "{arguments:?}: {outcome:#?}");
        }
    }
    let after = (
        Tree::of(&shop.nginx.doors()),
        Tree::of(&shop.sidedoor.state()),
    );
    assert_eq!(before, after);
}

#[test]
fn in_the_configuration_they_end_with_exit_status_2_and_their_line() {
    let shop = Shop::plain();
    let file = shop.sidedoor.configuration();
    let good = fs::read_to_string(&file).unwrap();
    let before = (
        Tree::of(&shop.nginx.doors()),
        Tree::of(&shop.sidedoor.state()),
    );
    let long = "a".repeat(300);
    for name in NO_NAMES.into_iter().chain([long.as_str(), ""]) {
        for (right, wrong) in [
            ("name = \"shop\"", format!("name = {name:?}")),
            ("\"www.shop.example\"", format!("{name:?}")),
        ] {
            fs::write(&file, good.replace(right, &wrong)).unwrap();
            let line = 1 + good.lines().position(|line| line.contains(right)).unwrap();
            let outcome = shop.sidedoor.call(["issue", "shop"]).exited(2);
            let place = format!("{}:{line}", file.display());
            assert!(outcome.stderr.contains(&place), "{place}: {outcome:#?}");
        }
    }
    let after = (
        Tree::of(&shop.nginx.doors()),
        Tree::of(&shop.sidedoor.state()),
    );
    assert_eq!(before, after);
}

#[test]
fn names_in_other_scripts_become_a_labels() {
    const A_LABEL: &str = "xn--mller-kva.shop.example";
    let mut shop = Shop::plain();
    let server = Server::of(&[A_LABEL]).to(&shop.app).with_door("shop");
    shop.nginx.add(server);
    shop.nginx.reload();
    let file = shop.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(NAMES[1], "müller.shop.example")).unwrap();
    shop.issue().succeeded();
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    let names = Certificate::in_file(&live).names;
    assert_eq!(names, [NAMES[0], A_LABEL]);
}
