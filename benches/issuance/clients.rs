//! The clients that are timed, each set up as its own documentation says, with one name of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Identity, Nginx, Pebble, Server, find_program, free_port};

/// One client and how it is made to get one certificate.
pub(crate) struct Client {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    /// The name it gets certificates for.
    pub(crate) domain: String,
    /// Where that name's certificate is served.
    pub(crate) port: u16,
    /// Whether it is sidedoor.
    pub(crate) ours: bool,
    /// Whether it is a server, which stays when the certificate is live.
    pub(crate) stays: bool,
    /// Makes the next certificate necessary; not timed.
    pub(crate) before: Box<dyn Fn()>,
    /// The command that is timed.
    pub(crate) command: Box<dyn Fn() -> Command>,
}

/// What a client's set-up needs to know.
struct Site<'a> {
    nginx: &'a mut Nginx,
    pebble: &'a Pebble,
    directory: PathBuf,
    domain: String,
}

/// Every client, ready; nginx has their servers and is to be reloaded.
pub(crate) fn all(nginx: &mut Nginx, pebble: &Pebble, directory: &Path) -> Vec<Client> {
    [
        ("certbot", certbot as fn(Site<'_>) -> Client),
        ("lego", lego),
        ("dehydrated", dehydrated),
        ("uacme", uacme),
        ("caddy", caddy),
    ]
    .into_iter()
    .map(|(name, set_up)| {
        let directory = directory.join(name);
        fs::create_dir(&directory).unwrap();
        set_up(Site {
            nginx,
            pebble,
            directory,
            domain: format!("{name}.example"),
        })
    })
    .collect()
}

impl Site<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the name's webroot clients put their tokens.
    fn webroot(&self) -> PathBuf {
        self.path("webroot")
    }

    fn tokens(&self) -> PathBuf {
        self.webroot().join(".well-known/acme-challenge")
    }

    /// nginx serves the webroot's tokens over HTTP, and over TLS what `install` is given. Returns that script: `install CERTIFICATE KEY`.
    fn serve_webroot(&mut self) -> PathBuf {
        fs::create_dir_all(self.tokens()).unwrap();
        let location = format!(
            "location ^~ /.well-known/acme-challenge/ {{ root {}; }}",
            self.webroot().display()
        );
        let live = self.path("live");
        Identity::self_signed(&[&self.domain]).write_to(&live);
        self.nginx
            .add(Server::of(&[&self.domain]).before(&location));
        self.nginx.add(Server::of(&[&self.domain]).over_tls(&live));
        let reload = self.nginx.reload_command().join(" ");
        self.script(
            "install",
            &format!(
                "cp \"$1\" {0}/fullchain.pem && cp \"$2\" {0}/privkey.pem && {reload} 2>/dev/null",
                live.display()
            ),
        )
    }

    fn script(&self, name: &str, body: &str) -> PathBuf {
        let file = self.path(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn peer(self, name: &'static str, command: impl Fn() -> Command + 'static) -> Client {
        Client {
            name,
            domain: self.domain,
            port: self.nginx.tls_port(),
            ours: false,
            stays: false,
            before: Box::new(|| ()),
            command: Box::new(command),
        }
    }
}

fn certbot(mut site: Site<'_>) -> Client {
    let install = site.serve_webroot();
    let hook = format!(
        "{} \"$RENEWED_LINEAGE/fullchain.pem\" \"$RENEWED_LINEAGE/privkey.pem\"",
        install.display()
    );
    let (ca_file, url) = (site.pebble.ca_file(), site.pebble.directory_url());
    let (webroot, domain) = (site.webroot(), site.domain.clone());
    let [config, work, logs] = ["config", "work", "logs"].map(|name| site.path(name));
    site.peer("certbot (webroot)", move || {
        let mut command = Command::new(find_program("certbot"));
        command
            .env("REQUESTS_CA_BUNDLE", &ca_file)
            .args(["certonly", "-n", "--agree-tos", "--force-renewal"])
            .args(["--register-unsafely-without-email", "--server", &url])
            .args(["-d", &domain, "--deploy-hook", &hook])
            .arg("--config-dir")
            .arg(&config)
            .arg("--work-dir")
            .arg(&work)
            .arg("--logs-dir")
            .arg(&logs)
            .arg("--webroot")
            .arg("-w")
            .arg(&webroot);
        command
    })
}

fn lego(mut site: Site<'_>) -> Client {
    let install = site.serve_webroot();
    let hook = site.script(
        "hook",
        &format!(
            "exec {} \"$LEGO_CERT_PATH\" \"$LEGO_CERT_KEY_PATH\"",
            install.display()
        ),
    );
    let (ca_file, url) = (site.pebble.ca_file(), site.pebble.directory_url());
    let (webroot, domain, data) = (site.webroot(), site.domain.clone(), site.path("data"));
    site.peer("lego (webroot)", move || {
        let mut command = Command::new(find_program("lego"));
        command
            .env("LEGO_CA_CERTIFICATES", &ca_file)
            .args(["--accept-tos", "--email", "ops@example.com"])
            .args(["--server", &url, "--domains", &domain, "--path"])
            .arg(&data)
            .args(["--http", "--http.webroot"])
            .arg(&webroot)
            .args(["run", "--run-hook"])
            .arg(&hook);
        command
    })
}

fn dehydrated(mut site: Site<'_>) -> Client {
    let install = site.serve_webroot();
    let hook = site.script(
        "hook",
        // deploy_cert DOMAIN KEY CERT FULLCHAIN CHAIN TIMESTAMP
        &format!(
            "[ \"$1\" = deploy_cert ] || exit 0; exec {} \"$5\" \"$3\"",
            install.display()
        ),
    );
    let config = site.path("config");
    let text = format!(
        "CA={}\nBASEDIR={}\nWELLKNOWN={}\nHOOK={}\nKEY_ALGO=prime256v1\nCURL_OPTS=\"--cacert {}\"\n",
        site.pebble.directory_url(),
        site.path("base").display(),
        site.tokens().display(),
        hook.display(),
        site.pebble.ca_file().display(),
    );
    fs::create_dir(site.path("base")).unwrap();
    fs::write(&config, text).unwrap();
    let domain = site.domain.clone();
    let dehydrated = move |arguments: &[&str]| {
        let mut command = Command::new(find_program("dehydrated"));
        command.arg("-f").arg(&config).args(arguments);
        command
    };
    succeed(dehydrated(&["--register", "--accept-terms"]));
    site.peer("dehydrated (webroot)", move || {
        dehydrated(&["-c", "-x", "-d", &domain])
    })
}

fn uacme(mut site: Site<'_>) -> Client {
    let install = site.serve_webroot();
    // Its TLS library reads the system's bundle only: in a mount namespace of its own, that is our CA's file.
    let issue = site.script(
        "issue",
        &format!(
            "mount --bind {ca_file} /etc/ssl/certs/ca-certificates.crt || exit 1
uacme() {{ command uacme -a {url} -c {data} -t EC -h /usr/share/uacme/uacme.sh \"$@\"; }}
[ -d {data} ] || uacme -y new || exit 1
uacme -f issue {domain} && {install} {data}/{domain}/cert.pem {data}/private/{domain}/key.pem",
            ca_file = site.pebble.ca_file().display(),
            url = site.pebble.directory_url(),
            data = site.path("data").display(),
            domain = site.domain,
            install = install.display(),
        ),
    );
    let tokens = site.tokens();
    site.peer("uacme (webroot)", move || {
        let mut command = Command::new(find_program("unshare"));
        command
            .args(["--mount", "--map-root-user"])
            .arg(&issue)
            .env("UACME_CHALLENGE_PATH", &tokens);
        command
    })
}

/// Caddy serves its certificates itself; what the CA asks for on nginx's port is passed on to it.
fn caddy(site: Site<'_>) -> Client {
    let (http, https) = (free_port(), free_port());
    let location = format!(
        "location ^~ /.well-known/acme-challenge/ {{ proxy_pass http://127.0.0.1:{http}; proxy_set_header Host $host; }}"
    );
    site.nginx
        .add(Server::of(&[&site.domain]).before(&location));
    let config = site.path("Caddyfile");
    let text = format!(
        "{{
    admin off
    http_port {http}
    https_port {https}
    default_bind 127.0.0.1
    storage file_system {data}
    acme_ca {url}
    acme_ca_root {ca_file}
    email ops@example.com
}}
{domain} {{
    tls {{
        issuer acme {{
            disable_tlsalpn_challenge
        }}
    }}
    respond caddy
}}
",
        data = site.path("data").display(),
        url = site.pebble.directory_url(),
        ca_file = site.pebble.ca_file().display(),
        domain = site.domain,
    );
    fs::write(&config, text).unwrap();
    let certificates = site.path("data").join("certificates");
    let home = site.directory.clone();
    Client {
        port: https,
        stays: true,
        before: Box::new(move || {
            let _ = fs::remove_dir_all(&certificates);
        }),
        ..site.peer("Caddy (from its start)", move || {
            let mut command = Command::new(find_program("caddy"));
            command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(&config)
                .env("HOME", &home);
            command
        })
    }
}

fn succeed(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
