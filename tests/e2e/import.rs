//! What other clients have got from a real CA is taken over without an order, and used; nothing of theirs is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::shop::NAMES;
use crate::support::{
    App, Certificate, Identity, Nginx, Outcome, Pebble, Server, Sidedoor, Tree, find_program,
};

/// A site that another client looks after: its challenges lie in a webroot, which the side door goes before.
struct Site {
    sidedoor: Sidedoor,
    pebble: Pebble,
    nginx: Nginx,
    app: App,
    /// The other client's.
    theirs: TempDir,
}

impl Site {
    fn new() -> Self {
        let app = App::named("shop");
        let nginx = Nginx::serving([Server::of(&["nobody.example"])]);
        // dehydrated doesn't ask again when a nonce is rejected.
        let pebble = Pebble::visiting(&nginx).rejecting_nonces(0).start();
        let sidedoor = Sidedoor::beside(&nginx, &pebble).app("shop", &NAMES, &app);
        let site = Self {
            theirs: TempDir::with_prefix("theirs-").unwrap(),
            sidedoor,
            pebble,
            nginx,
            app,
        };
        fs::create_dir_all(site.tokens()).unwrap();
        let server = format!(
            "server {{ listen 127.0.0.1:{}; server_name {} other.example; include {}/*.conf; root {}; }}\n",
            site.nginx.http_port(),
            NAMES.join(" "),
            site.nginx.door_directory("shop").display(),
            site.webroot().display(),
        );
        site.nginx.write_elsewhere("site.conf", &server);
        site.nginx.reload();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.theirs.path().join(name)
    }

    fn webroot(&self) -> PathBuf {
        self.path("webroot")
    }

    fn tokens(&self) -> PathBuf {
        self.webroot().join(".well-known/acme-challenge")
    }

    /// Takes over, and sees that nothing of theirs has changed.
    fn import(&self, arguments: &[&str]) -> Outcome {
        let before = Tree::of(self.theirs.path());
        let words = ["import"].iter().chain(arguments);
        let outcome = self.sidedoor.call(words);
        assert_eq!(Tree::of(self.theirs.path()), before);
        outcome
    }

    fn import_json(&self, client: &str, directory: &Path) -> Value {
        let directory = directory.to_str().unwrap();
        let outcome = self.import(&[client, directory, "--json"]).succeeded();
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Sees that nginx serves the certificate which is theirs, and that nobody orders another before it is due.
    fn assert_in_use(&mut self, theirs: &Path) {
        let live = self.sidedoor.live("shop");
        let server = Server::of(&NAMES).to(&self.app).over_tls(&live);
        self.nginx.add(server);
        self.nginx.reload();
        let renewed = self.sidedoor.call(["-v", "renew", "shop"]).succeeded();
        assert!(!renewed.stderr.contains("ordered"), "{renewed:#?}");
        assert_eq!(
            self.nginx.certificate(NAMES[0]),
            Certificate::in_file(theirs)
        );
        assert!(self.pebble.vouches_for(&self.nginx, NAMES[1]));
        assert_eq!(self.sidedoor.versions("shop").len(), 1);
        let status = self.sidedoor.call(["status", "--json"]).succeeded().stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        let certificates = status["certificates"].as_array().unwrap().iter();
        let shop = certificates.into_iter().find(|one| one["name"] == "shop");
        let shop = shop.unwrap();
        assert_eq!(shop["served"][0]["is_live"], true, "{shop}");
        // Some time in its last third, as if it were our own.
        let next = shop["next_attempt"]["at"].as_str().unwrap();
        let end = shop["live"]["not_after"].as_str().unwrap();
        let now = time::OffsetDateTime::now_utc();
        let parse = |time: &str| {
            let format = &time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(time, format).unwrap()
        };
        assert!(parse(next) - now > (parse(end) - now) / 2, "{shop}");
    }

    /// The account of the only CA.
    fn account(&self) -> Option<Value> {
        let accounts = fs::read_dir(self.sidedoor.state().join("accounts")).unwrap();
        let directory = accounts.map(|entry| entry.unwrap().path()).next()?;
        serde_json::from_slice(&fs::read(directory.join("account.json")).unwrap()).unwrap()
    }

    /// Sees that the next order is placed by their account.
    fn assert_account_in_use(&self) {
        let before = self.account().expect("an account");
        let renewed = self.sidedoor.call(["-v", "renew", "shop", "--force"]);
        let renewed = renewed.succeeded();
        let url = before["id"].as_str().unwrap();
        assert!(renewed.stderr.contains(url), "{renewed:#?}");
        assert_eq!(self.account(), Some(before));
        assert_eq!(self.sidedoor.versions("shop").len(), 2);
    }

    fn certbot(&self, names: &[&str]) {
        let mut command = Command::new(find_program("certbot"));
        command
            .env("REQUESTS_CA_BUNDLE", self.pebble.ca_file())
            .args([
                "certonly",
                "-n",
                "--agree-tos",
                "--register-unsafely-without-email",
            ])
            .args(["--server", &self.pebble.directory_url(), "--webroot", "-w"])
            .arg(self.webroot());
        for (option, directory) in [
            ("--config-dir", "letsencrypt"),
            ("--work-dir", "work"),
            ("--logs-dir", "logs"),
        ] {
            command.arg(option).arg(self.path(directory));
        }
        for name in names {
            command.args(["-d", name]);
        }
        run(command);
    }

    fn dehydrated(&self, arguments: &[&str]) {
        let base = self.path("dehydrated");
        fs::create_dir_all(&base).unwrap();
        let config = format!(
            "CA={}\nBASEDIR={}\nWELLKNOWN={}\nCURL_OPTS=\"--cacert {}\"\n",
            self.pebble.directory_url(),
            base.display(),
            self.tokens().display(),
            self.pebble.ca_file().display(),
        );
        fs::write(base.join("config"), config).unwrap();
        let mut command = Command::new(find_program("dehydrated"));
        command.arg("-f").arg(base.join("config")).args(arguments);
        run(command);
    }

    /// lego, with all its data in this directory.
    fn lego(&self, data: &Path, names: &[&str]) {
        let mut command = Command::new(find_program("lego"));
        command
            .env("LEGO_CA_CERTIFICATES", self.pebble.ca_file())
            .args(["--accept-tos", "--email", "ops@example.com", "--pem"])
            .args(["--server", &self.pebble.directory_url(), "--path"])
            .arg(data)
            .args(["--http", "--http.webroot"])
            .arg(self.webroot());
        for name in names {
            command.args(["--domains", name]);
        }
        command.arg("run");
        run(command);
    }
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:#?}");
}

/// The only piece of this outcome.
#[track_caller]
fn only<'a>(pieces: &'a Value, outcome: &str) -> &'a Value {
    let pieces = pieces.as_array().unwrap().iter();
    let mut pieces = pieces.filter(|piece| piece["outcome"] == outcome);
    let only = pieces.next().expect(outcome);
    assert!(pieces.next().is_none(), "more than one {outcome}");
    only
}

#[test]
fn certbots_certificates_are_taken_over_and_its_account_of_rsa_is_not() {
    let mut site = Site::new();
    site.certbot(&NAMES);
    site.certbot(&["other.example"]);
    let theirs = site.path("letsencrypt");
    let imported = site.import_json("certbot", &theirs);
    let names: Vec<_> = imported["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|certificate| certificate["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["other.example", "shop"]);
    let account = only(&imported["accounts"], "left");
    assert_eq!(account["directory"], site.pebble.directory_url());
    assert!(
        account["reason"].as_str().unwrap().contains("RSA"),
        "{account}"
    );
    assert_eq!(site.account(), None);
    let tables = imported["configuration"].as_str().unwrap();
    assert!(
        tables.contains("domains     = [\"other.example\"]"),
        "{tables}"
    );
    assert!(!tables.contains("shop"), "{tables}");
    let steps = imported["next_steps"].to_string();
    for said in ["live/shop/fullchain.pem", "certbot.timer", "sidedoor renew"] {
        assert!(steps.contains(said), "{said} in {steps}");
    }
    // As a person would: with the tables that were given, the configuration is whole.
    let file = site.sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n{tables}")).unwrap();
    site.sidedoor.call(["config", "check"]).succeeded();
    fs::write(&file, text).unwrap();
    site.assert_in_use(&theirs.join(format!("live/{}/cert.pem", NAMES[0])));
}

#[test]
fn a_copy_of_certbots_directory_that_has_lost_its_links_is_read_from_its_archive() {
    let site = Site::new();
    site.certbot(&NAMES);
    let theirs = site.path("letsencrypt");
    fs::remove_dir_all(theirs.join("live")).unwrap();
    let imported = site.import_json("certbot", &theirs);
    assert_eq!(
        only(&imported["certificates"], "taken-over")["name"],
        "shop"
    );
}

#[test]
fn dehydrateds_certificates_are_taken_over_and_domains_without_one_are_named() {
    let mut site = Site::new();
    site.dehydrated(&["--register", "--accept-terms"]);
    site.dehydrated(&["-c", "-d", NAMES[0], "-d", NAMES[1]]);
    let theirs = site.path("dehydrated");
    fs::write(
        theirs.join("domains.txt"),
        format!("{}\nwiki.example > w\n", NAMES.join(" ")),
    )
    .unwrap();
    let imported = site.import_json("dehydrated", &theirs);
    let account = only(&imported["accounts"], "left");
    assert_eq!(account["directory"], site.pebble.directory_url());
    let tables = imported["configuration"].as_str().unwrap();
    assert!(
        tables.contains("wiki.example") && !tables.contains("shop"),
        "{tables}"
    );
    assert_eq!(
        only(&imported["certificates"], "taken-over")["name"],
        "shop"
    );
    site.assert_in_use(&theirs.join("certs").join(NAMES[0]).join("cert.pem"));
}

#[test]
fn what_dokkus_plugin_has_is_taken_over_with_its_account() {
    let mut site = Site::new();
    let certs = site.path("dokku/blog/letsencrypt/certs");
    let data = certs.join("0123abcd");
    fs::create_dir_all(&data).unwrap();
    let config = format!(
        "--pem --http --http.webroot /webroot --accept-tos --cert.timeout 2592000 --path /certs --server {} --email ops@example.com  --domains {} --domains {}\n",
        site.pebble.directory_url(),
        NAMES[0],
        NAMES[1],
    );
    fs::write(data.join("config"), config).unwrap();
    site.lego(&data, &NAMES);
    symlink(&data, certs.join("current")).unwrap();
    // What it had before the domains were changed.
    fs::create_dir_all(certs.join("old/certificates")).unwrap();
    fs::write(certs.join("old/certificates/old.example.key"), "").unwrap();
    let imported = site.import_json("dokku-letsencrypt", &site.path("dokku"));
    only(&imported["certificates"], "taken-over");
    only(&imported["accounts"], "taken-over");
    site.assert_in_use(&data.join(format!("certificates/{}.crt", NAMES[0])));
    site.assert_account_in_use();
}

/// What acme.sh would have of a certificate and an account that lego has got, laid out as acme.sh does it.
fn lay_out_as_acme_sh(site: &Site, lego: &Path, home: &Path) {
    let (domain, url) = (NAMES[0], site.pebble.directory_url());
    let directory = home.join(format!("{domain}_ecc"));
    let ca = home.join("ca/127.0.0.1/dir");
    fs::create_dir_all(&directory).unwrap();
    fs::create_dir_all(&ca).unwrap();
    fs::create_dir_all(home.join("dnsapi")).unwrap();
    let certificates = lego.join("certificates");
    for (theirs, name) in [
        ("key", format!("{domain}.key")),
        ("crt", "fullchain.cer".into()),
    ] {
        fs::copy(
            certificates.join(format!("{domain}.{theirs}")),
            directory.join(name),
        )
        .unwrap();
    }
    let conf = format!(
        "Le_Domain='{domain}'\nLe_Alt='{}'\nLe_API='{url}'\n",
        NAMES[1]
    );
    fs::write(directory.join(format!("{domain}.conf")), conf).unwrap();
    let account = lego
        .join("accounts")
        .join(
            url.trim_start_matches("https://")
                .trim_end_matches("/dir")
                .replace(':', "_"),
        )
        .join("ops@example.com");
    fs::copy(
        account.join("keys/ops@example.com.key"),
        ca.join("account.key"),
    )
    .unwrap();
    let json: Value =
        serde_json::from_slice(&fs::read(account.join("account.json")).unwrap()).unwrap();
    let uri = json["registration"]["uri"].as_str().unwrap();
    fs::write(
        ca.join("ca.conf"),
        format!("ACCOUNT_URL='{uri}'\nCA_KEY_HASH='x'\n"),
    )
    .unwrap();
}

#[test]
fn what_acme_sh_has_is_taken_over_with_its_account() {
    let mut site = Site::new();
    let (lego, home) = (site.path("lego"), site.path("acme.sh"));
    site.lego(&lego, &NAMES);
    lay_out_as_acme_sh(&site, &lego, &home);
    let imported = site.import_json("acme.sh", &home);
    only(&imported["certificates"], "taken-over");
    let account = only(&imported["accounts"], "taken-over");
    assert_eq!(account["directory"], site.pebble.directory_url());
    site.assert_in_use(&home.join(format!("{}_ecc/fullchain.cer", NAMES[0])));
    site.assert_account_in_use();
}

/// A certificate as certbot lays it out, though no CA has given it.
fn lay_out_as_certbot(site: &Site, name: &str, names: &[&str]) -> PathBuf {
    let live = site.path("letsencrypt/live").join(name);
    Identity::self_signed(names).write_to(&live);
    live
}

#[test]
fn what_is_broken_is_told_piece_by_piece_and_keeps_nothing_else() {
    let site = Site::new();
    lay_out_as_certbot(&site, "good", &["good.example"]);
    let other_key = lay_out_as_certbot(&site, "other-key", &["a.example"]);
    let strange = lay_out_as_certbot(&site, "good", &["good.example"]);
    fs::copy(strange.join("privkey.pem"), other_key.join("privkey.pem")).unwrap();
    let garbage = lay_out_as_certbot(&site, "garbage", &["b.example"]);
    fs::write(garbage.join("fullchain.pem"), "no certificate").unwrap();
    let no_key = lay_out_as_certbot(&site, "no-key", &["c.example"]);
    fs::remove_file(no_key.join("privkey.pem")).unwrap();
    lay_out_as_certbot(&site, "nameless", &[]);
    let endless = lay_out_as_certbot(&site, "endless", &["d.example"]);
    fs::remove_file(endless.join("fullchain.pem")).unwrap();
    symlink("/dev/zero", endless.join("fullchain.pem")).unwrap();
    let theirs = site.path("letsencrypt");
    let outcome = site
        .import(&["certbot", theirs.to_str().unwrap()])
        .exited(3);
    assert!(
        outcome.stdout.contains("good.example: taken over"),
        "{outcome:#?}"
    );
    for (name, reason) in [
        ("other-key/fullchain.pem", "belongs to another key"),
        ("garbage/fullchain.pem", "there is no certificate in it"),
        ("no-key/privkey.pem", "can't be read"),
        ("nameless/fullchain.pem", "no name"),
        ("endless/fullchain.pem", "it is no file"),
    ] {
        let said = outcome.stderr.lines();
        let mut said = said.filter(|line| line.contains(name) && line.contains(reason));
        assert!(said.next().is_some(), "{name}: {reason} in {outcome:#?}");
    }
    assert!(!outcome.stderr.contains("PRIVATE KEY"));
    let lineages = Tree::of(&site.sidedoor.state().join("live"));
    assert_eq!(
        lineages.paths().collect::<Vec<_>>(),
        [Path::new("good.example")]
    );
}

#[test]
fn ours_is_replaced_only_by_what_ends_later_and_no_name_is_another_certificates() {
    let site = Site::new();
    let theirs = site.path("letsencrypt");
    lay_out_as_certbot(&site, "a", &["a.example"]);
    let taken = site.import_json("certbot", &theirs);
    assert_eq!(
        only(&taken["certificates"], "taken-over")["name"],
        "a.example"
    );
    // The same again is nothing new.
    let again = site.import_json("certbot", &theirs);
    assert_eq!(only(&again["certificates"], "kept")["name"], "a.example");
    // Other names, the first of which is the same.
    lay_out_as_certbot(&site, "b", &["a.example", "b.example"]);
    let other = site.import_json("certbot", &theirs);
    let other = only(&other["certificates"], "taken-over");
    assert_eq!(other["name"], "a.example-2");
    // The app's own names, of which the app has one already.
    site.certbot(&NAMES);
    let real = site.import_json("certbot", &theirs);
    assert_eq!(only(&real["certificates"], "taken-over")["name"], "shop");
    let live = fs::read_link(site.sidedoor.live("shop")).unwrap();
    fs::remove_dir_all(&theirs).unwrap();
    site.certbot(&NAMES);
    // The CA's certificates last a fixed time, so a later one ends later.
    let later = site.import_json("certbot", &theirs);
    only(&later["certificates"], "taken-over");
    assert_ne!(fs::read_link(site.sidedoor.live("shop")).unwrap(), live);
}

#[test]
fn an_expired_certificate_is_taken_over_with_a_word_and_renewed_by_the_next_pass() {
    let site = Site::new();
    let live = site.path("letsencrypt/live/shop");
    Identity::self_signed_until(
        &NAMES,
        time::OffsetDateTime::now_utc() - time::Duration::DAY,
    )
    .write_to(&live);
    let theirs = site.path("letsencrypt");
    let outcome = site
        .import(&["certbot", theirs.to_str().unwrap()])
        .succeeded();
    assert!(outcome.stdout.contains("shop: taken over"), "{outcome:#?}");
    assert!(outcome.stdout.contains("EXPIRED"), "{outcome:#?}");
    site.sidedoor.call(["renew"]).succeeded();
    assert_eq!(site.sidedoor.versions("shop").len(), 1);
}

#[test]
fn where_nothing_is_there_is_nothing_to_take_over() {
    let site = Site::new();
    for client in ["certbot", "dehydrated", "acme.sh", "dokku-letsencrypt"] {
        for directory in [site.path(""), site.path("missing"), "/dev/null".into()] {
            let outcome = site
                .import(&[client, directory.to_str().unwrap()])
                .exited(1);
            assert!(outcome.stderr.contains("next: name"), "{outcome:#?}");
        }
    }
    site.import(&["lego", "/"]).exited(2);
}
