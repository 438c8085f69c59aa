//! Which CA, which account, which kind of certificate: what `[acme]` says is what comes.

use std::fs;

use sidedoor::certificate::{Chain, KeyKind, PrivateKey};

use crate::shop::{NAMES, Shop};
use crate::support::{App, Nginx, Pebble, Server, Sidedoor};

impl Shop {
    /// Renewed whether due or not, and what is live then.
    fn renewed(&self) -> (Chain, PrivateKey) {
        self.sidedoor.call(["renew", "shop", "--force"]).succeeded();
        self.live()
    }

    fn live(&self) -> (Chain, PrivateKey) {
        let read = |file| fs::read_to_string(self.sidedoor.live("shop").join(file)).unwrap();
        (
            Chain::from_pem(&read("fullchain.pem")).unwrap(),
            PrivateKey::from_pem(&read("privkey.pem")).unwrap(),
        )
    }

    /// What a command says that fails before nginx has been told of any door.
    fn fails_without_a_door(&self) -> String {
        let workers = self.nginx.workers();
        let said = self.issue().exited(1).stderr;
        assert_eq!(self.nginx.workers(), workers, "nginx was reloaded: {said}");
        self.assert_as_if_nothing_had_been();
        said
    }
}

#[test]
fn every_kind_of_key_is_certified_and_served() {
    let mut shop = Shop::configured("key = \"p256\"");
    shop.issue().succeeded();
    shop.serve_tls();
    let mut before = KeyKind::P256;
    for kind in KeyKind::ALL {
        shop.configure(&format!("key = \"{before}\""), &format!("key = \"{kind}\""));
        let (_, key) = shop.renewed();
        assert_eq!(key.kind(), Some(kind));
        assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]), "{kind}");
        before = kind;
    }
}

#[test]
fn a_key_is_kept_only_where_that_is_wanted_and_never_after_a_revocation() {
    let shop = Shop::configured("reuse_key = true");
    shop.issue().succeeded();
    let (first, key) = shop.live();
    let (second, kept) = shop.renewed();
    assert_ne!(first.serial(), second.serial());
    assert_eq!(key.public_key(), kept.public_key());
    shop.sidedoor.call(["revoke", "shop"]).succeeded();
    let (_, after) = shop.live();
    assert_ne!(after.public_key(), key.public_key());
    assert_eq!(shop.renewed().1.public_key(), after.public_key());
    shop.configure("reuse_key = true", "reuse_key = true\nkey = \"p384\"");
    assert_eq!(shop.renewed().1.kind(), Some(KeyKind::P384));
    shop.configure("reuse_key = true", "reuse_key = false");
    let (_, last) = shop.live();
    assert_ne!(shop.renewed().1.public_key(), last.public_key());
}

#[test]
fn the_chain_that_is_preferred_is_taken_and_another_where_there_is_no_such() {
    let shop = Shop::visited_by(|ca| ca.with_other_roots(2));
    let root = |number| {
        let pem = shop.pebble.other_root(number);
        Chain::from_pem(&pem).unwrap().root().to_owned()
    };
    shop.issue().succeeded();
    assert_eq!(shop.live().0.root(), root(0));
    let mut before = "accept_terms = true".to_owned();
    for preferred in [root(2), root(1), root(0)] {
        let wish = format!("accept_terms = true\npreferred_chain = {preferred:?}");
        shop.configure(&before, &wish);
        assert_eq!(shop.renewed().0.root(), preferred);
        before = wish;
    }
    let wish = "accept_terms = true\npreferred_chain = \"Nobody's Root\"";
    shop.configure(&before, wish);
    let told = shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert!(told.stderr.contains("Nobody's Root"), "{told:#?}");
    assert_eq!(shop.live().0.root(), root(0));
}

#[test]
fn a_ca_that_binds_accounts_is_told_who_pays() {
    let hmac_key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let shop = Shop::visited_by(|ca| ca.binding_accounts("kid-1", hmac_key));
    let said = shop.fails_without_a_door();
    assert!(said.contains("external account binding"), "{said}");
    assert!(said.contains("hmac_key_file"), "{said}");

    let file = shop.sidedoor.configuration().with_file_name("hmac");
    let eab = format!("accept_terms = true\neab = {{ kid = \"kid-1\", hmac_key_file = {file:?} }}");
    shop.configure("accept_terms = true", &eab);
    let said = shop.fails_without_a_door();
    assert!(said.contains(&file.display().to_string()), "{said}");
    fs::write(&file, "d3Jvbmc\n").unwrap();
    shop.fails_without_a_door();
    fs::write(&file, format!("{hmac_key}\n")).unwrap();
    shop.issue().succeeded();
}

#[test]
fn of_several_cas_the_first_that_can_is_taken() {
    let shop = Shop::plain();
    let refusing = Pebble::visiting(&shop.nginx).refusing(NAMES[0]).start();
    let mut gone = Pebble::visiting(&shop.nginx).start();
    gone.end();
    shop.ordering_from(&[&gone, &refusing, &shop.pebble]);
    let told = shop.issue().succeeded().stderr;
    for failed in [&gone, &refusing] {
        let failed = format!("{} failed", failed.directory_url());
        assert!(told.contains(&failed), "{told}");
    }
    let (chain, _) = shop.live();
    let root = Chain::from_pem(&shop.pebble.root()).unwrap();
    assert_eq!(chain.root(), root.root());
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn where_every_ca_fails_each_reason_is_told() {
    let shop = Shop::plain();
    let refusing = Pebble::visiting(&shop.nginx).refusing(NAMES[0]).start();
    let mut gone = Pebble::visiting(&shop.nginx).start();
    gone.end();
    shop.ordering_from(&[&gone, &refusing]);
    let said = shop.issue().exited(1).stderr;
    let error = said.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_default();
    for part in [
        gone.directory_url().as_str(),
        "no connection",
        refusing.directory_url().as_str(),
        "rejectedIdentifier",
    ] {
        assert!(error.contains(part), "{part} is not in {said}");
    }
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn a_profile_the_ca_lacks_is_told_before_any_door_is_opened() {
    let shop = Shop::configured("profile = \"tlsserver\"");
    let said = shop.fails_without_a_door();
    assert!(said.contains("no profile \"tlsserver\""), "{said}");
}

#[test]
fn a_profile_the_ca_has_is_ordered_by_and_the_others_are_named_where_it_lacks_one() {
    let shop = Shop::plain();
    let Some(newer) = Pebble::visiting(&shop.nginx).newer() else {
        return;
    };
    let newer = newer.start();
    shop.ordering_from(&[&newer]);
    let lacking = "accept_terms = true\nprofile = \"tlsserver\"";
    shop.configure("accept_terms = true", lacking);
    let said = shop.fails_without_a_door();
    assert!(said.contains("classic, shortlived"), "{said}");
    let mut before = lacking.to_owned();
    for (profile, days) in [("classic", 90), ("shortlived", 6)] {
        let having = format!("accept_terms = true\nprofile = {profile:?}");
        shop.configure(&before, &having);
        let (chain, _) = shop.renewed();
        assert_eq!(lifetime(&chain), days, "{profile}");
        before = having;
    }
}

fn lifetime(chain: &Chain) -> i64 {
    let almost = chain.not_after() - chain.not_before();
    (almost + time::Duration::MINUTE).whole_days()
}

#[test]
fn an_address_is_certified_by_the_profile_for_addresses() {
    let (nginx, app) = behind_an_address();
    let Some(newer) = Pebble::visiting(&nginx).newer() else {
        return;
    };
    let newer = newer.start();
    let sidedoor = Sidedoor::beside(&nginx, &newer).app("shop", &[ADDRESS], &app);
    sidedoor.call(["issue", "shop"]).succeeded();
    let file = sidedoor.live("shop").join("fullchain.pem");
    let chain = Chain::from_pem(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(lifetime(&chain), 6);
}

const ADDRESS: &str = "127.0.0.1";

/// A shop that has no name.
fn behind_an_address() -> (Nginx, App) {
    let app = App::named("shop");
    let server = Server::of(&[ADDRESS]).to(&app).with_door("shop");
    (Nginx::serving([server]), app)
}

#[test]
fn an_address_is_certified_too() {
    let (mut nginx, app) = behind_an_address();
    let pebble = Pebble::visiting(&nginx).start();
    let sidedoor = Sidedoor::beside(&nginx, &pebble).app("shop", &[ADDRESS], &app);
    sidedoor.call(["issue", "shop"]).succeeded();
    let server = Server::of(&[ADDRESS]).to(&app).with_door("shop");
    nginx.add(server.over_tls(&sidedoor.live("shop")));
    nginx.reload();
    assert!(pebble.vouches_for(&nginx, ADDRESS));
    sidedoor.call(["renew", "--force"]).succeeded();
    assert!(pebble.vouches_for(&nginx, ADDRESS));
}
