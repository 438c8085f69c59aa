//! The doubles themselves: what the other tests rely on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use crate::support::{App, Identity, Kind, Load, Nginx, Pebble, Server, Tree, eventually};

#[test]
fn the_load_counts_a_connection_closed_at_reload_as_repeated() {
    let app = App::named("shop");
    let nginx = Nginx::serving([Server::of(&["shop.example"]).to(&app)]);
    let crowd = Load::on(&nginx, "shop.example", &app).start();
    for nth in 1..=4 {
        crowd.reach(nth * 500);
        nginx.reload();
    }
    let tally = crowd.stop();
    tally.assert_nothing_failed();
    assert!(tally.of(Kind::KeptAlive).repeated > 0, "{tally}");
    assert_eq!(tally.of(Kind::New).repeated, 0, "{tally}");
    assert_eq!(app.served(), tally.total().sent, "{tally}");
}

#[test]
fn the_load_sustains_two_thousand_requests_a_second() {
    let app = App::named("shop");
    let nginx = Nginx::serving([Server::of(&["shop.example"]).to(&app)]);
    let crowd = Load::on(&nginx, "shop.example", &app)
        .per_second(1_000_000)
        .start();
    let tally = crowd.stop_at(6_000);
    tally.assert_nothing_failed();
    assert!(
        tally.took < Duration::from_secs(3),
        "{:?}: {tally}",
        tally.took
    );
    assert!(tally.of(Kind::New).sent > 500, "{tally}");
}

#[test]
fn the_load_counts_what_nginx_cannot_answer_as_failed() {
    let app = App::named("shop");
    let nginx = Nginx::serving([Server::of(&["shop.example"]).to(&app).before("return 503;")]);
    let tally = Load::on(&nginx, "shop.example", &app).start().stop_at(100);
    assert_eq!(tally.total().failed, tally.total().sent, "{tally}");
    assert!(tally.reasons().contains_key("status 503"), "{tally}");
}

/// A server that gives each connection these bytes, one piece for each request, and then closes.
fn a_server_saying(pieces: &'static [&'static str], connections: usize) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            for piece in pieces {
                let mut request = [0; 512];
                let _ = stream.read(&mut request);
                stream.write_all(piece.as_bytes()).unwrap();
            }
        }
    });
    port
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nshop";

#[test]
fn the_load_repeats_once_what_was_sent_over_a_kept_connection_in_vain() {
    let port = a_server_saying(&[WHOLE], 3);
    let tally = Load::at(port, "shop.example", "shop")
        .users(1, 0)
        .per_second(100)
        .start()
        .stop_at(3);
    let kept = tally.of(Kind::KeptAlive);
    assert_eq!((kept.failed, kept.repeated), (0, kept.sent - 1), "{tally}");
}

#[test]
fn the_load_takes_a_first_request_without_an_answer_for_a_failure() {
    let port = a_server_saying(&[""], 50);
    let tally = Load::at(port, "shop.example", "shop")
        .users(1, 1)
        .start()
        .stop_at(10);
    assert_eq!(tally.total().failed, tally.total().sent, "{tally}");
    assert_eq!(tally.total().repeated, 0, "{tally}");
}

#[test]
fn the_load_takes_a_short_or_wrong_answer_for_a_failure() {
    for answer in [
        &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsho"],
        &["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npohs"],
        &["HTTP/1.1 200 OK\r\nContent-Le"],
        &["SSH-2.0\r\n\r\n"],
    ] as [&'static [&'static str]; 4]
    {
        let port = a_server_saying(answer, 50);
        let tally = Load::at(port, "shop.example", "shop").start().stop_at(10);
        assert_eq!(tally.total().failed, tally.total().sent, "{tally}");
    }
}

#[test]
fn the_load_takes_a_refused_connection_for_a_failure() {
    let port = crate::support::free_port();
    let tally = Load::at(port, "shop.example", "shop").start().stop_at(10);
    assert_eq!(tally.total().failed, tally.total().sent, "{tally}");
}

#[test]
fn nginx_serves_the_certificate_it_was_given() {
    let app = App::named("shop");
    let mut nginx = Nginx::stopped([Server::of(&["shop.example"]).to(&app)]);
    let directory = nginx.prefix().join("tls");
    Identity::self_signed(&["shop.example", "www.shop.example"]).write_to(&directory);
    nginx.add(Server::of(&["shop.example"]).to(&app).over_tls(&directory));
    nginx.start();
    let certificate = nginx.certificate("shop.example");
    assert_eq!(certificate.names, ["shop.example", "www.shop.example"]);
    let tally = Load::on(&nginx, "shop.example", &app)
        .over_tls(nginx.tls_port())
        .per_second(200)
        .start()
        .stop_at(50);
    tally.assert_nothing_failed();
}

#[test]
fn nginx_and_its_workers_end_with_their_owner() {
    let nginx = Nginx::serving([Server::of(&["shop.example"])]);
    let pid = nginx.pid().unwrap();
    let group = move || {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
            // After the command's name, which is in parentheses: state, parent, process group.
            .filter_map(|stat| Some(stat.rsplit_once(')')?.1.split(' ').nth(3)? == pid.to_string()))
            .filter(|in_group| *in_group)
            .count()
    };
    eventually("a master and two workers", Duration::from_secs(5), || {
        (group() == 3).then_some(())
    });
    let owner = thread::spawn(move || {
        let _nginx = nginx;
        panic!("this panic is part of the test");
    });
    assert!(owner.join().is_err());
    eventually("all of nginx ends", Duration::from_secs(5), || {
        (group() == 0).then_some(())
    });
}

#[test]
fn nginx_says_what_is_wrong_with_a_configuration() {
    let nginx = Nginx::serving([Server::of(&["shop.example"])]);
    assert_eq!(nginx.test(), Ok(()));
    nginx.write_elsewhere("theirs.conf", "nonsense;\n");
    let said = nginx.test().unwrap_err();
    assert!(said.contains("theirs.conf"), "{said}");
}

#[test]
fn pebble_answers_with_a_certificate_of_its_own_authority() {
    let nginx = Nginx::serving([Server::of(&["shop.example"])]);
    let pebble = Pebble::visiting(&nginx).rejecting_nonces(50).start();
    assert!(pebble.root().starts_with("-----BEGIN CERTIFICATE-----"));
}

#[test]
fn a_tree_differs_when_a_file_does() {
    let directory = tempfile::TempDir::new().unwrap();
    let before = Tree::of(directory.path());
    std::fs::write(directory.path().join("a.conf"), "x").unwrap();
    let after = Tree::of(directory.path());
    assert_ne!(before, after);
    assert_eq!(after.includes(), [std::path::Path::new("a.conf")]);
}
