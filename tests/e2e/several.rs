//! Several commands at once never hurt one another.

use std::thread;

use crate::shop::Shop;
use crate::support::{App, Certificate, Nginx, Outcome, Pebble, Server, Sidedoor, Tree};

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

const APPS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

fn a_street_of_shops() -> (App, Nginx, Pebble, Sidedoor) {
    let app = App::named("shop");
    let domains = APPS.map(|name| format!("{name}.example"));
    let servers = APPS
        .iter()
        .zip(&domains)
        .map(|(name, domain)| Server::of(&[domain]).to(&app).with_door(name));
    let nginx = Nginx::serving(servers);
    let pebble = Pebble::visiting(&nginx).start();
    let sidedoor = APPS.iter().zip(&domains).fold(
        Sidedoor::beside(&nginx, &pebble),
        |sidedoor, (name, domain)| sidedoor.app(name, &[domain], &app),
    );
    (app, nginx, pebble, sidedoor)
}

fn assert_each_has_its_certificate(sidedoor: &Sidedoor, nginx: &Nginx) {
    for name in APPS {
        let live = sidedoor.live(name).join("fullchain.pem");
        assert_eq!(
            Certificate::in_file(&live).names,
            [format!("{name}.example")]
        );
    }
    assert_eq!(nginx.test(), Ok(()));
    assert!(Tree::of(&nginx.doors()).includes().is_empty());
}

#[test]
fn different_apps_each_get_their_certificate() {
    let (_app, nginx, _pebble, sidedoor) = a_street_of_shops();
    for outcome in at_once(&sidedoor, &APPS) {
        outcome.succeeded();
    }
    assert_each_has_its_certificate(&sidedoor, &nginx);
}

#[test]
fn different_apps_each_get_their_certificate_through_the_sidecar() {
    let (_app, nginx, _pebble, sidedoor) = a_street_of_shops();
    let _sidecar = sidedoor.run();
    for outcome in at_once(&sidedoor, &APPS) {
        outcome.succeeded();
    }
    assert_each_has_its_certificate(&sidedoor, &nginx);
}

#[test]
fn who_renews_several_through_the_sidecar_hears_which_one_is_how_far() {
    let (_app, _nginx, _pebble, sidedoor) = a_street_of_shops();
    // So that the sidecar has nothing to do, and the command doesn't find anything done meanwhile.
    sidedoor.call(["renew"]).succeeded();
    let _sidecar = sidedoor.run();
    let told = sidedoor.call(["renew", "--force", "-v"]).succeeded().stderr;
    for name in APPS {
        let step = format!(" certificate   {name}: ");
        assert!(told.contains(&step), "{step} not in\n{told}");
    }
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
