//! Rules around the door: which of them keep a challenge from it in the real nginx, and what the crate says beforehand.

use sidedoor::nginx::obstacles::Severity;

use crate::door::{CHALLENGE, arrives, blocking, found, site};
use crate::private_nginx::{Site, samples};

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
