use serde_json::{Value, json};

use super::*;
use crate::acme::fake_ca::{FakeCa, Received, Reply, usual};
use crate::config::Config;

/// A state directory, and a CA that knows one key at a time.
struct Scene {
    _directory: tempfile::TempDir,
    store: Store,
    accounts: Accounts,
    fake: FakeCa,
    directory: Directory,
    acme: Acme,
}

/// The key that signed, as the CA sees it.
fn jwk(request: &Received) -> Value {
    request.protected()["jwk"].clone()
}

/// Which key the account has, by all that has been asked so far: the last one that a change was granted for, else the first.
fn holds(request: &Received, key: &Value) -> bool {
    let changed = |change: &Value| {
        let inner = Received {
            body: change.to_string().into(),
            ..request.clone()
        };
        inner.protected()["jwk"] == *key
    };
    let granted = request
        .log
        .iter()
        .rfind(|earlier| earlier.line == "POST /key-change");
    match granted {
        Some(granted) => changed(&granted.payload()),
        None => request
            .log
            .iter()
            .find(|earlier| earlier.line == "POST /new-account")
            .is_none_or(|first| jwk(first) == *key),
    }
}

/// As a CA does it.
fn correct(request: &Received, base: &str) -> Reply {
    match request.line.as_str() {
        "POST /new-account" if !holds(request, &jwk(request)) => {
            Reply::problem(400, "accountDoesNotExist", "no such key")
        }
        "POST /key-change" => Reply::text(200, "{}"),
        "POST /account/1" => Reply::json(
            200,
            &json!({ "status": "valid", "contact": ["mailto:ops@example.com"] }),
        ),
        _ => usual(request, base),
    }
}

async fn scene(script: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let fake = FakeCa::start(script).await;
    let mut acme = Config::parse(Path::new("/sidedoor.toml"), "").unwrap().acme;
    acme.accept_terms = true;
    Scene {
        accounts: Accounts::new(store.clone()),
        store,
        directory: Directory::of_test(&fake.url("/directory")),
        fake,
        acme,
        _directory: directory,
    }
}

impl Scene {
    async fn account(&self) -> Result<Account, NoAccount> {
        let contact = ["ops@example.com".to_owned()];
        self.accounts
            .at(&self.directory, &self.acme, &contact)
            .await
    }

    async fn roll_over(&self) -> Result<(), NoAccount> {
        self.accounts.roll_over(&self.directory, &self.acme).await
    }

    fn kept(&self) -> Credentials {
        self.store.account(self.directory.url()).unwrap().unwrap()
    }

    fn next(&self) -> Option<Credentials> {
        self.store.next_account(self.directory.url()).unwrap()
    }

    fn asked(&self, line: &str) -> usize {
        self.fake
            .lines()
            .iter()
            .filter(|asked| *asked == line)
            .count()
    }

    /// What the next process finds.
    fn restarted(self) -> Self {
        Self {
            accounts: Accounts::new(self.store.clone()),
            ..self
        }
    }
}

#[tokio::test]
async fn an_account_is_made_once_and_read_again_when_another_process_has_changed_it() {
    let scene = scene(correct).await;
    let first = scene.account().await.unwrap();
    scene.account().await.unwrap();
    assert_eq!(scene.asked("POST /new-account"), 1);
    let another = Accounts::new(scene.store.clone());
    another
        .roll_over(&scene.directory, &scene.acme)
        .await
        .unwrap();
    let second = scene.account().await.unwrap();
    assert_eq!(first.url(), second.url());
    let key = scene.kept().thumbprint().unwrap();
    second.state().await.unwrap();
    let signed = scene.fake.received().pop().unwrap();
    assert_eq!(signed.protected()["kid"], first.url());
    assert_eq!(second.thumbprint(), key);
    assert_ne!(first.thumbprint(), key);
}

#[tokio::test]
async fn a_new_key_is_on_disk_before_the_ca_hears_of_it() {
    let scene = scene(correct).await;
    scene.account().await.unwrap();
    let old = scene.kept().thumbprint().unwrap();
    scene.roll_over().await.unwrap();
    assert_ne!(scene.kept().thumbprint().unwrap(), old);
    assert!(scene.next().is_none());
    // The CA can't be reached for the change, and the key is kept all the same.
    let lost = |request: &Received, base: &str| match request.line.as_str() {
        "POST /key-change" => Reply::Raw(Vec::new()),
        "POST /new-account" if request.count("POST /new-account") > 0 => Reply::Raw(Vec::new()),
        _ => usual(request, base),
    };
    let scene = self::scene(lost).await;
    scene.account().await.unwrap();
    let old = scene.kept().thumbprint().unwrap();
    let error = scene.roll_over().await.unwrap_err();
    assert!(
        matches!(error, NoAccount::Account(AccountError::Unavailable { .. })),
        "{error}"
    );
    assert_eq!(scene.kept().thumbprint().unwrap(), old);
    assert!(scene.next().is_some());
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_found_to_be_done() {
    let lost = |request: &Received, base: &str| match request.line.as_str() {
        "POST /key-change" => Reply::Raw(Vec::new()),
        _ => correct(request, base),
    };
    let scene = scene(lost).await;
    scene.account().await.unwrap();
    let old = scene.kept().thumbprint().unwrap();
    scene.roll_over().await.unwrap();
    assert_ne!(scene.kept().thumbprint().unwrap(), old);
    assert!(scene.next().is_none());
}

#[tokio::test]
async fn after_a_crash_before_the_ca_heard_of_the_key_the_next_process_tells_it() {
    let scene = scene(correct).await;
    scene.account().await.unwrap();
    let next = scene.kept().with_new_key().unwrap();
    scene
        .store
        .save_next_account(scene.directory.url(), &next)
        .unwrap();
    let scene = scene.restarted();
    let account = scene.account().await.unwrap();
    assert_eq!(account.thumbprint(), next.thumbprint().unwrap());
    assert_eq!(
        scene.kept().thumbprint().unwrap(),
        next.thumbprint().unwrap()
    );
    assert_eq!(scene.asked("POST /key-change"), 1);
    assert!(scene.next().is_none());
}

#[tokio::test]
async fn after_a_crash_when_the_ca_knew_the_key_already_the_next_process_takes_it() {
    let scene = scene(correct).await;
    let account = scene.account().await.unwrap();
    let next = scene.kept().with_new_key().unwrap();
    scene
        .store
        .save_next_account(scene.directory.url(), &next)
        .unwrap();
    account.roll_over(&next).await.unwrap();
    let scene = scene.restarted();
    // Whoever asks for another change by hand has this one.
    scene.roll_over().await.unwrap();
    assert_eq!(
        scene.kept().thumbprint().unwrap(),
        next.thumbprint().unwrap()
    );
    assert_eq!(scene.asked("POST /key-change"), 1);
    assert!(scene.next().is_none());
}

#[tokio::test]
async fn a_ca_that_refuses_the_new_key_leaves_everything_as_it_was() {
    let scene = scene(|request, base| match request.line.as_str() {
        "POST /key-change" => Reply::problem(409, "conflict", "that key is taken"),
        _ => usual(request, base),
    })
    .await;
    scene.account().await.unwrap();
    let old = scene.kept().thumbprint().unwrap();
    let error = scene.roll_over().await.unwrap_err();
    assert!(error.to_string().contains("that key is taken"), "{error}");
    assert!(scene.next().is_none());
    assert_eq!(scene.account().await.unwrap().thumbprint(), old);
}

#[tokio::test]
async fn a_closed_account_is_set_aside_with_its_key_and_the_next_use_makes_another() {
    let scene = scene(correct).await;
    scene.account().await.unwrap();
    let key = scene.kept().thumbprint().unwrap();
    let aside = scene
        .accounts
        .deactivate(&scene.directory, &scene.acme)
        .await;
    let aside = std::fs::read(aside.unwrap()).unwrap();
    let kept: Credentials = serde_json::from_slice(&aside).unwrap();
    assert_eq!(kept.thumbprint().unwrap(), key);
    assert_eq!(
        scene.fake.received().pop().unwrap().payload(),
        json!({ "status": "deactivated" })
    );
    let again = scene
        .accounts
        .deactivate(&scene.directory, &scene.acme)
        .await;
    assert!(matches!(again, Err(NoAccount::None { .. })));
}

#[tokio::test]
async fn an_account_that_the_ca_has_closed_before_is_only_set_aside() {
    let scene = scene(|request, base| match request.line.as_str() {
        "POST /account/1" => {
            Reply::problem(403, "unauthorized", "Account has status \"deactivated\"")
        }
        _ => usual(request, base),
    })
    .await;
    scene.account().await.unwrap();
    scene
        .accounts
        .deactivate(&scene.directory, &scene.acme)
        .await
        .unwrap();
    assert!(scene.store.account_stamp(scene.directory.url()).is_none());
}

#[tokio::test]
async fn a_ca_that_can_not_be_asked_closes_nothing() {
    let scene = scene(|request, base| match request.line.as_str() {
        "POST /account/1" => Reply::text(503, "later"),
        _ => usual(request, base),
    })
    .await;
    scene.account().await.unwrap();
    let closed = scene
        .accounts
        .deactivate(&scene.directory, &scene.acme)
        .await;
    assert!(closed.is_err());
    assert!(scene.store.account_stamp(scene.directory.url()).is_some());
    let (_, state) = scene
        .accounts
        .look(&scene.directory, &scene.acme)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(state, Err(AccountError::Unavailable { .. })));
}

#[tokio::test]
async fn the_ca_is_told_new_addresses_once_and_a_failure_of_that_keeps_nobody() {
    let scene = scene(correct).await;
    scene.account().await.unwrap();
    let contact = ["new@example.com".to_owned()];
    for _ in 0..2 {
        let accounts = Accounts::new(scene.store.clone());
        accounts
            .at(&scene.directory, &scene.acme, &contact)
            .await
            .unwrap();
    }
    assert_eq!(scene.asked("POST /account/1"), 1);
    let received = scene.fake.received();
    let told = received
        .iter()
        .find(|request| request.line == "POST /account/1");
    let sent = told.unwrap().payload();
    assert_eq!(sent, json!({ "contact": ["mailto:new@example.com"] }));
    assert_eq!(scene.kept().contact(), Some(&contact[..]));

    let scene = self::scene(|request, base| match request.line.as_str() {
        "POST /account/1" => Reply::problem(400, "invalidContact", "no"),
        _ => usual(request, base),
    })
    .await;
    scene.account().await.unwrap();
    let scene = scene.restarted();
    scene
        .accounts
        .at(&scene.directory, &scene.acme, &contact)
        .await
        .unwrap();
    assert_eq!(
        scene.kept().contact(),
        Some(&["ops@example.com".to_owned()][..])
    );
}

#[tokio::test]
async fn terms_that_nobody_has_agreed_to_are_named() {
    let mut scene = scene(|request, base| match request.line.as_str() {
        "GET /directory" => Reply::json(
            200,
            &json!({
                "newNonce": format!("{base}/nonce"),
                "newAccount": format!("{base}/new-account"),
                "newOrder": format!("{base}/new-order"),
                "meta": { "termsOfService": "https://ca.example/terms.pdf" },
            }),
        ),
        _ => usual(request, base),
    })
    .await;
    scene.acme.accept_terms = false;
    let report = scene.account().await.unwrap_err().report();
    assert!(
        report.what.contains("https://ca.example/terms.pdf"),
        "{report:?}"
    );
    assert!(
        report.next_step.contains("accept_terms = true"),
        "{report:?}"
    );
    assert_eq!(scene.fake.lines(), ["GET /directory"]);
}
