//! The running sidecar as the data path: what it does with its configuration, and when that changes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{App, Sidedoor, eventually, free_port, get};

const PATIENCE: Duration = Duration::from_secs(20);

/// An app that nobody looks after, so that requests are all there is.
fn before(app: &App) -> Sidedoor {
    Sidedoor::alone().app_with("shop", &["shop.example"], app, "enabled = false")
}

fn ask(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_told_where_they_are_asked_for_and_nowhere_else() {
    let app = App::named("shop");
    let port = free_port();
    let address = format!("\"127.0.0.1:{port}\"");
    let sidedoor = before(&app).with("metrics", &address);
    let sidecar = sidedoor.run();
    assert_eq!(
        get(sidedoor.port(), "shop.example", "/metrics").text(),
        "shop"
    );
    eventually("the request is counted", PATIENCE, || {
        let page = get(port, "m", "/metrics");
        page.text()
            .contains("\nsidedoor_requests_total{app=\"shop\",status=\"2xx\"} 1\n")
            .then_some(())
    });
    assert!(sidecar.stop().success());
}

#[test]
fn one_address_begins_with_the_proxy_protocol_and_the_other_does_not() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let (plain, introduced) = (free_port(), free_port());
    let listen = format!(
        "[{{ address = \"127.0.0.1:{introduced}\", proxy_protocol = true }}, \"127.0.0.1:{plain}\"]"
    );
    let sidedoor = sidedoor.with("listen", &listen);
    let _sidecar = sidedoor.run();
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let header = "PROXY TCP4 203.0.113.7 127.0.0.1 1 80\r\n";
    let at = |port| TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(ask(at(plain), request).ends_with("shop"));
    assert!(ask(at(introduced), &format!("{header}{request}")).ends_with("shop"));
    assert!(ask(at(plain), &format!("{header}{request}")).starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_changed_file_changes_limits_and_log_and_a_broken_one_changes_nothing() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let sidecar = sidedoor.run();
    let file = sidedoor.configuration();
    let first = fs::read_to_string(&file).unwrap();
    let long = format!("/{}", "x".repeat(2_000));
    let status = || get(sidedoor.port(), "shop.example", &long).status;
    assert_eq!(status(), 200);
    let log = file.with_file_name("access.log");
    fs::write(
        &file,
        format!("{first}\n[proxy]\ntarget_bytes = 1000\naccess_log = \"access.log\"\n"),
    )
    .unwrap();
    eventually("the limit is in force", PATIENCE, || {
        (status() == 414).then_some(())
    });
    eventually("a line is written", PATIENCE, || {
        fs::read_to_string(&log)
            .is_ok_and(|lines| lines.contains("\"status\":414"))
            .then_some(())
    });
    fs::write(
        &file,
        format!("{first}\n[proxy]\ntarget_bytes = 4000\naccess_log = \"/nowhere/access.log\"\n"),
    )
    .unwrap();
    eventually("it is refused", PATIENCE, || {
        sidecar
            .log()
            .contains("the old one stays in force")
            .then_some(())
    });
    assert_eq!(status(), 414);
    fs::write(&file, first).unwrap();
    eventually("the limit is gone", PATIENCE, || {
        (status() == 200).then_some(())
    });
    assert!(sidecar.stop().success());
}

#[test]
fn a_rotated_log_is_let_go_at_a_signal() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let file = sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        format!("{text}\n[proxy]\naccess_log = \"access.log\"\n"),
    )
    .unwrap();
    let sidecar = sidedoor.run();
    let log = file.with_file_name("access.log");
    let ask_for = |path: &str| {
        get(sidedoor.port(), "shop.example", path);
        eventually("a line is written", PATIENCE, || {
            fs::read_to_string(&log)
                .ok()
                .filter(|lines| lines.contains(path))
        })
    };
    ask_for("/first");
    for (signal, path) in [(Signal::USR1, "/second"), (Signal::HUP, "/third")] {
        let rotated = log.with_extension(&path[1..]);
        fs::rename(&log, &rotated).unwrap();
        sidecar.signal(signal);
        eventually("it is opened anew", PATIENCE, || log.exists().then_some(()));
        let lines = ask_for(path);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(!fs::read_to_string(&rotated).unwrap().contains(path));
    }
    assert!(sidecar.stop().success());
}

#[test]
fn a_sidecar_may_take_requests_by_a_unix_socket_alone() {
    let app = App::named("shop");
    let sidedoor = before(&app);
    let path = sidedoor.configuration().with_file_name("http.sock");
    let sidedoor = sidedoor.with("listen", &format!("\"unix:{}\"", path.display()));
    let _sidecar = sidedoor.run();
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    let stream = eventually("it listens", PATIENCE, || UnixStream::connect(&path).ok());
    assert!(ask(stream, request).ends_with("shop"));
}
