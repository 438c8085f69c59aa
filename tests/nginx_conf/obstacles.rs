//! Which server answers a challenge, and whether it includes the door: what the crate says beforehand, and what the real nginx does.

use sidedoor::nginx::obstacles::{Severity, obstacles};

use crate::door::{DOOR, arrives, blocking, found, site};

#[test]
fn a_redirect_to_a_tls_server_with_the_door_is_only_advice() {
    let with = |plain: &str, tls: &str| {
        site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x; {plain} }}\n\
             server {{ listen 127.0.0.2:{{port}} ssl; ssl_certificate x; ssl_certificate_key x; server_name a.x; {tls} }}"
        ))
    };
    let door = "include door/*.conf;";
    let redirect = "return 301 https://$host$request_uri;";
    for (plain, tls, blocks) in [
        (redirect.to_owned(), door, false),
        (format!("{redirect} {door}"), door, false),
        (format!("location / {{ {redirect} }}"), door, false),
        (
            "rewrite ^ https://$server_name$request_uri? permanent;".to_owned(),
            door,
            false,
        ),
        (
            "return 301 https://a.x$request_uri;".to_owned(),
            door,
            false,
        ),
        (
            "return 301 https://a.x:8443$request_uri;".to_owned(),
            door,
            true,
        ),
        ("return 301 https://a.x/;".to_owned(), door, true),
        ("return 303 https://a.x$request_uri;".to_owned(), door, true),
        (redirect.to_owned(), "", true),
        (
            redirect.to_owned(),
            "return 404; include door/*.conf;",
            true,
        ),
        (
            format!("location / {{ {redirect} }} location ~ /x {{ }}"),
            door,
            true,
        ),
    ] {
        let obstacles = found(&with(&plain, tls));
        assert!(!obstacles.is_empty(), "{plain}");
        assert_eq!(
            !blocking(&obstacles).is_empty(),
            blocks,
            "{plain}: {obstacles:?}"
        );
    }
}

#[test]
fn the_default_server_is_named_where_no_server_has_the_name() {
    let site = site(
        "server { listen 127.0.0.1:{port};\nserver_name b.x; }\n\
         server { listen 127.0.0.1:{port}; server_name c.x; include door/*.conf; }",
    );
    let found = found(&site);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Blocks);
    assert_eq!(found[0].rule, "server_name b.x;");
    assert_eq!(found[0].place.line, 12);
    assert!(found[0].effect.contains("no server has the name a.x"));
    assert!(!arrives(site));
}

#[test]
fn a_default_server_with_the_door_is_enough() {
    let site = site("server { listen 127.0.0.1:{port}; include door/*.conf; }");
    assert_eq!(found(&site), []);
    assert!(arrives(site));
}

#[test]
fn the_server_that_answers_is_told_to_include_the_door() {
    for (servers, rule, mentions) in [
        (
            "server { listen 127.0.0.1:{port}; server_name a.x; include wrong/*.conf; }",
            "server_name a.x;",
            ":11)",
        ),
        (
            "server { listen 127.0.0.1:{port}; server_name a.x; }\n\
             server { listen 127.0.0.1:{port}; server_name b.x a.x; include door/*.conf; }",
            "server_name a.x;",
            ":12, which has the name too",
        ),
        (
            "server { listen 127.0.0.1:{port}; server_name *.x; include door/*.conf; }\n\
             server { listen 127.0.0.1:{port}; server_name a.x; }",
            "server_name a.x;",
            ":11, which has the name too",
        ),
    ] {
        let site = site(servers);
        let obstacles = found(&site);
        let blocking = blocking(&obstacles);
        assert_eq!(blocking.len(), 1, "{servers}: {obstacles:?}");
        assert_eq!(blocking[0].rule, rule);
        assert!(
            blocking[0].to_string().contains(mentions),
            "{}",
            blocking[0]
        );
        assert!(!arrives(site), "{servers}");
    }
}

#[test]
fn a_door_in_a_location_gets_what_that_location_gets() {
    for (more, gets) in [("", true), ("location ~ /\\. { deny all; }", false)] {
        let site = site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x;\nlocation / {{ include door/*.conf; }} {more} }}"
        ));
        let found = found(&site);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, Severity::Advice);
        assert_eq!(found[0].place.line, 12);
        assert_eq!(arrives(site), gets, "{more}");
    }
}

#[test]
fn a_server_that_only_a_regular_expression_leads_to_is_only_advice() {
    let site = site("server { listen 127.0.0.1:{port}; server_name ~^(a|b)\\.x$; }");
    let found = found(&site);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Advice);
}

#[test]
fn a_name_that_is_served_by_tls_alone_blocks_unless_the_default_leads_there() {
    for (default, blocks) in [
        ("return 444;", true),
        ("return 301 https://$host$request_uri;", false),
    ] {
        let found = found(&site(&format!(
            "server {{ listen 127.0.0.1:{{port}} default_server; {default} }}\n\
             server {{ listen 127.0.0.2:{{port}} ssl; server_name a.x; include door/*.conf; }}"
        )));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].severity == Severity::Blocks,
            blocks,
            "{}",
            found[0]
        );
        assert!(found[0].effect.contains("only by TLS"), "{}", found[0]);
    }
}

#[test]
fn of_two_ports_the_one_the_ca_visits_counts() {
    let found = found(&site(
        "server { listen 80 default_server; }\n\
         server { listen 8080; server_name a.x; include door/*.conf; }",
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Advice);
    assert!(
        found[0]
            .effect
            .contains("only on another port (0.0.0.0:8080)"),
        "{}",
        found[0]
    );
}

#[test]
fn a_visitor_by_ipv6_may_meet_another_server() {
    let found = found(&site(
        "server { listen 80 default_server; listen [::]:80 default_server; }\n\
         server { listen 80; server_name a.x; include door/*.conf; }",
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Advice);
    assert!(found[0].remedy.contains("listen [::]:80;"), "{}", found[0]);
}

#[test]
fn what_makes_nginx_refuse_the_door_blocks_whomever_it_is_for() {
    for (rules, rule) in [
        (
            "location /.well-known/acme-challenge/ { }",
            "location /.well-known/acme-challenge/ { … }",
        ),
        ("include d*/*.conf;", "include d*/*.conf;"),
    ] {
        let site = site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x; include door/*.conf; }}\n\
             server {{ listen 127.0.0.1:{{port}}; server_name b.x;\ninclude door/*.conf;\n{rules} }}"
        ));
        let obstacles = found(&site);
        let blocking = blocking(&obstacles);
        assert_eq!(blocking.len(), 1, "{obstacles:?}");
        assert_eq!(blocking[0].rule, rule);
        assert_eq!(blocking[0].place.line, 14);
        let (fine, words) = site.test();
        assert!(!fine && words.contains("duplicate location"), "{words}");
    }
}

#[test]
fn an_include_of_the_door_s_own_file_is_advised_against() {
    let servers =
        "server { listen 127.0.0.1:{port}; server_name a.x; include door/00-sidedoor.conf; }";
    let site = site(servers);
    let found = found(&site);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Advice);
    std::fs::remove_file(site.path("door/00-sidedoor.conf")).unwrap();
    assert!(!site.test().0);
    assert!(arrives(site.with("door/00-sidedoor.conf", DOOR)));
}

#[test]
fn http2_on_a_plain_listener_is_told() {
    let found = found(&site(
        "server { listen 127.0.0.1:{port} http2; server_name a.x; include door/*.conf; }",
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Advice);
}

#[test]
fn without_auth_request_off_the_door_would_stay_shut() {
    let site = site(
        "server { listen 127.0.0.1:{port}; server_name a.x; include door/*.conf; auth_request /auth; location /auth { return 403; } }",
    )
    .with("door/00-sidedoor.conf", &DOOR.replace("auth_request off;", ""));
    let configuration = site.configuration();
    assert!(configuration.servers().nth(1).unwrap().uses("auth_request"));
    assert!(!arrives(site));
}

#[test]
fn a_wildcard_is_not_judged() {
    let site = site("server { listen 127.0.0.1:{port}; server_name b.x; }");
    let wildcard = "*.a.x".parse().unwrap();
    let found = obstacles(&site.configuration(), &wildcard, &site.path("door"));
    assert_eq!(found, []);
}

#[test]
fn every_obstacle_says_where_what_and_what_to_do() {
    let site = site(
        "server { listen 127.0.0.1:{port}; server_name a.x;\nreturn 301 https://$host$request_uri;\ninclude door/*.conf; }",
    );
    let root = format!("{}/", site.path("").display());
    let root = root.replace("//", "/");
    assert_eq!(
        found(&site)[0].to_string().replace(&root, ""),
        "nginx.conf:12: `return 301 https://$host$request_uri;`: it stands before the door (nginx.conf:13), so nginx applies it first \
         and a challenge does not reach the door; move `include door/*.conf;` before it: it belongs in the first line of the server in nginx.conf:11"
    );
}
