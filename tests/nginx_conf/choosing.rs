//! Which server answers: nginx and the crate agree.

use sidedoor::nginx::server_name::Choice;

use crate::private_nginx::Site;

/// The body of the server that the crate thinks nginx chooses on a socket.
fn expected(site: &Site, address: &str, host: &str) -> String {
    let configuration = site.configuration();
    let sockets = configuration.sockets();
    let socket = sockets
        .iter()
        .find(|socket| socket.listen.address.to_string() == format!("{address}:{}", site.port))
        .unwrap();
    let (Choice::Named(server) | Choice::Default(server)) = socket.chosen(host) else {
        panic!("cannot tell who answers {host}");
    };
    let body = server.directives().find(|d| d.is("return")).unwrap();
    body.arguments()[1].to_str().into_owned()
}

#[test]
fn nginx_answers_a_host_by_the_server_we_say() {
    const HOSTS: [&str; 14] = [
        "a.x",
        "b.a.x",
        "c.b.a.x",
        "a.b",
        "a.c",
        "a.b.c",
        "x",
        "b.x",
        "c.b.x",
        "z.c.a.x",
        "_",
        "www.a.x",
        "192.0.2.1",
        "[2001:db8::1]",
    ];
    for names in [
        &["a.x", ".a.x"][..],
        &[".a.x", "a.x"],
        &[".a.x", "*.a.x"],
        &["*.a.x", ".a.x"],
        &["*.a.x", ".a.x", "a.x"],
        &["a.x", "*.a.x", ".a.x"],
        &["a.x", "a.x"],
        &["*.x", "*.b.x", "*.c.a.x", "B.X"],
        &["a.*", "a.b.*", "*.b", "*.c.x", "a.*"],
        &["~^a\\.x$", "~^www\\.a\\.x$", "a.b *.c"],
        &["~^b\\.a\\.x$", "~.", "*.b.x a.x"],
        &["\"\" _ 192.0.2.1", "[2001:db8::1]"],
    ] {
        let servers: String = names
            .iter()
            .enumerate()
            .map(|(at, names)| {
                format!("server {{ listen 127.0.0.1:{{port}}; server_name {names}; return 200 server-{at}; }}\n")
            })
            .collect();
        let nginx = Site::new(&format!(
            "server {{ listen 127.0.0.1:{{port}} default_server; return 200 default; }}\n{servers}"
        ))
        .start();
        for host in HOSTS {
            let said = expected(&nginx.site, "127.0.0.1", host);
            assert_eq!(nginx.body(host), said, "{host} among {names:?}");
        }
    }
}

#[test]
fn a_server_on_all_addresses_is_not_asked_where_another_has_the_very_address() {
    let nginx = Site::new(
        "server { listen {port}; server_name a.x; return 200 all; }\n\
         server { listen 127.0.0.1:{port}; server_name b.x; return 200 one; }",
    )
    .start();
    assert_eq!(nginx.body("a.x"), "one");
    assert_eq!(expected(&nginx.site, "127.0.0.1", "a.x"), "one");
    assert_eq!(expected(&nginx.site, "0.0.0.0", "a.x"), "all");
}

#[test]
fn the_first_server_is_the_default_unless_another_says_so() {
    for (second, answers) in [("", "first"), (" default_server", "second")] {
        let nginx = Site::new(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x; return 200 first; }}\n\
             server {{ listen 127.0.0.1:{{port}}{second}; server_name b.x; return 200 second; }}",
        ))
        .start();
        assert_eq!(nginx.body("c.x"), answers);
        assert_eq!(expected(&nginx.site, "127.0.0.1", "c.x"), answers);
    }
}

#[test]
fn parameters_of_one_listener_hold_for_all_servers_on_its_address() {
    let site = Site::new(
        "server { listen 127.0.0.1:{port} proxy_protocol; server_name a.x; return 200 a; }\n\
         server { listen 127.0.0.1:{port}; server_name b.x; return 200 b; }",
    );
    assert!(site.configuration().sockets()[0].listen.proxy_protocol);
    let nginx = site.start();
    assert_eq!(nginx.get("b.x", "/").0, 0, "nginx wanted no PROXY line");
}
