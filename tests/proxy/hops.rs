//! What concerns one hop only, who is believed, and which targets and hosts are taken.

use crate::support::{App, Site, origin, route_to};
use sidedoor::proxy::Settings;

/// What the app sees of a request with these header lines.
fn seen(site: &Site, app: &App, lines: &str) -> String {
    let answer = site.ask(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    app.saw()
}

#[test]
fn every_connection_line_is_read_and_what_it_names_is_stripped() {
    let app = App::hello();
    let site = Site::before(&app);
    let seen = seen(
        &site,
        &app,
        "Connection: keep-alive, X-One\r\nX-One: 1\r\nX-Two: 2\r\nConnection: x-two,,Accept\r\nAccept: */*\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nProxy: http://evil\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Three: 3\r\n",
    );
    assert_eq!(
        seen,
        format!(
            "GET / HTTP/1.1\r\nhost: a.example\r\nx-three: 3\r\n{}\r\n",
            origin(&site)
        )
    );
}

#[test]
fn a_connection_line_takes_neither_host_nor_length_nor_origin_away() {
    let app = App::hello();
    let site = Site::before(&app);
    let answer = site.ask(
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: host, content-length, x-forwarded-for, X-Forwarded-Proto, x-real-ip\r\n\
         X-Forwarded-For: 203.0.113.7\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = app.saw();
    assert!(seen.contains("host: a.example\r\n"), "{seen}");
    assert!(seen.contains("content-length: 2\r\n"), "{seen}");
    assert!(
        seen.contains("x-forwarded-for: 203.0.113.7, 127.0.0.1\r\n"),
        "{seen}"
    );
}

#[test]
fn an_answer_loses_what_concerns_one_hop() {
    let app = App::answering(
        "HTTP/1.1 200 OK\r\nDate: D\r\nConnection: X-Hop\r\nConnection: keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nX-End: 2\r\nContent-Length: 0\r\n\r\n",
    );
    let site = Site::before(&app);
    let answer = site.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ndate: D\r\nx-end: 2\r\ncontent-length: 0\r\n\r\n"
    );
}

#[test]
fn a_trusted_peer_is_believed_and_added_to() {
    let app = App::hello();
    let site = Site::before(&app);
    let seen = seen(
        &site,
        &app,
        "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n\
         X-Forwarded-Port: 443\r\nX-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\n",
    );
    assert_eq!(
        seen,
        "GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 198.51.100.1\r\nx-forwarded-for: 203.0.113.7, 127.0.0.1\r\n\
         x-forwarded-proto: https\r\nx-forwarded-host: b.example\r\nx-forwarded-port: 443\r\nx-real-ip: 203.0.113.7\r\n\
         forwarded: for=203.0.113.7, for=127.0.0.1;host=\"a.example\";proto=http\r\n\r\n"
    );
}

#[test]
fn what_a_stranger_says_is_written_anew() {
    let app = App::hello();
    let site = Site::with_settings(&app, |settings| {
        settings.trusted_proxies.clear();
        settings.forwarded = true;
    });
    let seen = seen(
        &site,
        &app,
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Forwarded-Port: 443\r\n\
         X-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\n",
    );
    assert_eq!(
        seen,
        format!(
            "GET / HTTP/1.1\r\nhost: a.example\r\n{}forwarded: for=127.0.0.1;host=\"a.example\";proto=http\r\n\r\n",
            origin(&site)
        )
    );
}

#[test]
fn an_absolute_target_replaces_the_host() {
    let app = App::hello();
    let mut other = route_to(&[]);
    other.is_default = false;
    other.hosts = vec!["b.example".parse().unwrap()];
    let site = Site::with(vec![route_to(&[&app]), other], Settings::default());
    let answer = site.ask("GET http://a.example/x?y HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = app.saw();
    assert!(
        seen.starts_with("GET /x?y HTTP/1.1\r\nhost: a.example\r\n"),
        "{seen}"
    );
    assert_eq!(seen.matches("host: ").count(), 2, "{seen}");
}

#[test]
fn targets_reach_the_app_as_they_came() {
    let app = App::hello();
    let site = Site::before(&app);
    for target in [
        "/",
        "/a//b/../c/./d",
        "/%2F%2f%00",
        "/?",
        "/a?b=c?d&e=%zz",
        "/a;b=c,d!$'()*+@:~",
        "/\"|{}",
        "//evil.example/x",
    ] {
        let answer = site.ask(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        let seen = app.saw();
        assert!(
            seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{target}: {seen}"
        );
    }
    let answer = site.ask("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(app.saw().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

/// RFC 3986 knows none of these in a target, and browsers never send them raw, but others do; RFC 9112 3.2 wants a 400 for them. nginx passes
/// them. hyper's `Uri` can't hold those that are refused here.
#[test]
fn every_byte_of_a_target_passes_or_is_refused_but_for_the_fragment() {
    let app = App::hello();
    let site = Site::before(&app);
    let (mut in_path, mut in_query) = (String::new(), String::new());
    for (refused, before) in [(&mut in_path, "/a"), (&mut in_query, "/a?")] {
        for byte in (b'!'..=b'~').filter(|byte| !b"#?".contains(byte)) {
            let byte = char::from(byte);
            let target = format!("{before}{byte}b");
            let answer = site.ask(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
            if answer.starts_with("HTTP/1.1 400 ") {
                refused.push(byte);
                continue;
            }
            assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
            let seen = app.saw();
            assert!(
                seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
                "{seen}"
            );
        }
    }
    assert_eq!((&*in_path, &*in_query), ("<>`", "\"<>"));
    // A fragment is no part of a target (RFC 9112 3.2): it goes no further, and nobody routes by it.
    site.ask("GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let seen = app.saw();
    assert!(seen.starts_with("GET /a HTTP/1.1\r\n"), "{seen}");
    // UTF-8 passes as it is; what is none is refused.
    for (target, status) in [(&b"/\xc3\xa9?\xc3\xa9"[..], "200"), (b"/\xe9", "400")] {
        let mut client = site.client();
        let answer = client
            .send(b"GET ")
            .send(target)
            .send(" HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .answer();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let seen = app.seen.recv_timeout(crate::support::PATIENCE).unwrap();
    assert!(seen.starts_with(b"GET /\xc3\xa9?\xc3\xa9 HTTP/1.1\r\n"));
}

#[test]
fn unusual_methods_reach_the_app() {
    let app = App::hello();
    let site = Site::before(&app);
    for method in ["PROPFIND", "PATCH", "DELETE", "TRACE", "X-MINE"] {
        site.ask(&format!("{method} / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert!(app.saw().starts_with(&format!("{method} / HTTP/1.1\r\n")));
    }
}

#[test]
fn header_values_pass_byte_for_byte() {
    let app = App::hello();
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\nCookie: a=\xe4\xff; b=\"c\\\"\r\nX-Empty:\r\nCookie: d\r\n\r\n");
    client.answer();
    let seen = app.seen.recv_timeout(crate::support::PATIENCE).unwrap();
    let expected = b"cookie: a=\xe4\xff; b=\"c\\\"\r\ncookie: d\r\nx-empty: \r\n";
    assert!(
        seen.windows(expected.len())
            .any(|window| window == expected),
        "{}",
        seen.escape_ascii()
    );
}

/// Two apps: one by its host, one that no host leads to.
fn two_apps(by_host: &App, by_name: &App, change: impl FnOnce(&mut Settings)) -> Site {
    let mut first = route_to(&[by_host]);
    first.app = "by-host".parse().unwrap();
    let mut second = route_to(&[by_name]);
    second.app = "by-name".parse().unwrap();
    second.is_default = false;
    let mut settings = Settings::default();
    change(&mut settings);
    Site::with(vec![first, second], settings)
}

#[test]
fn a_trusted_door_names_the_app_and_the_app_does_not_see_it() {
    let (by_host, by_name) = (App::hello(), App::hello());
    let site = two_apps(&by_host, &by_name, |_| {});
    let seen = seen(&site, &by_name, "X-Sidedoor-App: by-name\r\n");
    assert_eq!(
        seen,
        format!("GET / HTTP/1.1\r\nhost: a.example\r\n{}\r\n", origin(&site))
    );
    assert!(by_host.saw_nothing_more());
}

#[test]
fn a_name_that_no_app_has_leaves_it_to_the_host() {
    let (by_host, by_name) = (App::hello(), App::hello());
    let site = two_apps(&by_host, &by_name, |_| {});
    for name in ["nobody", "", "by-name/../x", "\u{e4}"] {
        let seen = seen(&site, &by_host, &format!("X-Sidedoor-App: {name}\r\n"));
        assert!(!seen.contains("sidedoor"), "{seen}");
    }
}

#[test]
fn a_stranger_names_no_app() {
    let (by_host, by_name) = (App::hello(), App::hello());
    let site = two_apps(&by_host, &by_name, |settings| {
        settings.trusted_proxies.clear()
    });
    let seen = seen(&site, &by_host, "X-Sidedoor-App: by-name\r\n");
    assert!(!seen.contains("sidedoor"), "{seen}");
    assert!(by_name.saw_nothing_more());
}
