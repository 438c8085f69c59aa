//! What only a newer Pebble knows: when to renew, what an order replaces, and profiles.

use sidedoor::acme::{Account, CallError, OrderError, OrderOptions, RevocationReason};
use sidedoor::certificate::Chain;
use sidedoor::identifier::Identifier;
use time::{Duration, OffsetDateTime};

use crate::orders::{certificate, certificate_by, register};
use crate::pebble::{Pebble, Settings};
use crate::responder::Responder;

struct Scene {
    pebble: Pebble,
    account: Account,
    responder: Responder,
}

impl Scene {
    async fn new() -> Option<Self> {
        let responder = Responder::start().await;
        let pebble = Settings::newer(responder.address())?.start();
        let account = register(&pebble.ca()).await;
        Some(Self {
            pebble,
            account,
            responder,
        })
    }

    async fn certificate(&self) -> Chain {
        certificate(&self.account, &names(), &self.responder).await
    }

    async fn replacing(&self, chain: &Chain) -> Result<Chain, OrderError> {
        let options = OrderOptions {
            replaces: chain.certificate_id().map(str::to_owned),
            ..OrderOptions::default()
        };
        certificate_by(&self.account, &names(), &options, &self.responder).await
    }

    async fn by_profile(&self, profile: Option<&str>, name: &str) -> Result<Chain, OrderError> {
        let options = OrderOptions {
            profile: profile.map(str::to_owned),
            ..OrderOptions::default()
        };
        let names = [name.parse().unwrap()];
        certificate_by(&self.account, &names, &options, &self.responder).await
    }
}

fn names() -> Vec<Identifier> {
    vec!["a.example".parse().unwrap()]
}

fn lifetime(chain: &Chain) -> Duration {
    chain.not_after() - chain.not_before() + Duration::SECOND
}

#[tokio::test]
async fn the_suggested_window_lies_within_the_lifetime_and_says_when_to_ask_again() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let chain = scene.certificate().await;
    let ca = scene.pebble.ca();
    assert!(ca.directory().await.unwrap().has_renewal_info());
    let id = chain.certificate_id().unwrap();
    let info = ca.renewal_info(id).await.unwrap().unwrap();
    assert!(chain.not_before() < info.start, "{info:?}");
    assert!(
        info.start < info.end && info.end <= chain.not_after(),
        "{info:?}"
    );
    assert!(info.retry_after.is_some());
}

#[tokio::test]
async fn a_revoked_certificate_is_to_be_renewed_now() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let chain = scene.certificate().await;
    let leaf = &chain.certificates()[0];
    let revoked = scene.account.revoke(leaf, RevocationReason::Superseded);
    revoked.await.unwrap();
    let id = chain.certificate_id().unwrap();
    let info = scene.pebble.ca().renewal_info(id).await.unwrap().unwrap();
    assert!(info.end < OffsetDateTime::now_utc(), "{info:?}");
}

#[tokio::test]
async fn a_window_is_taken_as_it_is_set_and_none_that_makes_no_sense() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let chain = scene.certificate().await;
    let (ca, id) = (scene.pebble.ca(), chain.certificate_id().unwrap());
    let suggest = |start: &str, end: &str| {
        let window = format!(
            "{{\"suggestedWindow\":{{\"start\":\"{start}\",\"end\":\"{end}\"}},\"explanationURL\":\"https://ca.example/why\"}}"
        );
        scene.pebble.suggest(&chain.cert_pem(), &window);
    };
    suggest("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z");
    let info = ca.renewal_info(id).await.unwrap().unwrap();
    assert_eq!(info.end.year(), 2001);
    assert_eq!(
        info.explanation_url.as_deref(),
        Some("https://ca.example/why")
    );
    suggest("2001-01-02T00:00:00Z", "2001-01-01T00:00:00Z");
    let error = ca.renewal_info(id).await.unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }), "{error}");
    scene.pebble.suggest(&chain.cert_pem(), "<html>soon</html>");
    let error = ca.renewal_info(id).await.unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn what_an_order_replaces_is_accepted_once() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let first = scene.certificate().await;
    let second = scene.replacing(&first).await.unwrap();
    let again = scene.replacing(&first).await;
    let Err(OrderError::ReplacesRefused { problem }) = again else {
        panic!("{again:?}")
    };
    assert_eq!(problem.kind, "alreadyReplaced");
    // Without, it is an order as any other; and the second can be replaced in its turn.
    scene.certificate().await;
    scene.replacing(&second).await.unwrap();
}

#[tokio::test]
async fn a_profile_decides_how_long_a_certificate_lasts() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let offered = scene.pebble.ca().directory().await.unwrap();
    let offered: Vec<_> = offered.profiles().keys().cloned().collect();
    assert_eq!(offered, ["classic", "shortlived"]);
    for (profile, days) in [("classic", 90), ("shortlived", 6)] {
        let chain = scene.by_profile(Some(profile), "a.example").await.unwrap();
        assert_eq!(lifetime(&chain).whole_days(), days, "{profile}");
    }
    let address = scene.by_profile(None, "127.0.0.1").await.unwrap();
    assert_eq!(lifetime(&address).whole_days(), 6);
    let error = scene.by_profile(Some("tlsserver"), "a.example").await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("classic, shortlived"), "{error}");
}
