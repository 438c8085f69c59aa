//! A pass in which nothing is due: sidedoor over 10,000 certificates, certbot over 1,000.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sidedoor::certificate::Chain;
use sidedoor::store::{Lineage, Saved, Store, Summary};
use tempfile::TempDir;

use crate::support::{App, Authority, Nginx, Pebble, Server, Sidedoor, find_program};

const OURS: usize = 10_000;
const THEIRS: usize = 1_000;
const ROUNDS: usize = 5;

pub(crate) fn run() {
    let nginx = Nginx::serving([Server::of(&["nobody.example"])]);
    let pebble = Pebble::visiting(&nginx).start();
    let app = App::named("app");
    let names: Vec<_> = (0..OURS).map(|n| format!("host{n}")).collect();
    let domains: Vec<_> = names.iter().map(|name| format!("{name}.example")).collect();
    let apps = names.iter().zip(&domains);
    let apps = apps.map(|(name, domain)| (name.as_str(), domain.as_str()));
    let sidedoor = Sidedoor::beside(&nginx, &pebble).apps(apps, &app);
    put_in_place(&sidedoor, &pebble, &names);
    // The first pass draws each one's moment and asks the CA when to renew; those after it find nothing to do.
    let first = time(&mut sidedoor.command(["renew", "-q"]));
    println!("first pass over {OURS}: {:.2} s", first.as_secs_f64());

    let directory = TempDir::with_prefix("certbot-").unwrap();
    let certbot = lay_out_certbot(directory.path());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(&mut sidedoor.command(["renew", "-q"])));
        theirs.push(time(&mut certbot_renew(&certbot)));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let each = |took: Duration, count: usize| took.as_secs_f64() * 1e6 / count as f64;
    let (our_share, their_share) = (each(ours, OURS), each(theirs, THEIRS));
    println!(
        "sidedoor renew, {OURS}: {:.3} s, {our_share:.0} µs each",
        ours.as_secs_f64()
    );
    println!(
        "certbot renew, {THEIRS}: {:.3} s, {their_share:.0} µs each",
        theirs.as_secs_f64()
    );
    println!(
        "certbot takes {:.0} times as long for each",
        their_share / our_share
    );
    println!("sidedoor's peak: {}", peak(&sidedoor));
}

/// Certificates as an earlier run would have left them, live and served.
fn put_in_place(sidedoor: &Sidedoor, pebble: &Pebble, names: &[String]) {
    let store = Store::open(&sidedoor.state()).unwrap();
    let authority = Authority::named("a CA of long ago");
    let scratch = TempDir::with_prefix("identity-").unwrap();
    for name in names {
        let domain = format!("{name}.example");
        authority.certify(&[&domain]).write_to(scratch.path());
        let read = |file: &str| fs::read_to_string(scratch.path().join(file)).unwrap();
        let (privkey, fullchain) = (read("privkey.pem"), read("fullchain.pem"));
        let name = name.parse().unwrap();
        let archive = sidedoor.state().join(format!("archive/{name}/0001"));
        fs::create_dir_all(&archive).unwrap();
        let saved = Saved {
            privkey,
            cert: fullchain.clone(),
            chain: String::new(),
            fullchain,
        };
        for (file, text) in [
            ("privkey.pem", &saved.privkey),
            ("cert.pem", &saved.cert),
            ("chain.pem", &saved.chain),
            ("fullchain.pem", &saved.fullchain),
        ] {
            fs::write(archive.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink(store.live_target(&name, 1), store.live_link(&name)).unwrap();
        let chain = Chain::from_pem(&saved.fullchain).unwrap();
        let lineage = Lineage {
            identifiers: chain.identifiers().to_vec(),
            directory: Some(pebble.directory_url()),
            deployed: Some(1),
            summary: Some(Summary {
                version: 1,
                identifiers: chain.identifiers().to_vec(),
                not_before: chain.not_before(),
                not_after: chain.not_after(),
                id: chain.certificate_id().map(str::to_owned),
            }),
            ..Lineage::default()
        };
        store.save_lineage(&name, &lineage).unwrap();
    }
}

/// 1,000 lineages in certbot's own layout, copies of one but for their names. Certbot reads each one's certificate and configuration.
fn lay_out_certbot(directory: &Path) -> std::path::PathBuf {
    let root = directory.join("config");
    let authority = Authority::named("another CA of long ago");
    for n in 0..THEIRS {
        let name = format!("host{n}.example");
        let archive = root.join("archive").join(&name);
        let live = root.join("live").join(&name);
        let renewal = root.join("renewal");
        for path in [&archive, &live, &renewal] {
            fs::create_dir_all(path).unwrap();
        }
        let scratch = directory.join("scratch");
        authority.certify(&[&name]).write_to(&scratch);
        for (kind, from) in [
            ("privkey", "privkey.pem"),
            ("cert", "fullchain.pem"),
            ("chain", "fullchain.pem"),
            ("fullchain", "fullchain.pem"),
        ] {
            fs::copy(scratch.join(from), archive.join(format!("{kind}1.pem"))).unwrap();
            let target = format!("../../archive/{name}/{kind}1.pem");
            std::os::unix::fs::symlink(target, live.join(format!("{kind}.pem"))).unwrap();
        }
        let live = live.display();
        let configuration = format!(
            "version = 2.1.0\narchive_dir = {}\ncert = {live}/cert.pem\nprivkey = {live}/privkey.pem\nchain = {live}/chain.pem\n\
             fullchain = {live}/fullchain.pem\n[renewalparams]\naccount = 00000000000000000000000000000000\n\
             authenticator = standalone\nserver = https://127.0.0.1:1/dir\nkey_type = ecdsa\n",
            archive.display()
        );
        fs::write(renewal.join(format!("{name}.conf")), configuration).unwrap();
    }
    directory.to_owned()
}

fn certbot_renew(directory: &Path) -> Command {
    let mut command = Command::new(find_program("certbot"));
    command.args(["renew", "-n", "-q", "--no-random-sleep-on-renew"]);
    for (option, name) in [
        ("--config-dir", "config"),
        ("--work-dir", "work"),
        ("--logs-dir", "logs"),
    ] {
        command.arg(option).arg(directory.join(name));
    }
    command
}

fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    let output = command.output().unwrap();
    let took = start.elapsed();
    assert!(output.status.success(), "{output:?}");
    took
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

/// The largest resident set of one pass, as GNU time tells it.
fn peak(sidedoor: &Sidedoor) -> String {
    let pass = sidedoor.command(["renew", "-q"]);
    let mut command = Command::new(find_program("time"));
    command
        .args(["-f", "%M KiB"])
        .arg(pass.get_program())
        .args(pass.get_args());
    String::from_utf8(command.output().unwrap().stderr)
        .unwrap()
        .trim()
        .to_owned()
}
