use super::*;

/// A configuration, or each of its mistakes.
pub(super) fn parse(text: &str) -> Result<Config, Vec<String>> {
    match Config::parse(Path::new("/etc/sidedoor/sidedoor.toml"), text) {
        Ok(config) => Ok(config),
        Err(ConfigError::Mistakes(mistakes)) => {
            Err(mistakes.iter().map(Mistake::to_string).collect())
        }
        Err(other) => panic!("{other}"),
    }
}

const WHOLE: &str = r#"
state_dir = "/var/lib/sidedoor"
listen    = ["127.0.0.1:8888", "unix:/run/sidedoor/http.sock"]
admin     = "unix:/run/sidedoor/admin.sock"
resolver  = ["127.0.0.1:8053", "::1"]
metrics   = "unix:/run/sidedoor/metrics.sock"

[acme]
directory = "letsencrypt-staging"
contact   = ["ops@example.com"]
accept_terms = true
ca_file   = "pebble.pem"

[nginx]
test   = ["sudo", "nginx", "-t"]
reload = ["sudo", "nginx", "-s", "reload"]

[[app]]
name        = "shop"
domains     = ["shop.example.com", "WWW.shop.example.com"]
upstream    = "http://127.0.0.1:5000"
include_dir = "/etc/nginx/sidedoor.d/shop"
profile     = "tlsserver"

[[app]]
name        = "wiki"
domains     = ["wiki.example.com"]
upstream    = "unix:/run/wiki.sock"
include_dir = "/etc/nginx/sidedoor.d/wiki"
door        = "permanent"
enabled     = false
"#;

#[test]
fn reads_a_whole_configuration() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.nginx.commands.test[0], "sudo");
    let servers = ["127.0.0.1:8053", "[::1]:53"].map(|server| server.parse().unwrap());
    assert_eq!(config.resolver, Resolver::Servers(servers.to_vec()));
    assert_eq!(
        config.acme.directories[0].url(),
        "https://acme-staging-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(
        config.acme.ca_file.as_deref(),
        Some(Path::new("/etc/sidedoor/pebble.pem"))
    );
    let [shop, wiki] = &config.apps[..] else {
        panic!("two apps")
    };
    assert_eq!(shop.domains[1].to_string(), "www.shop.example.com");
    assert_eq!(shop.acme.profile.as_deref(), Some("tlsserver"));
    assert_eq!(wiki.acme.profile, None);
    assert_eq!(wiki.acme.contact, ["ops@example.com"]);
    assert_eq!(
        wiki.door,
        Door::Permanent("/etc/nginx/sidedoor.d/wiki".into())
    );
    assert!(shop.enabled && !wiki.enabled);
}

#[test]
fn reads_what_the_data_path_allows() {
    let text = "[proxy]\nconnections = 10\nidle_time = \"2m\"\naccess_log = \"access.log\"\naccess_log_format = \"combined\"\n";
    let proxy = parse(text).unwrap().proxy;
    assert_eq!(proxy.limits.connections, 10);
    assert_eq!(proxy.limits.idle_time.as_secs(), 120);
    let log = proxy.access_log.unwrap();
    assert_eq!(log.to, LogTarget::File("/etc/sidedoor/access.log".into()));
    assert_eq!(log.format, LogFormat::Combined);
}

#[test]
fn metrics_are_told_at_an_address_of_their_own_where_asked_for() {
    assert_eq!(parse("").unwrap().metrics, None);
    let config = parse("metrics = \"127.0.0.1:9888\"\n").unwrap();
    assert_eq!(config.metrics, "127.0.0.1:9888".parse().ok());
    let mistakes = parse("\nmetrics = \"127.0.0.1:8888\"\n").unwrap_err();
    assert!(mistakes[0].starts_with("/etc/sidedoor/sidedoor.toml:2: metrics: "));
}

#[test]
fn limits_that_make_no_sense_are_refused_each_with_its_line() {
    let text = "[proxy]\nconnections = 0\nheader_bytes = -1\nidle_time = \"0s\"\ntrusted_proxies = [\"10.0.0.0/33\"]\naccess_log_format = \"json\"\nspeed = 1\n";
    let mistakes = parse(text).unwrap_err();
    assert_eq!(mistakes.len(), 6, "{mistakes:?}");
    for (line, mistake) in (2..).zip(&mistakes) {
        assert!(
            mistake.contains(&format!("sidedoor.toml:{line}: proxy.")),
            "{mistake}"
        );
    }
}

#[test]
fn what_is_shown_reads_as_the_same_configuration() {
    let more = format!(
        "{WHOLE}\nkey = \"rsa2048\"\nrenew_before = \"20d\"\nkeep = 7\ndeploy_hook = [[\"/bin/x\", \"a\"], [\"/bin/y\"]]\ndeploy_hook_time = \"5s\"\nreuse_key = true\npreferred_chain = \"ISRG Root X1\"\nstaging_directory = \"google-staging\"\neab = {{ kid = \"a\\\"b\", hmac_key_file = \"k\" }}\n"
    );
    let proxy = "listen = [{ address = \"127.0.0.1:1\", proxy_protocol = true }, \"127.0.0.1:2\"]\n[proxy]\ntrusted_proxies = [\"10.0.0.0/8\"]\naccess_log = \"stdout\"\nconnections = 1_000\nbody_bytes = 9\nidle_time = \"2m\"\n";
    let tls = |line: &str| {
        format!(
            "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\nupstream = \"https://a\"\ndoor = \"permanent\"\n{line}\n"
        )
    };
    let (roots, off) = (
        tls("upstream_ca_file = \"ca.pem\""),
        tls("upstream_verify = false"),
    );
    let group = "group = \"ssl-cert\"";
    for text in [WHOLE, &more, "", group, proxy, &roots, &off] {
        let config = parse(text).unwrap();
        assert_eq!(parse(&config.to_string()), Ok(config));
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.listen, Listen::default_places());
    assert_eq!(config.nginx.commands.reload, ["nginx", "-s", "reload"]);
    assert_eq!(config.resolver, Resolver::System);
    assert!(config.apps.is_empty());
}

#[test]
fn reports_all_mistakes_at_once_with_file_line_and_key() {
    let mistakes = parse(
        r#"state_dri = "/x"
listen = "8888"
[acme]
directory = "letsencryt"
[nginx]
test = "nginx -t"
[[app]]
name = "a b"
domains = ["a;b", "*.example.com"]
upsteam = "http://127.0.0.1:1"
"#,
    )
    .unwrap_err();
    let begins = [
        ":1: state_dri: there is no such key; \"state_dir\" is perhaps meant",
        ":2: listen: \"8888\" is not an address",
        ":4: acme.directory: ",
        ":6: nginx.test: a command is a list",
        ":8: app[1].name: \"a b\" is not a name",
        ":9: app[1].domains: \"a;b\" is not a domain name",
        ":10: app[1].upsteam: there is no such key; \"upstream\" is perhaps meant",
    ];
    for begin in begins {
        let begin = format!("/etc/sidedoor/sidedoor.toml{begin}");
        let said = mistakes.iter().any(|mistake| mistake.starts_with(&begin));
        assert!(said, "{begin}\nnot in\n{mistakes:#?}");
    }
}

#[test]
fn syntax_errors_have_a_line_too() {
    let mistakes = parse("listen = [\n\"127.0.0.1:1\"\n\n[acme\n").unwrap_err();
    for mistake in mistakes {
        assert!(
            mistake.starts_with("/etc/sidedoor/sidedoor.toml:"),
            "{mistake:?}"
        );
    }
}

#[test]
fn apps_share_no_name_domain_or_directory() {
    let app = "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"/etc/nginx/a\"\n";
    let mistakes = parse(&format!("{app}{app}")).unwrap_err();
    for (line, key) in [(6, "name"), (7, "domains"), (8, "include_dir")] {
        let begin = format!("/etc/sidedoor/sidedoor.toml:{line}: app[2].{key}: ");
        let said = mistakes.iter().any(|mistake| mistake.starts_with(&begin));
        assert!(said, "{begin} not in {mistakes:#?}");
    }
}

#[test]
fn a_wildcard_needs_dns_01() {
    let text = "[[app]]\nname = \"a\"\ndomains = [\"*.example.com\"]\ninclude_dir = \"/x\"\n";
    let mistakes = parse(text).unwrap_err();
    assert!(mistakes[0].contains("dns-01"), "{mistakes:?}");
}

#[test]
fn a_transient_door_needs_a_directory() {
    let app = "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\n";
    let mistakes = parse(app).unwrap_err();
    assert!(mistakes[0].contains("include_dir"), "{mistakes:?}");
    let config = parse(&format!("{app}door = \"permanent\"\n")).unwrap();
    assert_eq!(config.apps[0].door, Door::ByHand);
}

#[test]
fn never_panics_on_what_is_no_configuration() {
    for text in [
        "=",
        "[",
        "[[app]]",
        "app = 1",
        "[app]\nname=1",
        "listen = []",
        "listen = 1",
        "acme = []",
        "\0",
        "a = \"\\uD800\"",
        "[acme]\neab = {}",
        "[acme]\neab = 1",
        "[[app]]\nname = 1\ndomains = [1]",
    ] {
        let _ = parse(text);
    }
}
