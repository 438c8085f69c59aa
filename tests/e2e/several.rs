//! Several commands at once never hurt one another.

use std::thread;

use crate::shop::Shop;
use crate::support::{Outcome, Sidedoor};

fn at_once(sidedoor: &Sidedoor, apps: &[&str]) -> Vec<Outcome> {
    thread::scope(|scope| {
        let commands: Vec<_> = apps
            .iter()
            .map(|app| scope.spawn(move || sidedoor.call(["issue", app])))
            .collect();
        commands
            .into_iter()
            .map(|command| command.join().unwrap())
            .collect()
    })
}

#[test]
fn the_same_app_gets_one_certificate_and_every_command_succeeds() {
    let shop = Shop::plain();
    for outcome in at_once(&shop.sidedoor, &["shop"; 4]) {
        outcome.succeeded();
    }
    let versions = shop.sidedoor.versions("shop");
    assert_eq!(versions.len(), 1, "whoever comes second finds it done");
    shop.assert_as_if_nothing_had_been();
}
