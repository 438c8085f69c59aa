//! No room, or no permission, at any write: what serves goes on serving, the message names the path, and when there is room it goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shop::{NAMES, Shop};
use crate::support::{Certificate, Disk, Outcome, Scarce};

/// A shop whose certificate is served, and whose state is on a disk of its own.
struct Cramped {
    disk: Disk,
    shop: Shop,
}

impl Cramped {
    fn new(reuse: u8) -> Self {
        let mut shop = Shop::visited_by(|ca| ca.reusing_authorizations(reuse));
        let disk = Disk::at(&shop.sidedoor.state());
        shop.issue().succeeded();
        shop.serve_tls();
        Self { disk, shop }
    }

    /// Accounts, keys and certificates, which nothing may be missing of.
    fn treasure(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for part in ["accounts", "archive"] {
            collect(&self.shop.sidedoor.state().join(part), &mut files);
        }
        files
    }

    /// Renews where room is scarce. If it fails, the old certificate serves on.
    fn renew(&self, scarce: Scarce) -> Outcome {
        let serving = self.shop.nginx.certificate(NAMES[0]);
        self.disk.has_little(scarce);
        let outcome = self.renew_if_possible(scarce);
        if outcome.code() != Some(0) {
            assert_eq!(self.shop.nginx.certificate(NAMES[0]), serving, "{scarce:?}");
        }
        outcome
    }

    /// Renews where room is scarce or will be. All that was there is there still, and if it fails, it says why.
    fn renew_if_possible(&self, scarce: Scarce) -> Outcome {
        let treasure = self.treasure();
        let outcome = self.shop.sidedoor.call(["renew", "shop", "--force"]);
        assert_eq!(self.shop.nginx.test(), Ok(()), "{scarce:?}: {outcome:#?}");
        let after = self.treasure();
        for (path, content) in &treasure {
            assert_eq!(
                after.get(path),
                Some(content),
                "{scarce:?}: {}",
                path.display()
            );
        }
        if outcome.code() != Some(0) {
            let outcome = outcome.exited(1);
            let state = self.shop.sidedoor.state().display().to_string();
            assert!(outcome.stderr.contains(&state), "{scarce:?}: {outcome:#?}");
            assert!(
                outcome.stderr.contains("next: "),
                "{scarce:?}: {outcome:#?}"
            );
            return outcome;
        }
        outcome
    }

    /// With room again, the next command succeeds, and a new certificate is served.
    fn recover(&self, scarce: Scarce) {
        self.disk.has_room();
        let before = self.shop.nginx.certificate(NAMES[0]);
        let outcome = self.shop.sidedoor.call(["renew", "shop", "--force"]);
        let outcome = outcome.succeeded();
        let live = self.shop.sidedoor.live("shop").join("fullchain.pem");
        let serving = self.shop.nginx.certificate(NAMES[0]);
        assert_eq!(serving, Certificate::in_file(&live), "{scarce:?}");
        assert_ne!(serving, before, "{scarce:?}: {outcome:#?}");
        self.shop.assert_as_if_nothing_had_been();
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            // The key of an order in flight comes and goes.
            false if path.ends_with("next.pem") => {}
            false => {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
}

/// Runs out of room at each write in turn; returns how many times it did.
fn run_out(cramped: &Cramped, amounts: impl Iterator<Item = Scarce>) -> usize {
    let mut failed = 0;
    for scarce in amounts {
        if cramped.renew(scarce).code() != Some(0) {
            failed += 1;
        }
        cramped.recover(scarce);
    }
    failed
}

#[test]
fn out_of_room_for_the_next_file_whichever_it_is() {
    let failed = run_out(&Cramped::new(100), (0..12).map(Scarce::Files));
    assert!(failed >= 4, "only {failed} failures: room was not scarce");
}

#[test]
fn out_of_room_for_the_next_file_whichever_it_is_with_a_door_to_open() {
    let failed = run_out(&Cramped::new(0), (0..12).map(Scarce::Files));
    assert!(failed >= 4, "only {failed} failures: room was not scarce");
}

#[test]
fn out_of_room_for_the_next_bytes_whoever_writes_them() {
    let amounts = (0..72).step_by(4).map(Scarce::Kibibytes);
    let failed = run_out(&Cramped::new(100), amounts);
    assert!(failed >= 4, "only {failed} failures: room was not scarce");
}

#[test]
fn a_state_that_is_read_only_can_still_be_looked_at() {
    let cramped = Cramped::new(100);
    let outcome = cramped.renew(Scarce::ReadOnly).exited(1);
    assert!(!outcome.stderr.contains("ordered"), "{outcome:#?}");
    let status = cramped.shop.sidedoor.call(["status"]).succeeded();
    assert!(status.stdout.contains("the same"), "{status:#?}");
    cramped.recover(Scarce::ReadOnly);
}

#[test]
fn a_sidecar_whose_disk_runs_full_goes_on_when_there_is_room() {
    let cramped = Cramped::new(0);
    let sidecar = cramped.shop.sidedoor.run();
    for scarce in [
        Scarce::Kibibytes(0),
        Scarce::Files(0),
        Scarce::Files(2),
        Scarce::Files(4),
        Scarce::ReadOnly,
    ] {
        cramped.renew(scarce).exited(1);
        assert_eq!(cramped.shop.nginx.get(NAMES[0], "/").text(), "shop");
        cramped.recover(scarce);
    }
    let log = sidecar.log();
    let state = cramped.shop.sidedoor.state().display().to_string();
    let told = log
        .lines()
        .any(|line| line.contains("ERROR") && line.contains(&state));
    assert!(told, "{log}");
    assert!(sidecar.stop().success());
}

#[test]
fn a_first_certificate_for_which_there_is_no_room_comes_when_there_is() {
    let mut shop = Shop::plain();
    let disk = Disk::at(&shop.sidedoor.state());
    for scarce in [
        Scarce::Files(0),
        Scarce::Files(9),
        Scarce::Files(13),
        Scarce::ReadOnly,
    ] {
        disk.has_little(scarce);
        let outcome = shop.issue().exited(1);
        let state = shop.sidedoor.state().display().to_string();
        assert!(outcome.stderr.contains(&state), "{scarce:?}: {outcome:#?}");
        shop.assert_as_if_nothing_had_been();
        disk.has_room();
    }
    shop.issue().succeeded();
    shop.serve_tls();
    assert!(shop.pebble.vouches_for(&shop.nginx, NAMES[0]));
}

#[test]
fn a_door_for_which_there_is_no_room_is_told_and_opens_when_there_is() {
    let shop = Shop::plain();
    let directory = shop.nginx.door_directory("shop");
    let disk = Disk::at(&directory);
    for scarce in [Scarce::Files(0), Scarce::ReadOnly] {
        disk.has_little(scarce);
        let outcome = shop.issue().exited(1);
        let named = directory.display().to_string();
        assert!(outcome.stderr.contains(&named), "{scarce:?}: {outcome:#?}");
        shop.assert_as_if_nothing_had_been();
        disk.has_room();
    }
    shop.issue().succeeded();
    shop.assert_as_if_nothing_had_been();
}

#[test]
fn out_of_room_just_when_nginx_was_told_nothing_is_ordered_again() {
    let cramped = Cramped::new(100);
    let Cramped { disk, shop } = &cramped;
    let file = shop.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    let ballast = shop.sidedoor.state().join("ballast");
    let script = format!(
        "for n in $(seq 99); do (: > {0}.$n) 2> /dev/null || break; done; chmod 500 {1}; exec {2}",
        ballast.display(),
        shop.sidedoor.state().join("lineages").display(),
        shop.nginx.reload_command().join(" ")
    );
    let filling = text
        .lines()
        .map(|line| match line.starts_with("reload = ") {
            true => format!("reload = [\"sh\", \"-c\", {script:?}]"),
            false => line.to_owned(),
        });
    fs::write(&file, filling.collect::<Vec<_>>().join("\n")).unwrap();
    let scarce = Scarce::Files(30);
    if disk.can_run_full() {
        disk.has_little(scarce);
    }
    let outcome = cramped.renew_if_possible(scarce).exited(1);
    assert!(
        outcome.stderr.contains("lineages/shop.json"),
        "{outcome:#?}"
    );
    let live = shop.sidedoor.live("shop").join("fullchain.pem");
    assert_eq!(
        shop.nginx.certificate(NAMES[0]),
        Certificate::in_file(&live)
    );
    let versions = shop.sidedoor.versions("shop").len();
    disk.has_room();
    fs::write(&file, text).unwrap();
    let outcome = shop.sidedoor.call(["-v", "renew"]).succeeded();
    assert!(!outcome.stderr.contains("ordered"), "{outcome:#?}");
    assert_eq!(shop.sidedoor.versions("shop").len(), versions);
    shop.assert_as_if_nothing_had_been();
}
