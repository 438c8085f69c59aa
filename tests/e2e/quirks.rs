//! A CA that misbehaves: the old certificate goes on being served, nothing is lost, and as soon as the CA is itself again, the next one comes.

use time::Duration;

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, FakeCa, Outcome, Quirk, Tree};

/// A shop that serves a certificate of Pebble's, and is to get the next one elsewhere.
struct Scene {
    shop: Shop,
    ca: FakeCa,
    old: Certificate,
}

impl Scene {
    fn at(ca: FakeCa) -> Self {
        let shop = Shop::certified();
        let old = shop.nginx.certificate(NAMES[0]);
        let own = format!("directory = {:?}", shop.pebble.directory_url());
        shop.configure(&own, &format!("directory = {:?}", ca.directory_url()));
        let own = format!("ca_file = {:?}", shop.pebble.ca_file());
        shop.configure(&own, &format!("ca_file = {:?}", ca.ca_file()));
        Self { shop, ca, old }
    }

    fn renew(&self) -> Outcome {
        self.shop.sidedoor.call(["renew", "shop", "--force"])
    }

    /// The renewal fails with such words, and all is as before.
    fn fails(&self, quirk: Quirk, words: &[&str]) {
        let archive = || {
            let mut versions = self.shop.sidedoor.versions("shop");
            versions.sort();
            let live = self.shop.sidedoor.live("shop");
            (versions, std::fs::read_link(live).unwrap())
        };
        let before = archive();
        self.ca.behave(quirk.clone());
        let said = self.renew().exited(1).stderr;
        for word in words.iter().chain(&["next: "]) {
            assert!(said.contains(word), "{quirk:?}: {word} is not in {said}");
        }
        assert_eq!(archive(), before, "{quirk:?}");
        assert_eq!(self.shop.nginx.certificate(NAMES[0]), self.old, "{quirk:?}");
        self.shop.assert_as_if_nothing_had_been();
        let told = self.shop.sidedoor.call(["status"]).succeeded().stdout;
        assert!(told.contains("failed "), "{quirk:?}: {told}");
    }

    /// The renewal succeeds, and the new certificate is served.
    fn succeeds(&mut self, quirk: impl Into<Option<Quirk>>) -> String {
        self.ca.behave(quirk);
        let said = self.renew().succeeded().stderr;
        let new = self.shop.nginx.certificate(NAMES[0]);
        assert_eq!(new.issuer, "Fake CA");
        assert_ne!(new.serial, self.old.serial);
        self.old = new;
        self.shop.assert_as_if_nothing_had_been();
        said
    }
}

#[test]
fn whatever_a_ca_answers_the_old_certificate_is_served_and_the_next_try_succeeds() {
    let page = "<html><h1>Back soon</h1></html>";
    let busy =
        "{\"type\":\"urn:ietf:params:acme:error:rateLimited\",\"detail\":\"too many of you\"}";
    let mut scene = Scene::at(FakeCa::start());
    for (quirk, words) in [
        (
            Quirk::Answers("POST /order", 429, "retry-after: 3600\r\n", busy),
            &["too many of you"][..],
        ),
        (
            Quirk::Answers(
                "POST /order/1",
                429,
                "retry-after: Sun, 06 Nov 2044 08:49:37 GMT\r\n",
                busy,
            ),
            &["too many of you"],
        ),
        (Quirk::Answers("GET /dir", 503, "", page), &["Back soon"]),
        (
            Quirk::Answers("POST /finalize/1", 503, "retry-after: 3600\r\n", page),
            &["Back soon"],
        ),
        (
            Quirk::Answers("POST /authorization/0", 200, "", "{nonsense"),
            &["makes no sense"],
        ),
        (
            Quirk::Answers("POST /certificate/1", 200, "", "no certificate"),
            &["no certificate"],
        ),
        (
            Quirk::Floods("POST /certificate/1", 100 << 20),
            &["larger than"],
        ),
        (Quirk::AnotherKey, &["belongs to another key"]),
    ] {
        scene.fails(quirk, words);
        scene.succeeds(None);
    }
}

#[test]
fn a_ca_that_asks_for_less_or_for_patience_gets_it() {
    let mut scene = Scene::at(FakeCa::start());
    scene.succeeds(None);
    scene.ca.asked();
    let begun = std::time::Instant::now();
    scene.succeeds(Quirk::Processing(3));
    assert!(begun.elapsed() >= std::time::Duration::from_secs(2));
    let polls = scene.ca.asked();
    let polls = polls.iter().filter(|line| *line == "POST /order/1").count();
    assert!(polls <= 5, "asked {polls} times");
    for quirk in [Quirk::ReadyAtOnce, Quirk::Authorized] {
        scene.succeeds(quirk);
        let asked = scene.ca.asked();
        let looked = asked.iter().any(|line| line.starts_with("POST /challenge"));
        assert!(!looked, "{asked:?}");
    }
}

#[test]
fn a_ca_whose_clock_is_a_day_ahead_is_taken_at_its_word_and_asked_once() {
    let mut scene = Scene::at(FakeCa::start());
    scene.succeeds(Quirk::Ahead(Duration::DAY));
    let versions = scene.shop.sidedoor.versions("shop").len();
    scene.ca.asked();
    scene.shop.sidedoor.call(["renew"]).succeeded();
    assert_eq!(scene.shop.sidedoor.versions("shop").len(), versions);
    assert!(!scene.ca.asked().contains(&"POST /order".to_owned()));
}

#[test]
fn a_ca_whose_own_certificate_has_expired_is_not_trusted_and_no_door_is_opened() {
    let scene = Scene::at(FakeCa::expired());
    let workers = scene.shop.nginx.workers();
    let before = Tree::of(&scene.shop.sidedoor.state().join("archive"));
    let said = scene.renew().exited(1).stderr;
    assert!(said.contains("is not trusted"), "{said}");
    assert!(said.contains("check the clock"), "{said}");
    assert_eq!(scene.shop.nginx.workers(), workers, "nginx was reloaded");
    assert_eq!(
        Tree::of(&scene.shop.sidedoor.state().join("archive")),
        before
    );
    assert_eq!(scene.shop.nginx.certificate(NAMES[0]), scene.old);
}
