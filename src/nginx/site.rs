//! The HTTP servers of a configuration: their names, addresses and rules, and the files they include.
//! It judges nothing; what stands in the way of validation is told elsewhere.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::configuration::{Configuration, InForce, in_force};
use super::glob;
use super::listen::Listen;
use super::server_name::{Fit, ServerName};
use super::syntax::{Directive, Place};
use crate::challenge;

/// The name of every door's file: sorted before what else may stand in the include directory.
pub const DOOR_FILE: &str = "00-sidedoor.conf";

/// One `server` block of an `http` block.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    configuration: &'a Configuration,
    directive: &'a Directive,
}

/// The same block, not an equal one.
impl PartialEq for Server<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.directive, other.directive)
    }
}

impl Eq for Server<'_> {}

impl Configuration {
    /// The HTTP servers, in nginx's order.
    pub fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        let https = self.directives().filter(|d| d.is("http"));
        https.flat_map(move |http| {
            in_force(http.block())
                .filter(|directive| directive.is("server"))
                .map(move |directive| Server {
                    configuration: self,
                    directive,
                })
        })
    }

    /// The servers that include the door of this directory.
    pub fn servers_of_door(&self, include_dir: &Path) -> impl Iterator<Item = Server<'_>> {
        self.servers()
            .filter(move |server| server.includes(include_dir).is_some())
    }

    /// The first location that would make nginx refuse the door of this directory.
    pub fn clashing_location(&self, include_dir: &Path) -> Option<&Directive> {
        self.servers_of_door(include_dir)
            .find_map(|server| server.challenge_location(include_dir))
    }
}

impl<'a> Server<'a> {
    /// The line of its `server {`.
    pub fn place(&self) -> &'a Place {
        &self.directive.place
    }

    /// What it is known by: its `server_name`, or its beginning if it has none.
    pub fn headline(&self) -> &'a Directive {
        self.directives()
            .find(|directive| directive.is("server_name"))
            .unwrap_or(self.directive)
    }

    /// The directives at its own level in nginx's order, what `include`s took in among them.
    pub fn directives(&self) -> InForce<'a> {
        in_force(self.directive.block())
    }

    /// Its names; one empty name if it has none.
    pub fn names(&self) -> Vec<ServerName> {
        let names: Vec<_> = self
            .directives()
            .filter(|directive| directive.is("server_name"))
            .flat_map(|directive| directive.arguments())
            .map(|name| ServerName::of(&name.to_str()))
            .collect();
        match names.is_empty() {
            true => vec![ServerName::Exact(String::new())],
            false => names,
        }
    }

    /// What nginx's `$server_name` says: the first name as it is written.
    pub fn primary_name(&self) -> String {
        self.directives()
            .find(|directive| directive.is("server_name"))
            .map(|directive| directive.argument().to_ascii_lowercase())
            .unwrap_or_default()
    }

    /// Whether one of its names takes in a host (lower case, no port).
    pub fn fits(&self, host: &str) -> Fit {
        let fits: Vec<_> = self.names().iter().map(|name| name.fits(host)).collect();
        [Fit::Yes, Fit::Unclear]
            .into_iter()
            .find(|fit| fits.contains(fit))
            .unwrap_or(Fit::No)
    }

    /// Where it listens; `*:80` if it doesn't say.
    pub fn listens(&self) -> Vec<Listen> {
        let mut directives = self.directives().filter(|d| d.is("listen")).peekable();
        if directives.peek().is_none() {
            return vec![Listen::DEFAULT];
        }
        // Until nginx 1.25 `ssl on` turned all of a server's listeners.
        let all_tls = self
            .in_force("ssl")
            .is_some_and(|ssl| ssl.argument() == "on");
        let mut listens: Vec<_> = directives.flat_map(Listen::of).collect();
        for listen in &mut listens {
            listen.tls |= all_tls;
        }
        listens
    }

    /// The directive that counts at this server: its own, else that of the `http` block. The last one, of several.
    pub fn in_force(&self, name: &str) -> Option<&'a Directive> {
        let last = |directives: InForce<'a>| directives.filter(|d| d.is(name)).last();
        last(self.directives()).or_else(|| last(in_force(self.configuration.inherited())))
    }

    /// Whether a directive is in force at this server and not `off`.
    pub fn uses(&self, name: &str) -> bool {
        self.in_force(name)
            .is_some_and(|directive| directive.argument() != "off")
    }

    /// Whether it has the host's name and a TLS address.
    pub fn serves_tls_for(&self, host: &str) -> bool {
        self.fits(host) == Fit::Yes && self.listens().iter().any(|listen| listen.tls)
    }

    /// The `ssl_certificate`s in force, as paths nginx opens; one with a variable is left as it is written.
    pub fn certificates(&self) -> Vec<PathBuf> {
        let of = |directives: InForce<'a>| -> Vec<PathBuf> {
            directives
                .filter(|directive| directive.is("ssl_certificate"))
                .filter_map(|directive| directive.arguments().first())
                .map(|written| self.configuration.path(written.as_path()))
                .collect()
        };
        let own = of(self.directives());
        match own.is_empty() {
            true => of(in_force(self.configuration.inherited())),
            false => own,
        }
    }

    /// The `include` at its own level that takes in the door of this directory.
    pub fn includes(&self, include_dir: &Path) -> Option<&'a Directive> {
        self.includes_of_door(include_dir).next()
    }

    /// All such `include`s: with more than one nginx refuses the door.
    pub fn includes_of_door(&self, include_dir: &Path) -> impl Iterator<Item = &'a Directive> {
        self.directives()
            .filter(move |directive| self.takes_in_door(directive, include_dir))
    }

    /// Such an `include` that stands too deep, in a location: there the door serves only what that location gets.
    pub fn includes_in_location(&self, include_dir: &Path) -> Option<&'a Directive> {
        let mut blocks: Vec<_> = self.directives().map(Directive::block).collect();
        while let Some(block) = blocks.pop() {
            for directive in in_force(block) {
                if self.takes_in_door(directive, include_dir) {
                    return Some(directive);
                }
                blocks.push(directive.block());
            }
        }
        None
    }

    fn takes_in_door(&self, directive: &Directive, include_dir: &Path) -> bool {
        directive.is("include")
            && directive.arguments().first().is_some_and(|pattern| {
                takes_in_door(&self.configuration.path(pattern.as_path()), include_dir)
            })
    }

    /// A location that is there already and equals the door's: with both, nginx refuses ("duplicate location").
    /// What the door of this directory says itself is passed over.
    pub fn challenge_location(&self, include_dir: &Path) -> Option<&'a Directive> {
        let door = include_dir.join(DOOR_FILE);
        self.directives()
            .filter(|directive| directive.is("location"))
            .filter(|location| prefix_of(location).as_deref() == Some(challenge::PREFIX))
            .find(|location| *location.place.file != *door && !is_same(&location.place.file, &door))
    }
}

/// The path of a location that is a prefix, with or without `^~`. Exact ones and regular expressions clash with none.
fn prefix_of(location: &Directive) -> Option<String> {
    let words: Vec<_> = location.arguments().iter().map(|w| w.to_str()).collect();
    let prefix = match words.as_slice() {
        [modifier, path] if modifier == "^~" => path,
        // nginx lets the modifier stand close to the path.
        [path] => path.strip_prefix("^~").unwrap_or(path),
        _ => return None,
    };
    prefix.starts_with('/').then(|| prefix.to_owned())
}

fn takes_in_door(pattern: &Path, include_dir: &Path) -> bool {
    if glob::takes_in(pattern, &include_dir.join(DOOR_FILE)) {
        return true;
    }
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return false;
    };
    if !glob::takes_in(Path::new(name), Path::new(DOOR_FILE)) {
        return false;
    }
    let candidates = match glob::is_pattern(directory) {
        true => glob::expand(directory).paths,
        false => vec![directory.to_owned()],
    };
    candidates.iter().any(|path| is_same(path, include_dir))
}

/// Whether two paths lead to the same file or directory, perhaps through links or `..`. False if it isn't there.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory with `nginx.conf` in it, whose `http` block is given.
    struct Site {
        root: tempfile::TempDir,
    }

    impl Site {
        fn new(http: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            let http = http.replace("{root}", &root.path().display().to_string());
            fs::write(
                root.path().join("nginx.conf"),
                format!("http {{\n{http}\n}}"),
            )
            .unwrap();
            Self { root }
        }

        fn with(self, name: &str, content: &str) -> Self {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn configuration(&self) -> Configuration {
            Configuration::read(&self.path("nginx.conf")).unwrap()
        }

        /// Where the first server includes the door of a directory, without the directory's name.
        fn includes(&self, include_dir: &str) -> Option<String> {
            let configuration = self.configuration();
            let server = configuration.servers().next().unwrap();
            let include = server.includes(&self.path(include_dir))?;
            let place = include.place.to_string();
            Some(place.replace(&format!("{}/", self.root.path().display()), ""))
        }
    }

    #[test]
    fn finds_the_include_that_takes_in_the_door() {
        for (include, place) in [
            ("include {root}/doors/shop/*.conf;", Some("nginx.conf:2")),
            ("include doors/shop/*;", Some("nginx.conf:2")),
            ("include doors/*/*.conf;", Some("nginx.conf:2")),
            ("include doors/shop/[0-9]*.conf;", Some("nginx.conf:2")),
            ("include link/*.conf;", Some("nginx.conf:2")),
            ("include *ink/*.conf;", Some("nginx.conf:2")),
            ("include doors/x/../shop/*.conf;", Some("nginx.conf:2")),
            ("include other.conf;", Some("other.conf:3")),
            ("include doors/*.conf;", None),
            ("include doors/shop/*.inc;", None),
            ("include doors/shop/a*.conf;", None),
            ("location / { include doors/shop/*.conf; }", None),
            ("# include doors/shop/*.conf;", None),
        ] {
            let site = Site::new(&format!("server {{ {include}\n}}"))
                .with("other.conf", "\n\ninclude doors/shop/*.conf;")
                .with("doors/shop/x.txt", "")
                .with("doors/x/x.txt", "");
            std::os::unix::fs::symlink(site.path("doors/shop"), site.path("link")).unwrap();
            assert_eq!(site.includes("doors/shop").as_deref(), place, "{include}");
        }
    }

    #[test]
    fn an_include_of_a_directory_that_is_not_there_yet_is_found() {
        let site = Site::new("server { include doors/shop/*.conf; }");
        assert_eq!(site.includes("doors/shop").as_deref(), Some("nginx.conf:2"));
        assert_eq!(site.includes("doors/blog"), None);
    }

    #[test]
    fn the_door_s_own_location_is_no_duplicate_even_by_another_path() {
        let location = "location ^~ /.well-known/acme-challenge/ { }";
        let site =
            Site::new("server { include link/*.conf; }").with("doors/00-sidedoor.conf", location);
        std::os::unix::fs::symlink(site.path("doors"), site.path("link")).unwrap();
        let configuration = site.configuration();
        let server = configuration.servers().next().unwrap();
        assert_eq!(server.challenge_location(&site.path("doors")), None);
        assert_eq!(configuration.clashing_location(&site.path("doors")), None);
        let other = server.challenge_location(&site.path("elsewhere")).unwrap();
        assert_eq!(
            other.to_string(),
            "location ^~ /.well-known/acme-challenge/ { … }"
        );
    }

    #[test]
    fn a_server_s_own_rule_counts_before_that_of_http() {
        let site = Site::new(
            "auth_request /auth;\nssl_certificate all.pem;\n\
             server { }\n\
             server { auth_request off; ssl_certificate \"{root}/$x.pem\"; ssl_certificate b.pem; }",
        );
        let configuration = site.configuration();
        let servers: Vec<_> = configuration.servers().collect();
        assert!(servers[0].uses("auth_request"));
        assert!(!servers[1].uses("auth_request"));
        assert!(!servers[0].uses("auth_basic"));
        assert_eq!(servers[0].certificates(), [site.path("all.pem")]);
        assert_eq!(
            servers[1].certificates(),
            [site.path("$x.pem"), site.path("b.pem")]
        );
    }

    #[test]
    fn tells_which_servers_speak_tls_for_a_name() {
        let site = Site::new(
            "server { listen 443 ssl; server_name a.x *.b.x; }\n\
             server { listen 80; server_name a.x; }\n\
             server { listen 443; ssl on; server_name ~^a; }\n\
             server { }",
        );
        let configuration = site.configuration();
        let tls = |host: &str| -> Vec<bool> {
            configuration
                .servers()
                .map(|server| server.serves_tls_for(host))
                .collect()
        };
        assert_eq!(tls("a.x"), [true, false, false, false]);
        assert_eq!(tls("c.b.x"), [true, false, false, false]);
        assert_eq!(tls("c.x"), [false; 4]);
        let servers: Vec<_> = configuration.servers().collect();
        assert!(servers[2].listens()[0].tls);
        assert_eq!(servers[2].fits("a.x"), Fit::Unclear);
        assert_eq!(servers[3].listens(), [Listen::DEFAULT]);
        assert_eq!(servers[3].names(), [ServerName::Exact(String::new())]);
        assert_eq!(servers[3].place().line, 5);
    }

    #[test]
    fn a_probe_knocks_where_a_server_includes_the_door() {
        let site = Site::new(
            "server { listen 80; listen [::]:80; include doors/*.conf; }\n\
             server { listen 443 ssl; include doors/*.conf; }\n\
             server { listen 443 quic; include doors/*.conf; }\n\
             server { listen 81; }\n\
             server { listen 80 proxy_protocol default_server; }",
        );
        let configuration = site.configuration();
        let sockets = configuration.sockets_of_door(&site.path("doors"));
        let addresses: Vec<_> = sockets
            .iter()
            .map(|socket| {
                (
                    socket.listen.address.from_here().to_string(),
                    socket.listen.tls,
                )
            })
            .collect();
        assert_eq!(
            addresses,
            [
                ("127.0.0.1:80".to_owned(), false),
                ("[::1]:80".to_owned(), false),
                ("127.0.0.1:443".to_owned(), true)
            ]
        );
        assert!(sockets[0].listen.proxy_protocol);
        assert_eq!(sockets[0].default().place().line, 6);
    }

    #[test]
    fn servers_stand_in_http_blocks_alone() {
        let site = Site::new("upstream a { server b; }\nserver { }").with(
            "nginx.conf",
            "http { upstream a { server b; } server { } }\nstream { server { } }",
        );
        assert_eq!(site.configuration().servers().count(), 1);
    }
}
