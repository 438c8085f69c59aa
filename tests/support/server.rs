//! One `server` block of the private nginx.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::App;

/// A server block in the making: which names, which app, which door, and what the operator has written around it.
#[derive(Clone)]
pub struct Server {
    names: Vec<String>,
    upstream: Option<u16>,
    certificate: Option<PathBuf>,
    door: Option<String>,
    before: Vec<String>,
    after: Vec<String>,
}

impl Server {
    /// A server for these names, over plain HTTP, which answers 404 to everything.
    pub fn of(names: &[&str]) -> Self {
        Self {
            names: names.iter().copied().map(str::to_owned).collect(),
            upstream: None,
            certificate: None,
            door: None,
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// Everything goes to this app.
    pub fn to(mut self, app: &App) -> Self {
        self.upstream = Some(app.port());
        self
    }

    /// Over TLS, with `fullchain.pem` and `privkey.pem` of this directory.
    pub fn over_tls(mut self, certificate: &Path) -> Self {
        self.certificate = Some(certificate.to_owned());
        self
    }

    /// Includes the directory in which sidedoor opens this app's door.
    pub fn with_door(mut self, app: &str) -> Self {
        self.door = Some(app.to_owned());
        self
    }

    /// A line of the operator's before the include.
    pub fn before(mut self, line: &str) -> Self {
        self.before.push(line.to_owned());
        self
    }

    /// A line of the operator's after the include.
    pub fn after(mut self, line: &str) -> Self {
        self.after.push(line.to_owned());
        self
    }

    /// The block, and the `upstream` block it needs.
    pub(super) fn render(&self, nth: usize, http: u16, tls: u16, doors: &Path) -> String {
        let mut block = String::new();
        if let Some(port) = self.upstream {
            // Connections to the app are kept, so that a load spends no ports on them.
            let _ = writeln!(
                block,
                "upstream app{nth} {{ server 127.0.0.1:{port}; keepalive 64; }}"
            );
        }
        let _ = match &self.certificate {
            None => write!(block, "server {{\n    listen 127.0.0.1:{http};\n"),
            Some(directory) => write!(
                block,
                "server {{\n    listen 127.0.0.1:{tls} ssl;\n    ssl_certificate {0}/fullchain.pem;\n    ssl_certificate_key {0}/privkey.pem;\n",
                directory.display()
            ),
        };
        let _ = writeln!(block, "    server_name {};", self.names.join(" "));
        for line in &self.before {
            let _ = writeln!(block, "    {line}");
        }
        if let Some(app) = &self.door {
            let _ = writeln!(block, "    include {}/*.conf;", doors.join(app).display());
        }
        for line in &self.after {
            let _ = writeln!(block, "    {line}");
        }
        let answer = match self.upstream {
            Some(_) => {
                format!(
                    "proxy_pass http://app{nth}; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;"
                )
            }
            None => "return 404;".to_owned(),
        };
        let _ = write!(block, "    location / {{ {answer} }}\n}}\n");
        block
    }
}
