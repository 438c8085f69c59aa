//! One sidecar takes the place of another: by `--take-over`, or by sockets that stay open while it is started again.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::shop::{NAMES, Shop};
use crate::support::{App, Load, Sidedoor, eventually, free_port, get};

const PATIENCE: Duration = Duration::from_secs(30);

fn before(app: &App) -> Sidedoor {
    Sidedoor::alone().app_with("shop", &["shop.example"], app, "enabled = false")
}

/// Tells a door from one that was written anew.
fn identity(file: &Path) -> (u64, i64, i64) {
    let file = fs::metadata(file).unwrap();
    (file.ino(), file.mtime(), file.mtime_nsec())
}

#[test]
fn a_new_sidecar_takes_over_under_load_and_no_request_is_refused_or_lost() {
    let app = App::named("shop");
    let metrics = format!("\"127.0.0.1:{}\"", free_port());
    let sidedoor = before(&app).with("metrics", &metrics);
    let mut sidecar = sidedoor.run();
    let load = Load::at(sidedoor.port(), "shop.example", "shop")
        .users(4, 4)
        .start();
    for round in 1..=3 {
        load.reach(2_000 * round);
        let heir = sidedoor.take_over();
        assert!(sidecar.ends().success());
        sidecar = heir;
    }
    let tally = load.stop_at(8_000);
    tally.assert_nothing_failed();
    println!("{tally}");
    assert!(sidecar.stop().success());
    assert!(
        !sidedoor.admin().exists(),
        "the last one takes its socket with it"
    );
}

#[test]
fn a_new_sidecar_takes_over_a_unix_socket_and_nobody_is_refused() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let path = sidedoor.configuration().with_file_name("http.sock");
    let sidedoor = sidedoor.with("listen", &format!("\"unix:{}\"", path.display()));
    let sidecar = sidedoor.run();
    let (asked, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ask = || {
            while !is_over.load(Ordering::Relaxed) && asked.load(Ordering::Relaxed) < 1_000_000 {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                    .unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.ends_with("shop"), "{answer}");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        };
        let users = [scope.spawn(ask), scope.spawn(ask)];
        let reach = |count| {
            eventually("requests", PATIENCE, || {
                (asked.load(Ordering::Relaxed) >= count).then_some(())
            });
        };
        reach(500);
        let heir = sidedoor.take_over();
        assert!(sidecar.ends().success());
        reach(asked.load(Ordering::Relaxed) + 500);
        is_over.store(true, Ordering::Relaxed);
        for user in users {
            user.join().unwrap();
        }
        assert!(heir.stop().success());
    });
}

#[test]
fn permanent_doors_stay_open_and_doors_and_tokens_by_hand_are_handed_on() {
    let shop = Shop::configured("door = \"permanent\"");
    let sidecar = shop.sidecar();
    let [door] = &shop.doors()[..] else {
        panic!("one door")
    };
    let door = shop.nginx.doors().join(door);
    let before = identity(&door);
    let key = format!("tok.{}", "k".repeat(43));
    shop.sidedoor
        .call(["challenge", "add", "tok", &key])
        .succeeded();
    let load = Load::on(&shop.nginx, NAMES[0], &shop.app).start();
    let heir = shop.sidedoor.take_over();
    assert!(sidecar.ends().success());
    eventually("it holds the door", PATIENCE, || {
        // Whoever may not close it says so.
        let closed = shop.sidedoor.call(["close", "shop"]);
        closed.stderr.contains("is permanent").then_some(())
    });
    assert_eq!(identity(&door), before, "nobody wrote it anew");
    let answer = shop.nginx.get(NAMES[0], "/.well-known/acme-challenge/tok");
    assert_eq!(answer.text(), key);
    shop.sidedoor
        .call(["challenge", "remove", "tok"])
        .succeeded();
    load.stop_at(500).assert_nothing_failed();
    shop.sidedoor.call(["renew", "shop", "--force"]).succeeded();
    assert!(heir.stop().success());
    assert!(door.exists());
}

#[test]
fn a_door_that_was_opened_by_hand_stays_open_until_somebody_closes_it() {
    let shop = Shop::plain();
    let sidecar = shop.sidecar();
    shop.sidedoor.call(["open", "shop"]).succeeded();
    let heir = shop.sidedoor.take_over();
    assert!(sidecar.ends().success());
    assert_eq!(shop.doors().len(), 1);
    shop.sidedoor.call(["close", "shop"]).succeeded();
    shop.assert_as_if_nothing_had_been();
    assert!(heir.stop().success());
}

#[test]
fn an_issuance_under_way_is_finished_before_the_new_sidecar_begins() {
    let shop = Shop::visited_by(|ca| ca.sleeping(3));
    let sidecar = shop.sidecar();
    let renewal = shop.sidedoor.start(["renew", "shop", "--force", "-v"]);
    eventually("the door stands", PATIENCE, || {
        (shop.doors().len() == 1).then_some(())
    });
    let heir = shop.sidedoor.take_over();
    assert!(renewal.ends().success());
    assert!(sidecar.ends().success());
    assert_eq!(shop.sidedoor.versions("shop").len(), 2);
    shop.assert_as_if_nothing_had_been();
    assert!(heir.stop().success());
}

#[test]
fn the_old_sidecar_goes_on_if_the_new_one_fails() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let sidecar = sidedoor.run();
    let load = Load::at(sidedoor.port(), "shop.example", "shop").start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = format!("metrics = \"{}\"", taken.local_addr().unwrap());
    let other = sidedoor.taking_over_with(&metrics);
    let refused = crate::support::Outcome::of(&other).exited(1);
    assert!(refused.stderr.contains("metrics"), "{refused:#?}");
    eventually("the place is kept", PATIENCE, || {
        sidecar.log().contains("which is kept").then_some(())
    });
    sidedoor.call(["challenge", "list"]).succeeded();
    load.stop_at(1_000).assert_nothing_failed();
    assert!(sidecar.stop().success());
}

#[test]
fn without_anybody_to_take_over_from_it_starts_as_usual() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let sidecar = sidedoor.take_over();
    assert_eq!(get(sidedoor.port(), "shop.example", "/").text(), "shop");
    assert!(sidecar.stop().success());
}

#[test]
fn a_socket_that_stays_open_over_restarts_refuses_nobody() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let socket = TcpListener::bind(("127.0.0.1", sidedoor.port())).unwrap();
    let mut sidecar = sidedoor.activated(&socket);
    let load = Load::at(sidedoor.port(), "shop.example", "shop")
        .users(2, 4)
        .start();
    for round in 1..=3 {
        load.reach(1_500 * round);
        assert!(sidecar.stop().success());
        sidecar = sidedoor.activated(&socket);
    }
    let tally = load.stop_at(6_000);
    tally.assert_nothing_failed();
    println!("{tally}");
    assert!(sidecar.stop().success());
}

#[test]
fn a_socket_that_nobody_asked_for_is_refused() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = sidedoor.activated(&socket);
    eventually("it says so", PATIENCE, || {
        let address = socket.local_addr().unwrap();
        sidecar
            .log()
            .contains(&format!("add {address} to `listen`"))
            .then_some(())
    });
    assert!(!sidecar.ends().success());
}
