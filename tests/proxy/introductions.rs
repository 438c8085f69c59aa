//! The PROXY protocol on listeners that ask for it.

use sidedoor::proxy::{Listener, Settings};

use crate::support::{App, Site, route_to};

fn behind_a_balancer(app: &App) -> Site {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap())
        .unwrap()
        .with_proxy_protocol();
    Site::listening(listener, vec![route_to(&[app])], Settings::default())
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn the_client_is_whom_the_header_names() {
    let app = App::hello();
    let site = behind_a_balancer(&app);
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\x12\x67\x01\xbb";
    for header in [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".as_slice(),
        binary,
    ] {
        let mut client = site.client();
        client.send(header).send(GET);
        assert!(client.answer().ends_with("hello"));
        let seen = app.saw();
        assert!(seen.contains("x-forwarded-for: 203.0.113.7\r\n"), "{seen}");
        assert!(seen.contains("x-real-ip: 203.0.113.7\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-port: 443\r\n"), "{seen}");
    }
}

#[test]
fn a_header_may_come_together_with_the_request_or_byte_by_byte() {
    let app = App::hello();
    let site = behind_a_balancer(&app);
    let whole = format!("PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n{GET}");
    assert!(site.ask(&whole).ends_with("hello"));
    let mut client = site.client();
    for byte in whole.as_bytes() {
        client.send([*byte]);
    }
    assert!(client.answer().ends_with("hello"));
}

#[test]
fn a_connection_without_a_header_is_closed() {
    let app = App::hello();
    let site = behind_a_balancer(&app);
    let mut client = site.client();
    client.send(GET);
    assert!(!client.answer().starts_with("HTTP"));
    assert!(app.saw_nothing_more());
}

#[test]
fn a_client_that_is_introduced_is_not_trusted_as_the_balancer_is() {
    let app = App::hello();
    let site = behind_a_balancer(&app);
    site.ask(&format!(
        "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n{}",
        GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n")
    ));
    let seen = app.saw();
    assert!(seen.contains("x-forwarded-for: 203.0.113.7\r\n"), "{seen}");
}

#[test]
fn an_unknown_client_counts_as_the_balancer_itself() {
    let app = App::hello();
    let site = behind_a_balancer(&app);
    assert!(
        site.ask(&format!("PROXY UNKNOWN\r\n{GET}"))
            .ends_with("hello")
    );
    assert!(app.saw().contains("x-forwarded-for: 127.0.0.1\r\n"));
}
