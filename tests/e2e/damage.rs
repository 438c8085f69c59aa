//! State that somebody or something has damaged: told, set aside, never deleted, and nobody's trouble but its own certificate's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::{
    App, Certificate, Nginx, Pebble, Running, Server, Sidedoor, Tree, eventually,
};

/// Two shops, each with a certificate that nginx serves.
struct Street {
    sidedoor: Sidedoor,
    nginx: Nginx,
    _pebble: Pebble,
    app: App,
}

/// What is found again wherever it has been put.
const STRANGE: &str = "what somebody has written here";

impl Street {
    fn new() -> Self {
        let app = App::named("shop");
        let server = |name: &str| {
            let domain = format!("{name}.example");
            Server::of(&[&domain]).to(&app).with_door(name)
        };
        let nginx = Nginx::serving([server("one"), server("two")]);
        let pebble = Pebble::visiting(&nginx).reusing_authorizations(100).start();
        let sidedoor = Sidedoor::beside(&nginx, &pebble)
            .app("one", &["one.example"], &app)
            .app("two", &["two.example"], &app);
        sidedoor.call(["renew"]).succeeded();
        let mut street = Self {
            sidedoor,
            nginx,
            _pebble: pebble,
            app,
        };
        for name in ["one", "two"] {
            let live = street.sidedoor.live(name);
            let domain = format!("{name}.example");
            let server = Server::of(&[&domain]).to(&street.app).with_door(name);
            street.nginx.add(server.over_tls(&live));
        }
        street.nginx.reload();
        street
    }

    /// Damages what is one's: each time something else.
    fn damage(&self, how: &dyn Fn(&Path)) {
        how(&self.sidedoor.state());
    }

    /// Nothing of two's has suffered.
    #[track_caller]
    fn assert_two_is_well(&self) {
        let status = self.sidedoor.call(["status", "--json"]).succeeded().stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        let mut certificates = status["certificates"].as_array().unwrap().iter();
        let two = certificates.find(|one| one["name"] == "two").unwrap();
        assert_eq!(two["unreadable"], Value::Null, "{status}");
        assert_eq!(two["served"][0]["is_live"], true, "{status}");
        let live = self.sidedoor.live("two").join("fullchain.pem");
        let served = self.nginx.certificate("two.example");
        assert_eq!(served, Certificate::in_file(&live));
    }

    /// One has a certificate again, and nginx serves it.
    #[track_caller]
    fn assert_one_is_well_again(&self) {
        assert_eq!(self.nginx.test(), Ok(()));
        let live = self.sidedoor.live("one").join("fullchain.pem");
        let served = self.nginx.certificate("one.example");
        assert!(served.issuer.contains("Pebble"), "{served:?}");
        assert_eq!(served, Certificate::in_file(&live));
    }

    #[track_caller]
    fn assert_nothing_was_deleted(&self) {
        let tree = format!("{:?}", Tree::of(&self.sidedoor.state()));
        assert!(tree.contains(STRANGE), "{tree}");
    }

    fn sidecar(&self) -> Running {
        let sidecar = self.sidedoor.run();
        eventually("one is well again", Duration::from_secs(30), || {
            let live = self.sidedoor.live("one").join("fullchain.pem");
            let pem = fs::read(&live).is_ok_and(|pem| pem.starts_with(b"-----BEGIN"));
            let issued = pem && Certificate::in_file(&live).issuer.contains("Pebble");
            (issued && self.nginx.certificate("one.example") == Certificate::in_file(&live))
                .then_some(())
        });
        sidecar
    }
}

type Damage = fn(&Path);

/// Everything that can befall one's files, with a word for it.
const DAMAGES: [(&str, Damage); 8] = [
    ("a key that is none", |state| {
        fs::write(state.join("archive/one/0001/privkey.pem"), STRANGE).unwrap();
    }),
    ("a certificate that is none", |state| {
        fs::write(state.join("archive/one/0001/fullchain.pem"), STRANGE).unwrap();
    }),
    ("an empty key, as after a power cut", |state| {
        let version = state.join("archive/one/0001");
        fs::write(version.join("privkey.pem"), "").unwrap();
        fs::write(version.join("cert.pem"), STRANGE).unwrap();
    }),
    ("another's certificate", |state| {
        let version = state.join("archive/one/0001");
        let another = state.join("archive/two/0001/fullchain.pem");
        fs::copy(another, version.join("fullchain.pem")).unwrap();
        fs::write(version.join("cert.pem"), STRANGE).unwrap();
    }),
    ("a link that leads nowhere", |state| {
        let version = state.join("archive/one/0001");
        fs::write(version.join("cert.pem"), STRANGE).unwrap();
        fs::rename(version, state.join("archive/one/elsewhere")).unwrap();
    }),
    ("a file where the link should be", |state| {
        fs::remove_file(state.join("live/one")).unwrap();
        fs::write(state.join("live/one"), STRANGE).unwrap();
    }),
    ("a directory where the link should be", |state| {
        fs::remove_file(state.join("live/one")).unwrap();
        fs::create_dir(state.join("live/one")).unwrap();
        fs::write(state.join("live/one/privkey.pem"), STRANGE).unwrap();
    }),
    ("a note that can't be understood", |state| {
        fs::write(state.join("lineages/one.json"), STRANGE).unwrap();
    }),
];

#[test]
fn what_can_not_be_used_is_told_set_aside_and_made_good_by_the_next_issue() {
    for (what, how) in DAMAGES {
        let street = Street::new();
        street.damage(&how);
        street.assert_two_is_well();
        // Where it is a file of ours that was broken, the first command sets it aside and the second goes on without.
        let issue = || street.sidedoor.call(["issue", "one"]);
        let first = issue();
        if first.code() != Some(0) {
            assert!(first.stderr.contains("set aside"), "{what}: {first:#?}");
            let second = issue();
            assert_eq!(second.code(), Some(0), "{what}: {second:#?}");
        }
        street.assert_one_is_well_again();
        street.assert_two_is_well();
        street.assert_nothing_was_deleted();
    }
}

#[test]
fn a_sidecar_that_starts_makes_good_what_can_be_made_good() {
    for (_, how) in DAMAGES {
        let street = Street::new();
        street.damage(&how);
        let sidecar = street.sidecar();
        street.assert_two_is_well();
        street.assert_nothing_was_deleted();
        assert!(sidecar.stop().success());
        street.assert_one_is_well_again();
    }
}

#[test]
fn status_says_of_a_broken_certificate_that_it_is_broken_and_what_to_do() {
    let street = Street::new();
    street.damage(&DAMAGES[0].1);
    let status = street.sidedoor.call(["status"]).succeeded().stdout;
    assert!(status.contains("no certificate with its key"), "{status}");
    assert!(status.contains("sidedoor issue one"), "{status}");
}

#[test]
fn the_last_good_version_is_live_again_where_there_is_one() {
    let street = Street::new();
    let first = street.nginx.certificate("one.example");
    street
        .sidedoor
        .call(["renew", "one", "--force"])
        .succeeded();
    assert_ne!(street.nginx.certificate("one.example"), first);
    let state = street.sidedoor.state();
    fs::write(state.join("archive/one/0002/privkey.pem"), STRANGE).unwrap();
    let outcome = street.sidedoor.call(["-v", "issue", "one"]).succeeded();
    assert!(
        outcome.stderr.contains("number 1 is live again"),
        "{outcome:#?}"
    );
    assert!(!outcome.stderr.contains("ordered"), "{outcome:#?}");
    assert_eq!(street.nginx.certificate("one.example"), first);
    street.assert_nothing_was_deleted();
}
