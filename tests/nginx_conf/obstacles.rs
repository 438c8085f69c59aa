//! What is in the way: a challenge goes through the real nginx, and the crate has said beforehand whether it arrives.

use sidedoor::nginx::obstacles::{Obstacle, Severity, obstacles};

use crate::private_nginx::{Site, samples};

/// A door as it is documented, and behind it something that answers.
const DOOR: &str = "rewrite ^(/\\.well-known/acme-challenge/.*) $1 break;\n\
    location ^~ /.well-known/acme-challenge/ {\n\
    allow all; auth_basic off; auth_request off;\n\
    proxy_pass http://unix:{root}/door.sock;\n}";

/// A site of these servers with an open door in `door/`.
fn site(servers: &str) -> Site {
    let responder = "server { listen unix:{root}/door.sock; return 200 door; }";
    Site::new(&format!("{responder}\n{servers}"))
        .with("door/00-sidedoor.conf", DOOR)
        .with("door/README", "")
        .with("wrong/x", "")
        .with("passwords", "")
}

fn found(site: &Site) -> Vec<Obstacle> {
    obstacles(
        &site.configuration(),
        &"a.x".parse().unwrap(),
        &site.path("door"),
    )
}

fn blocking(found: &[Obstacle]) -> Vec<&Obstacle> {
    found
        .iter()
        .filter(|obstacle| obstacle.severity == Severity::Blocks)
        .collect()
}

const CHALLENGE: &str = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

/// Whether the challenge of `a.x` arrives at the door through nginx.
fn arrives(site: Site) -> bool {
    site.start().get("a.x", CHALLENGE) == (200, b"door".to_vec())
}

#[test]
fn these_rules_are_no_obstacles_and_the_challenge_arrives() {
    for rules in [
        "include door/*.conf;",
        "include door/*.conf; return 301 https://$host$request_uri;",
        "include door/*.conf; rewrite ^(.*)$ https://b.x$1 permanent;",
        "include door/*.conf; rewrite ^ /elsewhere last;",
        "include door/*.conf; if ($host = a.x) { return 301 https://$host$request_uri; }",
        "include door/*.conf; auth_basic x; auth_basic_user_file passwords;",
        "auth_basic x; auth_basic_user_file passwords; include door/*.conf;",
        "include door/*.conf; deny all;",
        "deny all; include door/*.conf;",
        "include door/*.conf; auth_request /auth; location /auth { return 403; }",
        "include door/*.conf; location ~ /\\. { deny all; }",
        "location ~ /\\. { deny all; } include door/*.conf;",
        "location ^~ /.well-known/ { deny all; } include door/*.conf;",
        "location /.well-known/acme-challenge { deny all; } include door/*.conf;",
        "location = /.well-known/acme-challenge/ { deny all; } include door/*.conf;",
        "location ~ ^/\\.well-known/acme-challenge/ { deny all; } include door/*.conf;",
        "location / { return 404; } include door/*.conf;",
        // Before the door, but never for a challenge over plain http.
        "rewrite ^/old/(.*)$ /new/$1 permanent; include door/*.conf;",
        "rewrite ^/(.*)/$ /$1 permanent; include door/*.conf;",
        "rewrite \\.php$ /gone last; include door/*.conf;",
        "if ($host = b.x) { return 301 https://b.x$request_uri; } include door/*.conf;",
        "if ($host != a.x) { return 404; } include door/*.conf;",
        "if ($host ~* ^WWW\\.) { return 404; } include door/*.conf;",
        "if ($scheme = \"https\") { return 404; } include door/*.conf;",
        "if ($https) { return 404; } include door/*.conf;",
        "if ($request_method !~ ^(GET|HEAD|POST)$ ) { set $x 1; } include door/*.conf;",
        "if ($request_method = POST) { return 405; } include door/*.conf;",
        "if ($uri !~ ^/\\.well-known/) { return 301 https://$host$request_uri; } include door/*.conf;",
        "if ($request_uri !~ \"^/.well-known/acme-challenge/\") { return 404; } include door/*.conf;",
        "if ($uri = /x) { return 404; } include door/*.conf;",
        "if ($args = \"\") { set $x 1; } include door/*.conf;",
        "break; return 404; include door/*.conf;",
        "set $x 1; include door/*.conf;",
        "include other/*.conf; return 404;",
    ] {
        let site = site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x;\n{rules}\n}}"
        ))
        .with("other/1.conf", "include door/*.conf;");
        assert_eq!(found(&site), [], "{rules}");
        assert!(arrives(site), "{rules}");
    }
}

#[test]
fn these_rules_block_and_are_named_with_their_line() {
    for (rules, rule) in [
        (
            "return 301 https://$host$request_uri;",
            "return 301 https://$host$request_uri;",
        ),
        ("return 404;", "return 404;"),
        (
            "rewrite ^(.*)$ https://b.x$1 permanent;",
            "rewrite ^(.*)$ https://b.x$1 permanent;",
        ),
        (
            "rewrite ^/\\.well-known /x break;",
            "rewrite ^/\\.well-known /x break;",
        ),
        ("rewrite ^/(.*) /app/$1;", "rewrite ^/(.*) /app/$1;"),
        (
            "if ($host = a.x) { return 301 https://$host$request_uri; }",
            "return 301 https://$host$request_uri;",
        ),
        ("if ($scheme != https) { return 404; }", "return 404;"),
        (
            "if ($scheme = http) { rewrite ^ https://$host$request_uri? permanent; }",
            "rewrite ^ https://$host$request_uri? permanent;",
        ),
        (
            "if ( $uri ~ \"^/.well-known\" ) { return 403; }",
            "return 403;",
        ),
        ("include early/*.conf;", "return 410;"),
    ] {
        let site = site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x;\n{rules}\ninclude door/*.conf; }}"
        ))
        .with("early/x.conf", "return 410;");
        let obstacles = found(&site);
        let blocking = blocking(&obstacles);
        assert_eq!(blocking.len(), 1, "{rules}: {obstacles:?}");
        assert_eq!(blocking[0].rule, rule);
        let line = if rules.starts_with("include") { 1 } else { 12 };
        assert_eq!(blocking[0].place.line, line, "{rules}");
        assert!(blocking[0].remedy.contains(":11"), "{}", blocking[0]);
        assert!(!arrives(site), "{rules}");
    }
}

#[test]
fn a_file_sorted_before_the_door_in_its_directory_counts_as_before_it() {
    for (name, blocks) in [("00-a.conf", true), ("01-a.conf", false)] {
        for include in ["door/*.conf", "link/*.conf"] {
            let site = site(&format!(
                "server {{ listen 127.0.0.1:{{port}}; server_name a.x; include {include}; }}"
            ))
            .with(&format!("door/{name}"), "return 404;");
            std::os::unix::fs::symlink(site.path("door"), site.path("link")).unwrap();
            assert_eq!(blocking(&found(&site)).len(), usize::from(blocks), "{name}");
            assert_eq!(arrives(site), !blocks, "{name}");
        }
    }
}

#[test]
fn what_cannot_be_told_is_only_advice() {
    for rules in [
        "if (-f maintenance.html) { return 503; }",
        "if ($http_x_forwarded_proto = http) { return 301 https://$host$request_uri; }",
        "if ($http_user_agent ~* bot) { return 403; }",
        "rewrite ^/([a-z]+)$ /x/$1 last;",
    ] {
        let site = site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x;\n{rules}\ninclude door/*.conf; }}"
        ));
        let found = found(&site);
        assert_eq!(found.len(), 1, "{rules}: {found:?}");
        assert_eq!(found[0].severity, Severity::Advice);
        assert!(arrives(site), "{rules}");
    }
}

#[test]
fn what_is_said_of_a_regular_expression_holds_in_nginx() {
    const PARTS: &str = "(\\^|\\$)?(\\^|/|\\.|[.][*]|[(][.][*][)]|\\\\\\.|well-known|acme-challenge|old|x|WELL|[(]a[|]b[)]|/[?]|\\[a-z\\]\\+|\\\\w|\\\\[.]php){1,5}(\\$)?";
    let patterns: Vec<_> = samples(PARTS, 1500).collect();
    let marks: String = patterns
        .iter()
        .map(|regex| {
            format!("set $fits 0; if ($uri ~ \"{regex}\") {{ set $fits 1; }} set $all $all$fits;\n")
        })
        .collect();
    let nginx = Site::new(&format!(
        "server {{ listen 127.0.0.1:{{port}}; set $all ''; {marks} return 200 $all; }}"
    ))
    .start();
    let fits = nginx.get("a.x", CHALLENGE).1;
    let mut told = 0;
    for (regex, fits) in patterns.iter().zip(fits) {
        let obstacles = found(&site(&format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name a.x; if ($uri ~ \"{regex}\") {{ return 404; }} include door/*.conf; }}"
        )));
        match obstacles.first().map(|obstacle| obstacle.severity) {
            Some(Severity::Advice) => continue,
            said => assert_eq!(said.is_some(), fits == b'1', "{regex}"),
        }
        told += 1;
    }
    assert!(told > 250, "only {told} were told");
}

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
