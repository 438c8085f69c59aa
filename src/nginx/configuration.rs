//! nginx's configuration as it stands on disk: the main file and every file it includes, in nginx's order.
//! It reads and never writes. What nginx alone can judge (unknown directives, wrong arguments) is left to `nginx -t`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::glob;
use super::syntax::{self, Body, Directive, Place, SyntaxError};

/// Longer chains of includes are no configuration but an accident.
const DEEPEST_INCLUDE: usize = 32;

/// More files than the largest site has: only includes that multiply reach it.
const MOST_FILES: usize = 500_000;

/// Blocks whose content is data; an `include` in them can't hold a server.
const TABLES: [&str; 6] = [
    "types",
    "map",
    "geo",
    "geoip2",
    "split_clients",
    "charset_map",
];

/// Everything that was read, with `include`s resolved.
#[derive(Debug)]
pub struct Configuration {
    main: Arc<Path>,
    directives: Vec<Directive>,
    /// The simple directives of the `http` block, apart from its many servers: every server inherits them.
    http: Vec<Directive>,
    unread: Vec<Unread>,
}

/// A file or directory that may not be read by us, though perhaps by nginx.
#[derive(Debug)]
pub struct Unread {
    /// What could not be read.
    pub path: PathBuf,
    /// The `include` that asked for it.
    pub included: Place,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (included in {}) was not read: {}",
            self.path.display(),
            self.included,
            self.error
        )
    }
}

/// Why a configuration can't be read. Trying again is pointless until the files change.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The main file.
    #[error("cannot read nginx's configuration {}", .path.display())]
    Main {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file which an `include` names and which isn't there: nginx, too, refuses to start.
    #[error("cannot read {}, which is included in {included}", .path.display())]
    Included {
        /// Its path.
        path: PathBuf,
        /// The `include`.
        included: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are no configuration.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A file that includes itself, perhaps through others.
    #[error("{} includes itself in {included}", .path.display())]
    Loop {
        /// Its path.
        path: PathBuf,
        /// The `include` that closes the circle.
        included: Place,
    },
    /// Includes beyond all sense.
    #[error("too many includes: {limit} is the most that is followed, and {included} is beyond it")]
    Absurd {
        /// The limit that is broken.
        limit: &'static str,
        /// The `include` that breaks it.
        included: Place,
    },
}

impl Configuration {
    /// Reads the main file and all it includes. Included files that may not be read are noted in [`Self::unread`].
    pub fn read(main: &Path) -> Result<Self, ReadError> {
        Self::read_with(main, |path| fs::read(path))
    }

    /// The same with another way to open files, so that refusals can be tested.
    pub(super) fn read_with(
        main: &Path,
        open: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Main {
            path: main.to_owned(),
            source,
        };
        // Not canonical: nginx, too, takes the prefix from the path as it is written.
        let main: Arc<Path> = std::path::absolute(main).map_err(failed)?.into();
        let source = open(&main).map_err(failed)?;
        let mut reading = Reading {
            prefix: main.parent().unwrap_or(&main).to_owned(),
            open,
            chain: vec![Arc::clone(&main)],
            files: 1,
            unread: Vec::new(),
        };
        let mut directives = syntax::parse(&source, &main)?;
        reading.resolve(&mut directives)?;
        let http = in_force(&directives)
            .filter(|directive| directive.is("http"))
            .flat_map(|http| in_force(http.block()))
            .filter(|directive| matches!(directive.body, Body::None | Body::Code))
            .cloned()
            .collect();
        Ok(Self {
            main,
            directives,
            http,
            unread: reading.unread,
        })
    }

    /// The main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// What may be in force without our knowing.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The directives of the main file, `include`s among them followed by what they took in.
    pub fn directives(&self) -> InForce<'_> {
        in_force(&self.directives)
    }

    /// What every HTTP server inherits: the directives of the `http` block itself, without blocks.
    pub fn inherited(&self) -> &[Directive] {
        &self.http
    }

    /// A path in the configuration as nginx opens it: relative to the main file's directory.
    pub fn path(&self, written: &Path) -> PathBuf {
        self.main.parent().unwrap_or(&self.main).join(written)
    }
}

/// Directives of one level in nginx's order: what an `include` took in comes right after it.
pub fn in_force(directives: &[Directive]) -> InForce<'_> {
    InForce(vec![directives.iter()])
}

/// The iterator of [`in_force`].
#[derive(Debug, Clone)]
pub struct InForce<'a>(Vec<std::slice::Iter<'a, Directive>>);

impl<'a> Iterator for InForce<'a> {
    type Item = &'a Directive;

    fn next(&mut self) -> Option<&'a Directive> {
        loop {
            let Some(directive) = self.0.last_mut()?.next() else {
                self.0.pop();
                continue;
            };
            if let Body::Included(directives) = &directive.body {
                self.0.push(directives.iter());
            }
            return Some(directive);
        }
    }
}

/// One reading under way.
struct Reading<F> {
    prefix: PathBuf,
    open: F,
    /// The files that are open, each included by the one before.
    chain: Vec<Arc<Path>>,
    files: usize,
    unread: Vec<Unread>,
}

impl<F: Fn(&Path) -> io::Result<Vec<u8>>> Reading<F> {
    fn resolve(&mut self, directives: &mut [Directive]) -> Result<(), ReadError> {
        for directive in directives {
            if let Body::Block(inner) = &mut directive.body {
                let table = directive.words.first().is_some_and(|name| {
                    TABLES
                        .iter()
                        .any(|table| name.as_bytes() == table.as_bytes())
                });
                if !table {
                    self.resolve(inner)?;
                }
            } else if directive.is("include") && directive.words.len() == 2 {
                directive.body = Body::Included(self.include(directive)?);
            }
        }
        Ok(())
    }

    fn include(&mut self, include: &Directive) -> Result<Vec<Directive>, ReadError> {
        let Some(written) = include.arguments().first() else {
            return Ok(Vec::new());
        };
        let path = self.prefix.join(written.as_path());
        if !glob::is_pattern(&path) {
            return self.file(path, &include.place);
        }
        let expansion = glob::expand(&path);
        for (path, error) in expansion.unlisted {
            self.unread.push(Unread {
                path,
                included: include.place.clone(),
                error,
            });
        }
        let mut directives = Vec::new();
        for path in expansion.paths {
            directives.append(&mut self.file(path, &include.place)?);
        }
        Ok(directives)
    }

    fn file(&mut self, path: PathBuf, included: &Place) -> Result<Vec<Directive>, ReadError> {
        if self.chain.iter().any(|open| **open == *path) {
            return Err(ReadError::Loop {
                path,
                included: included.clone(),
            });
        }
        self.files += 1;
        let limit = if self.chain.len() > DEEPEST_INCLUDE {
            Some("a chain of 32 files")
        } else if self.files > MOST_FILES {
            Some("500,000 files")
        } else {
            None
        };
        if let Some(limit) = limit {
            return Err(ReadError::Absurd {
                limit,
                included: included.clone(),
            });
        }
        let source = match (self.open)(&path) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unread.push(Unread {
                    path,
                    included: included.clone(),
                    error,
                });
                return Ok(Vec::new());
            }
            Err(source) => {
                return Err(ReadError::Included {
                    path,
                    included: included.clone(),
                    source,
                });
            }
        };
        let path: Arc<Path> = path.into();
        let mut directives = syntax::parse(&source, &path)?;
        self.chain.push(path);
        self.resolve(&mut directives)?;
        self.chain.pop();
        Ok(directives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of files, the first of which is the main one.
    struct Site(tempfile::TempDir);

    impl Site {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (name, content) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self(root)
        }

        fn read(&self) -> Result<Configuration, ReadError> {
            Configuration::read(&self.0.path().join("nginx.conf"))
        }

        /// A message without the directory's name.
        fn plain(&self, error: &ReadError) -> String {
            error
                .to_string()
                .replace(&format!("{}/", self.0.path().display()), "")
        }
    }

    fn names(configuration: &Configuration) -> Vec<String> {
        configuration
            .directives()
            .filter(|d| !d.is("include"))
            .map(|d| d.name().into_owned())
            .collect()
    }

    #[test]
    fn includes_stand_in_nginx_s_order_relative_to_the_main_file() {
        let site = Site::new(&[
            (
                "nginx.conf",
                "a;\ninclude sub/one.conf;\ninclude \"sites/*/*.conf\";\nz;",
            ),
            ("sub/one.conf", "b;\ninclude two.conf;"),
            ("two.conf", "c;"),
            ("sub/two.conf", "wrong;"),
            ("sites/b/1.conf", "f;"),
            ("sites/a/2.conf", "e;"),
            ("sites/a/1.conf", "d;"),
            ("sites/a/.hidden.conf", "wrong;"),
            ("sites/.a/1.conf", "wrong;"),
        ]);
        let configuration = site.read().unwrap();
        assert_eq!(names(&configuration), ["a", "b", "c", "d", "e", "f", "z"]);
        let c = configuration.directives().find(|d| d.is("c")).unwrap();
        let place = c.place.to_string();
        assert!(place.ends_with("/two.conf:1"), "{place}");
    }

    #[test]
    fn a_pattern_that_takes_in_nothing_is_fine_and_a_missing_file_is_named() {
        let site = Site::new(&[("nginx.conf", "include x/*.conf;\n\ninclude gone.conf;")]);
        assert_eq!(
            site.plain(&site.read().unwrap_err()),
            "cannot read gone.conf, which is included in nginx.conf:3"
        );
        let site = Site::new(&[("nginx.conf", "include x/*.conf;")]);
        assert!(site.read().is_ok());
    }

    #[test]
    fn a_missing_main_file_is_named() {
        let site = Site::new(&[]);
        assert_eq!(
            site.plain(&site.read().unwrap_err()),
            "cannot read nginx's configuration nginx.conf"
        );
    }

    #[test]
    fn a_fault_in_an_included_file_is_told_with_its_line() {
        let site = Site::new(&[("nginx.conf", "include a.conf;"), ("a.conf", "b;\n}")]);
        assert_eq!(
            site.plain(&site.read().unwrap_err()),
            "unexpected '}' in a.conf:2"
        );
    }

    #[test]
    fn circles_and_multiplying_includes_are_refused() {
        let site = Site::new(&[
            ("nginx.conf", "http { include a.conf; }"),
            ("a.conf", "\ninclude *.conf;"),
        ]);
        assert_eq!(
            site.plain(&site.read().unwrap_err()),
            "a.conf includes itself in a.conf:2"
        );
        let chain: Vec<_> = (0..50)
            .map(|n| (format!("{n}"), format!("include {};", n + 1)))
            .collect();
        let mut files = vec![("nginx.conf", "include 0;")];
        files.extend(chain.iter().map(|(n, c)| (n.as_str(), c.as_str())));
        let site = Site::new(&files);
        assert_eq!(
            site.plain(&site.read().unwrap_err()),
            "too many includes: a chain of 32 files is the most that is followed, and 31:1 is beyond it"
        );
    }

    #[test]
    fn what_may_not_be_read_is_noted_and_the_rest_is_read() {
        let site = Site::new(&[
            ("nginx.conf", "a;\ninclude secret.conf;\nb;"),
            ("secret.conf", "c;"),
        ]);
        let main = site.0.path().join("nginx.conf");
        let configuration = Configuration::read_with(&main, |path| {
            if path.ends_with("secret.conf") {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            fs::read(path)
        })
        .unwrap();
        assert_eq!(names(&configuration), ["a", "b"]);
        let note = configuration.unread()[0].to_string();
        assert!(
            note.contains("/secret.conf (included in ")
                && note.contains("nginx.conf:2) was not read: permission denied"),
            "{note}"
        );
    }

    #[test]
    fn tables_are_not_followed() {
        let site = Site::new(&[(
            "nginx.conf",
            "http { map $a $b { include gone.map; } types { include gone.types; } }",
        )]);
        assert!(site.read().is_ok());
    }
}
