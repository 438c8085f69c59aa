//! A certificate's files in other places, for programs that are not nginx.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{getegid, geteuid};
use tempfile::TempDir;

use crate::crash::crash;
use crate::shop::Shop;
use crate::support::{Outcome, eventually};

/// Another program's directory; `DIR` in the shop's `install` is its path.
struct Elsewhere {
    shop: Shop,
    directory: TempDir,
}

impl Elsewhere {
    fn with(install: &str) -> Self {
        let directory = TempDir::with_prefix("mail-").unwrap();
        let path = directory.path().display().to_string();
        let lines = format!("install = {}", install.replace("DIR", &path));
        // A CA that remembers having looked, so that a renewal needs no door.
        let shop = Shop::whole(|server| server, &lines, |ca| ca.reusing_authorizations(100));
        Self { shop, directory }
    }

    /// Copies, and a program that reads them and writes down each time it was told to.
    fn copied() -> Self {
        Self::with(
            r#"[{ fullchain = "DIR/cert.pem", privkey = "DIR/key.pem", reload = ["sh", "-c", "cat DIR/cert.pem DIR/key.pem > DIR/read; echo told >> DIR/told"] }]"#,
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn live(&self, name: &str) -> String {
        fs::read_to_string(self.shop.sidedoor.live("shop").join(name)).unwrap()
    }

    fn times_told(&self) -> usize {
        fs::read_to_string(self.path("told")).map_or(0, |told| told.lines().count())
    }

    #[track_caller]
    fn assert_copied(&self) {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        assert_eq!(read("cert.pem"), self.live("fullchain.pem"));
        assert_eq!(read("key.pem"), self.live("privkey.pem"));
        let read_by_it = self.live("fullchain.pem") + &self.live("privkey.pem");
        assert_eq!(read("read"), read_by_it);
        assert_eq!(mode(&self.path("key.pem")), 0o600);
        assert_eq!(mode(&self.path("cert.pem")), 0o644);
    }

    fn renew(&self, arguments: &[&str]) -> Outcome {
        let words = ["renew"].iter().chain(arguments);
        self.shop.sidedoor.call(words).succeeded()
    }

    fn status(&self) -> String {
        self.shop.sidedoor.call(["status"]).succeeded().stdout
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn copies_follow_each_certificate_and_their_reader_is_told_once() {
    let mail = Elsewhere::copied();
    mail.shop.issue().succeeded();
    mail.assert_copied();
    assert_eq!(mail.times_told(), 1);
    mail.renew(&["--force"]);
    mail.assert_copied();
    assert_eq!(mail.times_told(), 2);
    // Nothing has changed, so nothing is written and nobody is told.
    let inode = |name: &str| fs::metadata(mail.path(name)).unwrap().ino();
    let before = (inode("cert.pem"), inode("key.pem"));
    mail.renew(&[]);
    assert_eq!((inode("cert.pem"), inode("key.pem")), before);
    assert_eq!(mail.times_told(), 2);
}

#[test]
fn what_somebody_has_changed_or_taken_away_is_put_right_by_the_next_pass() {
    let mail = Elsewhere::copied();
    mail.shop.issue().succeeded();
    let key = mail.path("key.pem");
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&key).unwrap(),
        &|| fs::write(&key, "another's").unwrap(),
        &|| fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap(),
        &|| {
            fs::remove_file(&key).unwrap();
            symlink("/dev/null", &key).unwrap();
        },
    ];
    for (nth, damage) in damages.iter().enumerate() {
        damage();
        mail.renew(&[]);
        mail.assert_copied();
        assert_eq!(mail.times_told(), nth + 2);
    }
}

#[test]
fn a_sidecar_puts_right_what_it_finds_when_it_starts_and_when_the_configuration_changes() {
    let mail = Elsewhere::copied();
    mail.shop.issue().succeeded();
    let key = mail.path("key.pem");
    fs::remove_file(&key).unwrap();
    let sidecar = mail.shop.sidedoor.run();
    let put_right = |what: &str| {
        eventually(what, Duration::from_secs(20), || {
            fs::read(&key)
                .is_ok_and(|key| !key.is_empty())
                .then_some(())
        });
    };
    put_right("the key is back");
    let file = mail.shop.sidedoor.configuration();
    fs::remove_file(&key).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[acme]", "[acme]\nkeep = 7")).unwrap();
    put_right("the key is back again");
    assert!(sidecar.stop().success());
}

#[test]
fn links_lead_to_what_is_live_and_their_reader_is_told_all_the_same() {
    let mail = Elsewhere::with(
        r#"[{ fullchain = "DIR/cert.pem", privkey = "DIR/key.pem", symlink = true, reload = ["sh", "-c", "echo told >> DIR/told"] }]"#,
    );
    for nth in 1..=2 {
        mail.renew(&["--force"]);
        let live = mail.shop.sidedoor.live("shop");
        assert_eq!(
            fs::read_link(mail.path("key.pem")).unwrap(),
            live.join("privkey.pem")
        );
        let cert = fs::read_to_string(mail.path("cert.pem")).unwrap();
        assert_eq!(cert, mail.live("fullchain.pem"));
        assert_eq!(mail.times_told(), nth);
    }
}

#[test]
fn a_combined_file_has_the_key_first_and_belongs_to_whom_it_shall() {
    // Only root gives files away.
    let (user, group) = match (geteuid(), getegid()) {
        (user, _) if user.is_root() => (65534, 65534),
        (user, group) => (user.as_raw(), group.as_raw()),
    };
    let mail = Elsewhere::with(&format!(
        r#"[{{ combined = "DIR/all.pem", chain = "DIR/ca.pem", cert = "DIR/leaf.pem", owner = "{user}", group = "{group}", mode = "0640" }}]"#
    ));
    mail.shop.issue().succeeded();
    let all = mail.path("all.pem");
    let text = fs::read_to_string(&all).unwrap();
    assert_eq!(text, mail.live("privkey.pem") + &mail.live("fullchain.pem"));
    assert_eq!(mode(&all), 0o640);
    for (name, part) in [("ca.pem", "chain.pem"), ("leaf.pem", "cert.pem")] {
        assert_eq!(
            fs::read_to_string(mail.path(name)).unwrap(),
            mail.live(part)
        );
        let owner = fs::metadata(mail.path(name)).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (user, group));
    }
}

#[test]
fn two_places_with_the_same_reader_are_told_of_once() {
    let reload = r#"reload = ["sh", "-c", "echo told >> DIR/told"]"#;
    let mail = Elsewhere::with(&format!(
        r#"[{{ privkey = "DIR/a.pem", {reload} }}, {{ privkey = "DIR/b.pem", {reload} }}]"#
    ));
    mail.shop.issue().succeeded();
    assert_eq!(mail.times_told(), 1);
}

#[test]
fn a_place_that_is_not_there_fails_no_certificate_and_no_other_place() {
    let mail = Elsewhere::with(
        r#"[{ fullchain = "DIR/new/cert.pem", privkey = "DIR/new/key.pem" }, { privkey = "DIR/key.pem" }, { privkey = "DIR/k2.pem", owner = "no-such-user" }]"#,
    );
    let outcome = mail.shop.issue().succeeded();
    assert!(outcome.stderr.contains("new/cert.pem"), "{outcome:#?}");
    assert!(outcome.stderr.contains("no-such-user"), "{outcome:#?}");
    assert_eq!(
        fs::read_to_string(mail.path("key.pem")).unwrap(),
        mail.live("privkey.pem")
    );
    let status = mail.status();
    assert!(status.contains("make the directory"), "{status}");
    fs::create_dir(mail.path("new")).unwrap();
    mail.renew(&[]);
    assert_eq!(
        fs::read_to_string(mail.path("new/key.pem")).unwrap(),
        mail.live("privkey.pem")
    );
    assert!(!mail.status().contains("make the directory"));
}

#[test]
fn of_a_pair_neither_changes_if_one_of_them_can_not() {
    let mail = Elsewhere::copied();
    mail.shop.issue().succeeded();
    let old = fs::read_to_string(mail.path("cert.pem")).unwrap();
    fs::remove_file(mail.path("key.pem")).unwrap();
    fs::create_dir(mail.path("key.pem")).unwrap();
    mail.renew(&["--force"]);
    assert_eq!(fs::read_to_string(mail.path("cert.pem")).unwrap(), old);
    assert_eq!(mail.times_told(), 1);
}

#[test]
fn a_reader_that_fails_is_told_again_until_it_has_heard() {
    let mail = Elsewhere::with(
        r#"[{ privkey = "DIR/key.pem", reload = ["sh", "-c", "echo told >> DIR/told; test -e DIR/fine"] }]"#,
    );
    let outcome = mail.shop.issue().succeeded();
    assert!(outcome.stderr.contains("exit status: 1"), "{outcome:#?}");
    mail.renew(&[]);
    assert_eq!(mail.times_told(), 2);
    assert!(mail.status().contains("runs it again"));
    fs::write(mail.path("fine"), "").unwrap();
    for _ in 0..2 {
        mail.renew(&[]);
        assert_eq!(mail.times_told(), 3);
    }
    assert!(!mail.status().contains("FAILED"));
}

#[test]
fn what_a_crash_has_kept_from_its_place_comes_there_by_the_next_pass() {
    let mut mail = Elsewhere::copied();
    mail.shop.issue().succeeded();
    mail.shop.serve_tls();
    for step in ["flipped", "live", "handed-over"] {
        crash(&mail.shop.sidedoor, &["renew", "--force"], step);
        mail.renew(&[]);
        mail.assert_copied();
    }
}
