//! A real nginx of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use super::process::accepts_connections;
use super::{Answer, Certificate, Process, Server, eventually, find_program, free_port, get};

/// How often other ports are tried when somebody else has taken them first.
const ATTEMPTS: usize = 5;

/// How many workers it starts.
const WORKERS: usize = 2;

/// nginx in a temporary directory: configuration, logs, pid and temporary files, on two ports of 127.0.0.1 (plain and TLS).
pub struct Nginx {
    directory: TempDir,
    program: PathBuf,
    http: u16,
    tls: u16,
    servers: Vec<Server>,
    process: Option<Process>,
}

impl Nginx {
    /// Running with these servers.
    pub fn serving(servers: impl IntoIterator<Item = Server>) -> Self {
        let mut nginx = Self::stopped(servers);
        nginx.start();
        nginx
    }

    /// Not yet running: whatever its servers name (a certificate, say) can still be put in place.
    pub fn stopped(servers: impl IntoIterator<Item = Server>) -> Self {
        let nginx = Self {
            directory: TempDir::with_prefix("nginx-").unwrap(),
            program: find_program("nginx"),
            http: free_port(),
            tls: free_port(),
            servers: servers.into_iter().collect(),
            process: None,
        };
        for directory in ["conf.d", "sidedoor.d"] {
            fs::create_dir(nginx.prefix().join(directory)).unwrap();
        }
        nginx.write_configuration();
        nginx
    }

    /// Starts, on other ports if somebody has taken ours in the meantime; panics with nginx's own words if it refuses.
    pub fn start(&mut self) {
        for _ in 0..ATTEMPTS {
            let mut command = self.command(&[]);
            command.args(["-g", "daemon off;"]);
            let mut process = Process::start(&command, &self.prefix().join("output.log"));
            // The pid file is written once all ports are bound, so the port that answers is ours; the kernel takes connections for it
            // before there is a worker.
            let (port, master) = (self.http, process.pid());
            let is_up = || {
                let is_bound = self.pid().is_some() && accepts_connections(port);
                (is_bound && workers_of(master).len() == WORKERS).then_some(())
            };
            match process.ready(is_up) {
                Ok(()) => {
                    self.process = Some(process);
                    return;
                }
                Err(refusal) if refusal.contains("Address already in use") => {
                    (self.http, self.tls) = (free_port(), free_port());
                    self.write_configuration();
                }
                Err(refusal) => panic!("{refusal}"),
            }
        }
        panic!("no free port for nginx in {ATTEMPTS} attempts");
    }

    /// Another server block, from the next start or reload on.
    pub fn add(&mut self, server: Server) {
        self.add_all([server]);
    }

    /// Other server blocks, from the next start or reload on.
    pub fn add_all(&mut self, servers: impl IntoIterator<Item = Server>) {
        self.servers.extend(servers);
        self.write_configuration();
    }

    /// A file which the `http` block includes: what another operator has written.
    pub fn write_elsewhere(&self, file: &str, content: &str) {
        fs::write(self.prefix().join("conf.d").join(file), content).unwrap();
    }

    /// `nginx -t`: `Err` holds what nginx said.
    pub fn test(&self) -> Result<(), String> {
        let Output { status, stderr, .. } = self.command(&["-t"]).output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        if status.success() { Ok(()) } else { Err(said) }
    }

    /// `nginx -s reload`, and waits until new workers have taken over and the old ones are gone.
    pub fn reload(&self) {
        let before = self.workers();
        let reload = self.command(&["-s", "reload"]).output().unwrap();
        assert!(reload.status.success(), "{reload:?}");
        eventually("new workers", Duration::from_secs(20), || {
            let now = self.workers();
            (now.len() == WORKERS && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    }

    /// The argv for sidedoor's `[nginx] test`.
    pub fn test_command(&self) -> Vec<String> {
        self.argv(&["-t"])
    }

    /// The argv for sidedoor's `[nginx] reload`.
    pub fn reload_command(&self) -> Vec<String> {
        self.argv(&["-s", "reload"])
    }

    /// The plain HTTP port.
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// The TLS port.
    pub fn tls_port(&self) -> u16 {
        self.tls
    }

    /// Its directory: everything it reads and writes is below.
    pub fn prefix(&self) -> &Path {
        self.directory.path()
    }

    /// The main configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.prefix().join("nginx.conf")
    }

    /// Where an app's doors are opened.
    pub fn door_directory(&self, app: &str) -> PathBuf {
        self.doors().join(app)
    }

    /// Where all doors are opened.
    pub fn doors(&self) -> PathBuf {
        self.prefix().join("sidedoor.d")
    }

    /// The master's process id.
    pub fn pid(&self) -> Option<u32> {
        let file = fs::read_to_string(self.prefix().join("nginx.pid")).ok()?;
        file.trim().parse().ok()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.prefix().join("error.log")).unwrap_or_default()
    }

    /// A GET over plain HTTP.
    pub fn get(&self, host: &str, path: &str) -> Answer {
        get(self.http, host, path)
    }

    /// The certificate it serves for a name.
    pub fn certificate(&self, name: &str) -> Certificate {
        Certificate::served(self.tls, name)
    }

    /// The worker processes, retiring ones too.
    pub fn workers(&self) -> Vec<u32> {
        let master = self.process.as_ref().map(Process::pid);
        master.map(workers_of).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let argv = self.argv(arguments);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        command
    }

    fn argv(&self, arguments: &[&str]) -> Vec<String> {
        let prefix = self.prefix().display();
        [
            self.program.display().to_string(),
            "-e".into(),
            format!("{prefix}/error.log"),
            "-p".into(),
            format!("{prefix}/"),
            "-c".into(),
            format!("{prefix}/nginx.conf"),
        ]
        .into_iter()
        .chain(arguments.iter().copied().map(str::to_owned))
        .collect()
    }

    fn write_configuration(&self) {
        let prefix = self.prefix().display();
        // Only root can become somebody else, and only root's workers have to stay root to read a temporary directory.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {prefix}/{kind};\n"))
            .collect();
        let servers: String = self
            .servers
            .iter()
            .enumerate()
            .map(|(nth, server)| server.render(nth, self.http, self.tls, &self.doors()))
            .collect();
        let configuration = format!(
            "{user}
worker_processes {WORKERS};
pid {prefix}/nginx.pid;
error_log {prefix}/error.log notice;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server_names_hash_bucket_size 128;
{temporary}    include {prefix}/conf.d/*.conf;
{servers}}}
"
        );
        fs::write(self.configuration(), configuration).unwrap();
    }
}

/// The workers of a master that have come as far as to bear their title, retiring ones too.
fn workers_of(master: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{master}/task/{master}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with(b"nginx: worker process")
        })
        .collect()
}
