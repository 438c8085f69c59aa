//! What the operator wrote. Parsed once into types that can't be wrong; every mistake is reported, with file, line and key.

mod acme;
mod app;
mod handover;
mod install;
mod listen;
mod proxy;
mod reader;
mod resolver;
mod show;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::identifier::{AppName, Identifier};
use crate::principal::Principal;

pub use acme::{Acme, Directory, Eab};
use app::Taken;
pub use app::{App, Door, UpstreamTrust};
pub use handover::Handover;
pub use install::{Form, Install, Mode, Part};
pub use listen::Listen;
pub use proxy::{AccessLog, LogFormat, LogTarget, Proxy};
pub use reader::Mistake;
use reader::{Document, Section};
pub use resolver::Resolver;

/// Where the configuration is looked for unless `--config` or `SIDEDOOR_CONFIG` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/sidedoor/sidedoor.toml";

/// A whole configuration, free of contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Where accounts, certificates and leases are kept.
    pub state_dir: PathBuf,
    /// Who may read certificates and their keys besides the user who runs sidedoor.
    pub group: Option<Principal>,
    /// Where requests are taken; doors lead to the first that asks for no PROXY protocol.
    pub listen: Vec<Listen>,
    /// The admin socket.
    pub admin: PathBuf,
    /// Whom to ask whether a name resolves yet.
    pub resolver: Resolver,
    /// Where metrics are told; nowhere unless given.
    pub metrics: Option<Address>,
    /// How nginx is tested, reloaded and reached.
    pub nginx: Nginx,
    /// How requests are taken and passed on.
    pub proxy: Proxy,
    /// The defaults for all certificates.
    pub acme: Acme,
    /// The apps, in the order of the file.
    pub apps: Vec<App>,
    index: Index,
}

/// Which app has a name or a domain: there may be thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    names: HashMap<AppName, usize>,
    domains: HashMap<Identifier, usize>,
}

impl Index {
    fn of(apps: &[App]) -> Self {
        let mut index = Self::default();
        for (n, app) in apps.iter().enumerate() {
            index.names.insert(app.name.clone(), n);
            let domains = app.domains.iter().map(|domain| (domain.clone(), n));
            index.domains.extend(domains);
        }
        index
    }
}

/// How nginx is tested, reloaded and reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nginx {
    /// How it is tested and reloaded.
    pub commands: Commands,
    /// Where the probe knocks; found in nginx's own configuration unless given.
    pub probe: Option<Vec<Address>>,
    /// Whether a door is proven before the CA is told to look. Off, the CA is simply told.
    pub prove: bool,
}

/// How nginx is tested and reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Such as `nginx -t`.
    pub test: Vec<String>,
    /// Such as `nginx -s reload`.
    pub reload: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration {} can't be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There are mistakes in it, here in the order of their lines.
    #[error("{}", Mistakes(.0))]
    Mistakes(Vec<Mistake>),
}

struct Mistakes<'a>(&'a [Mistake]);

impl fmt::Display for Mistakes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file; relative paths in it are looked for beside the file.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        Document::new(file, text)
            .read(|root| Self::read(file, root))
            .map_err(ConfigError::Mistakes)
    }

    fn read(file: &Path, mut root: Section<'_>) -> Option<Self> {
        let state_dir = root
            .path("state_dir")
            .unwrap_or_else(|| "/var/lib/sidedoor".into());
        let group = root.parsed("group");
        let listen = Listen::read(&mut root);
        let admin = match root.parsed::<Address>("admin") {
            Some(Address::Unix(path)) => path,
            Some(Address::Tcp(_)) => {
                root.refuse("admin", "the admin socket has to be a unix socket, since its file's mode is what guards it: \"unix:/run/sidedoor/admin.sock\"");
                return None;
            }
            None => "/run/sidedoor/admin.sock".into(),
        };
        let resolver = Resolver::read(&mut root);
        let metrics = root.parsed::<Address>("metrics");
        if listen
            .iter()
            .any(|listen| Some(&listen.address) == metrics.as_ref())
        {
            root.refuse(
                "metrics",
                "metrics need an address of their own, not one of `listen`",
            );
        }
        let nginx = Nginx::read(root.section("nginx"));
        let proxy = Proxy::read(root.section("proxy"));
        let acme = Acme::read(root.section("acme"));
        let mut taken = Taken::default();
        let sections = root.sections("app").into_iter();
        let apps: Vec<_> = sections
            .map(|section| App::read(section, &acme, &mut taken))
            .collect();
        let apps = apps.into_iter().collect::<Option<Vec<_>>>()?;
        let this = Self {
            file: file.to_owned(),
            state_dir,
            group,
            listen,
            admin,
            resolver,
            metrics,
            nginx,
            proxy,
            acme,
            index: Index::of(&apps),
            apps,
        };
        // Doors lead to one of our addresses, and nginx begins no HTTP connection with a PROXY header.
        if this.plain_listen().is_none()
            && this.apps.iter().any(|app| app.door.directory().is_some())
        {
            root.refuse(
                "listen",
                "doors need an address without proxy_protocol: add { address = \"127.0.0.1:8888\", proxy_protocol = false }",
            );
        }
        Some(this)
    }

    /// Whether clients begin with a PROXY protocol header there.
    pub fn is_introduced(&self, listen: &Listen) -> bool {
        listen.proxy_protocol.unwrap_or(self.proxy.proxy_protocol)
    }

    /// The first address that takes requests as nginx sends them, and its place in the list.
    pub fn plain_listen(&self) -> Option<usize> {
        self.listen
            .iter()
            .position(|listen| !self.is_introduced(listen))
    }

    /// The app of this name.
    pub fn app(&self, name: &AppName) -> Option<&App> {
        Some(&self.apps[*self.index.names.get(name)?])
    }

    /// The app through whose door an identifier is validated.
    pub fn app_of(&self, identifier: &Identifier) -> Option<&App> {
        let exact = self.index.domains.get(identifier);
        let exact = exact.map(|n| &self.apps[*n]);
        exact.or_else(|| self.apps.iter().find(|app| app.covers(identifier)))
    }
}

impl Nginx {
    fn read(section: Option<Section<'_>>) -> Self {
        let defaults = Commands {
            test: ["nginx", "-t"].map(str::to_owned).into(),
            reload: ["nginx", "-s", "reload"].map(str::to_owned).into(),
        };
        let Some(mut section) = section else {
            return Self {
                commands: defaults,
                probe: None,
                prove: true,
            };
        };
        Self {
            commands: Commands {
                test: section.command("test").unwrap_or(defaults.test),
                reload: section.command("reload").unwrap_or(defaults.reload),
            },
            probe: section.list("probe"),
            prove: section.flag("prove").unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Vec<String>> {
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
        let app =
            "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"/etc/nginx/a\"\n";
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
}
