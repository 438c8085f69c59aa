//! What nginx's own configuration says of one app: where to knock, what is in the way, who serves TLS.
//! Everything here is advice but one thing: a location that nginx would refuse to have twice.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::configuration::Configuration;
use super::listen::{self, Listen};
use super::obstacles::{Obstacle, obstacles};
use super::probe::Knock;
use super::served::TlsServer;
use super::server_name::Fit;
use super::site::Server;
use super::verdict;
use crate::address::Address;
use crate::command;
use crate::identifier::Identifier;

/// `nginx -V` only prints.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Where distributions put it.
const USUAL_MAIN_FILE: &str = "/etc/nginx/nginx.conf";

/// Finds and reads nginx's configuration.
#[derive(Debug)]
pub struct Surveyor {
    test: Vec<String>,
    main_file: OnceCell<PathBuf>,
}

impl Surveyor {
    /// For the nginx that this command tests.
    pub fn new(test: Vec<String>) -> Self {
        Self {
            test,
            main_file: OnceCell::new(),
        }
    }

    /// Reads the configuration as it is now.
    pub async fn survey(&self, include_dir: Option<&Path>, probe: Option<&[Address]>) -> Survey {
        let main_file = self.main_file().await;
        let read = tokio::task::spawn_blocking(move || Configuration::read(&main_file)).await;
        let (configuration, unreadable) = match read {
            Ok(Ok(configuration)) => (Some(Arc::new(configuration)), None),
            Ok(Err(error)) => (None, Some(error.to_string())),
            Err(died) => (None, Some(died.to_string())),
        };
        if let Some(reason) = &unreadable {
            tracing::debug!(
                reason,
                "nginx's configuration can't be read, so nothing is known beforehand"
            );
        }
        Survey {
            configuration,
            unreadable,
            include_dir: include_dir.map(Path::to_owned),
            probe: probe.map(<[_]>::to_vec),
        }
    }

    /// Where nginx's master writes its process id: as the configuration says, else as nginx was built.
    pub async fn pid_file(&self) -> Option<PathBuf> {
        let main_file = self.main_file().await;
        let read = tokio::task::spawn_blocking(move || Configuration::read(&main_file)).await;
        let configuration = read.ok()?.ok()?;
        let said = configuration
            .directives()
            .find(|directive| directive.is("pid"));
        let file = match said {
            Some(pid) => PathBuf::from(&*pid.argument()),
            None => self.built_in("--pid-path=").await?,
        };
        // A relative one lies below a prefix that only nginx knows.
        file.is_absolute().then_some(file)
    }

    /// As the command's `-c` says, else as nginx was built.
    async fn find_main_file(&self) -> PathBuf {
        if let Some(file) = verdict::main_file_from_test(&self.test, "") {
            return file;
        }
        let built = self.built_in("--conf-path=").await;
        built.unwrap_or_else(|| USUAL_MAIN_FILE.into())
    }

    async fn main_file(&self) -> PathBuf {
        self.main_file
            .get_or_init(|| self.find_main_file())
            .await
            .clone()
    }

    /// A path that nginx was built with.
    async fn built_in(&self, option: &str) -> Option<PathBuf> {
        let nginx = self.test.iter().rfind(|word| verdict::is_nginx(word))?;
        let version = command::run(&[nginx.clone(), "-V".to_owned()], VERSION_LIMIT).await;
        let words = version.ok()?.output;
        let path = words
            .split_whitespace()
            .find_map(|word| word.strip_prefix(option))?;
        Some(path.into())
    }
}

/// Whether nginx's configuration names something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mention {
    /// It doesn't.
    Nowhere,
    /// It does, in this file and line.
    At(String),
    /// Not all of it can be read, for this reason.
    Unknown(String),
}

/// nginx's configuration, seen from one app.
#[derive(Debug, Clone)]
pub struct Survey {
    configuration: Option<Arc<Configuration>>,
    /// Why nothing is known.
    pub unreadable: Option<String>,
    include_dir: Option<PathBuf>,
    probe: Option<Vec<Address>>,
}

impl Survey {
    /// Where a location stands that nginx would not have a second time.
    pub fn taken(&self) -> Option<String> {
        let directory = self.include_dir.as_deref()?;
        let mut servers = self
            .servers()
            .filter(|server| server.includes(directory).is_some());
        servers
            .find_map(|server| server.challenge_location(directory))
            .map(|location| location.place.to_string())
    }

    /// Where the configuration names something in one of these directories.
    pub fn mention(&self, directories: &[PathBuf]) -> Mention {
        let Some(configuration) = &self.configuration else {
            return Mention::Unknown(self.unreadable.clone().unwrap_or_default());
        };
        let mut mentions = directories
            .iter()
            .filter_map(|directory| configuration.mention(directory));
        match (mentions.next(), configuration.unread().first()) {
            (Some(place), _) => Mention::At(place.to_string()),
            (None, Some(unread)) => Mention::Unknown(unread.to_string()),
            (None, None) => Mention::Nowhere,
        }
    }

    /// Whether a server that includes the door uses `auth_request`.
    pub fn uses_auth_request(&self) -> bool {
        let Some(directory) = self.include_dir.as_deref() else {
            return false;
        };
        self.servers()
            .any(|server| server.includes(directory).is_some() && server.uses("auth_request"))
    }

    /// Where to knock for these names: wherever nginx listens for them in plain HTTP, as a CA would come.
    pub fn knocks(&self, names: &[Identifier]) -> Vec<Knock> {
        let mut knocks = Vec::new();
        for name in names {
            let found: Vec<_> = match &self.probe {
                Some(addresses) => addresses
                    .iter()
                    .map(|address| (address.clone(), false))
                    .collect(),
                None => self
                    .listens(name, |listen| !listen.tls && !listen.quic)
                    .map(|(_, listen)| listen)
                    .collect(),
            };
            let found = match found.is_empty() {
                true => self.door_listens(),
                false => found,
            };
            for (address, proxy_protocol) in found {
                let knock = Knock {
                    address,
                    proxy_protocol,
                    host: name.host(),
                };
                if !knocks.contains(&knock) {
                    knocks.push(knock);
                }
            }
        }
        knocks
    }

    /// Where the door's servers listen, for a name that none of them has: their default answers for it.
    fn door_listens(&self) -> Vec<(Address, bool)> {
        let known = self
            .configuration
            .as_deref()
            .zip(self.include_dir.as_deref());
        let sockets =
            known.map(|(configuration, directory)| configuration.sockets_of_door(directory));
        let plain = |listen: &&Listen| !listen.tls && !listen.quic;
        let found: Vec<_> = sockets
            .iter()
            .flatten()
            .map(|socket| &socket.listen)
            .filter(plain)
            .filter_map(reachable)
            .collect();
        match found.is_empty() {
            true => vec![(Address::Tcp((Ipv4Addr::LOCALHOST, 80).into()), false)],
            false => found,
        }
    }

    /// The TLS servers that have one of these names, and the certificate file of each.
    pub fn tls_servers(&self, names: &[Identifier]) -> Vec<(TlsServer, PathBuf)> {
        let mut servers = Vec::new();
        for name in names {
            for (server, (address, proxy_protocol)) in
                self.listens(name, |listen| listen.tls && !listen.quic)
            {
                let Some(certificate) = server.certificates().into_iter().next() else {
                    continue;
                };
                let one = TlsServer {
                    address,
                    proxy_protocol,
                    name: name.clone(),
                };
                if !servers.iter().any(|(known, _)| *known == one) {
                    servers.push((one, certificate));
                }
            }
        }
        servers
    }

    /// What is in the way of these names, what blocks first.
    pub fn obstacles(&self, names: &[Identifier]) -> Vec<Obstacle> {
        let Some((configuration, directory)) = self
            .configuration
            .as_deref()
            .zip(self.include_dir.as_deref())
        else {
            return Vec::new();
        };
        let mut found: Vec<Obstacle> = Vec::new();
        for obstacle in names
            .iter()
            .flat_map(|name| obstacles(configuration, name, directory))
        {
            if !found.contains(&obstacle) {
                found.push(obstacle);
            }
        }
        found.sort_by_key(|obstacle| obstacle.severity);
        found
    }

    fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        self.configuration
            .iter()
            .flat_map(|configuration| configuration.servers())
    }

    /// The addresses of the servers that have the name, as reached from here.
    fn listens<'a>(
        &'a self,
        name: &'a Identifier,
        wanted: impl Fn(&Listen) -> bool + 'a,
    ) -> impl Iterator<Item = (Server<'a>, (Address, bool))> {
        let host = match name {
            // A wildcard is served to whatever it covers.
            Identifier::Dns(dns) => dns.as_str().replace('*', "any"),
            Identifier::Ip(_) => name.host(),
        };
        self.servers()
            .filter(move |server| server.fits(&host) == Fit::Yes)
            .flat_map(move |server| {
                let found: Vec<_> = server
                    .listens()
                    .iter()
                    .filter(|listen| wanted(listen))
                    .filter_map(reachable)
                    .collect();
                found.into_iter().map(move |found| (server, found))
            })
    }
}

fn reachable(listen: &Listen) -> Option<(Address, bool)> {
    let address = match listen.address.from_here() {
        listen::Address::Ip(address) => Address::Tcp(address),
        listen::Address::Unix(path) => Address::Unix(path),
        listen::Address::Name { host, port } => Address::Tcp(
            (
                host.parse::<Ipv4Addr>()
                    .ok()
                    .or((host == "localhost").then_some(Ipv4Addr::LOCALHOST))?,
                port,
            )
                .into(),
        ),
    };
    Some((address, listen.proxy_protocol))
}
