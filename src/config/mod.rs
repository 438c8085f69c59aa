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
mod tests;
