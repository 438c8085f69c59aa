//! The `sidedoor` command with a configuration of a test's own.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::ending_with_us;
use super::{App, Certificate, Nginx, Pebble, Process, free_port};

/// sidedoor, set up for one nginx and one CA: configuration and state in a temporary directory.
pub struct Sidedoor {
    directory: TempDir,
    program: PathBuf,
    listen: u16,
    resolver: String,
    nginx: Vec<(&'static str, Vec<String>)>,
    doors: PathBuf,
    top: Vec<String>,
    acme: Vec<String>,
    apps: Vec<String>,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command in the background, the sidecar mostly; it ends with its owner.
pub struct Running {
    process: Process,
}

impl Sidedoor {
    /// Configured, with no app yet.
    pub fn beside(nginx: &Nginx, pebble: &Pebble) -> Self {
        Self {
            directory: TempDir::with_prefix("sidedoor-").unwrap(),
            program: program(),
            listen: free_port(),
            resolver: format!("resolver = [{:?}]", pebble.resolver()),
            nginx: vec![
                ("test", nginx.test_command()),
                ("reload", nginx.reload_command()),
            ],
            doors: nginx.doors(),
            top: Vec::new(),
            acme: vec![
                format!("directory = {:?}", pebble.directory_url()),
                "contact = [\"ops@example.com\"]".into(),
                "accept_terms = true".into(),
                format!("ca_file = {:?}", pebble.ca_file()),
            ],
            apps: Vec::new(),
        }
        .written()
    }

    /// With nothing around it but apps: an nginx that takes everything, and no CA. The data path alone is looked at.
    pub fn alone() -> Self {
        let directory = TempDir::with_prefix("sidedoor-").unwrap();
        let takes_everything = || vec!["true".to_owned()];
        Self {
            doors: directory.path().join("doors"),
            directory,
            program: program(),
            listen: free_port(),
            resolver: String::new(),
            top: Vec::new(),
            nginx: vec![("test", takes_everything()), ("reload", takes_everything())],
            acme: Vec::new(),
            apps: Vec::new(),
        }
        .written()
    }

    /// With a key at the top of the configuration.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.set_at_top(key, value);
        self
    }

    /// With an app, whose door opens in its own directory below nginx's doors.
    pub fn app(self, name: &str, domains: &[&str], app: &App) -> Self {
        self.app_with(name, domains, app, "")
    }

    /// With many apps, each with one name.
    pub fn apps<'a>(
        mut self,
        apps: impl IntoIterator<Item = (&'a str, &'a str)>,
        app: &App,
    ) -> Self {
        for (name, domain) in apps {
            self.add(name, &[domain], app, "");
        }
        self.written()
    }

    /// With an app and further lines in its table.
    pub fn app_with(mut self, name: &str, domains: &[&str], app: &App, lines: &str) -> Self {
        self.add(name, domains, app, lines);
        self.written()
    }

    fn add(&mut self, name: &str, domains: &[&str], app: &App, lines: &str) {
        let directory = self.doors.join(name);
        fs::create_dir_all(&directory).unwrap();
        self.apps.push(format!(
            "[[app]]\nname = {name:?}\ndomains = {domains:?}\nupstream = \"http://127.0.0.1:{}\"\ninclude_dir = {directory:?}\n{lines}\n",
            app.port()
        ));
    }

    /// Sets a key of `[acme]`, in place of what it was.
    pub fn set(&mut self, key: &str, value: &str) {
        set(&mut self.acme, key, value);
        self.write();
    }

    /// Sets a key at the top of the configuration, in place of what it was.
    pub fn set_at_top(&mut self, key: &str, value: &str) {
        set(&mut self.top, key, value);
        self.write();
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("sidedoor.toml")
    }

    /// `state_dir`.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where a lineage's newest key and certificate are.
    pub fn live(&self, name: &str) -> PathBuf {
        self.state().join("live").join(name)
    }

    /// The certificates that a lineage has had, placeholders not counted.
    pub fn versions(&self, name: &str) -> Vec<PathBuf> {
        fs::read_dir(self.state().join("archive").join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path().join("fullchain.pem"))
            .filter(|file| file.is_file())
            .filter(|file| Certificate::in_file(file).issuer.contains("Pebble"))
            .collect()
    }

    /// The port it listens on, for what comes through doors.
    pub fn port(&self) -> u16 {
        self.listen
    }

    /// A command line with this configuration.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.configuration())
            .args(arguments);
        command
    }

    /// Runs a command to its end.
    pub fn call<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Outcome {
        Outcome::of(&self.command(arguments))
    }

    /// Runs a command to its end, and is told each line of its standard error as it comes.
    pub fn follow<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        mut told: impl FnMut(&str),
    ) -> Outcome {
        let mut child = ending_with_us(&self.command(arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            told(&line);
            stderr.push_str(&line);
            stderr.push('\n');
        }
        let output = child.wait_with_output().unwrap();
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr,
        }
    }

    /// Starts the sidecar and waits until it serves and takes orders.
    pub fn run(&self) -> Running {
        self.start(["run", "-v"]).once_it_serves()
    }

    /// A sidecar that takes the place of the one that runs, with a further line in its configuration.
    pub fn taking_over_with(&self, line: &str) -> Command {
        let text = fs::read_to_string(self.configuration()).unwrap();
        let file = self.directory.path().join("changed.toml");
        fs::write(&file, format!("{line}\n{text}")).unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(file)
            .args(["run", "--take-over"]);
        command
    }

    /// A new sidecar in the place of the one that runs; returns once it is the one that takes orders.
    pub fn take_over(&self) -> Running {
        self.start(["run", "-v", "--take-over"]).once_it_serves()
    }

    /// Starts a sidecar as systemd's socket activation does: it is handed this socket.
    pub fn activated(&self, socket: &std::net::TcpListener) -> Running {
        let mut command = Command::new("sh");
        // The socket arrives as standard input, and is passed on as the first that is handed over.
        command
            .arg("-c")
            .arg("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"")
            .arg("sh")
            .arg(&self.program)
            .arg("--config")
            .arg(self.configuration())
            .args(["run", "-v"]);
        let handed = Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
        self.start_with(&command, handed)
    }

    /// The same state and apps, but with an admin socket of its own: a process that doesn't find the others.
    pub fn with_another_admin(&self) -> Command {
        let text = fs::read_to_string(self.configuration()).unwrap();
        let own = self.admin();
        let other = own.with_file_name("other.sock");
        let file = self.directory.path().join("other.toml");
        let text = text.replace(&own.display().to_string(), &other.display().to_string());
        fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(file);
        command
    }

    /// Starts a command, which goes on in the background.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Running {
        self.start_command(&self.command(arguments))
    }

    /// Starts a command as it is, which goes on in the background.
    pub fn start_command(&self, command: &Command) -> Running {
        self.start_with(command, Stdio::null())
    }

    fn start_with(&self, command: &Command, input: Stdio) -> Running {
        let log = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let (_, log) = log.keep().unwrap();
        Running {
            process: Process::start_with(command, &log, input),
        }
    }

    /// The admin socket.
    pub fn admin(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn written(self) -> Self {
        self.write();
        self
    }

    /// Writes the configuration anew.
    fn write(&self) {
        let listen = format!("listen = [\"127.0.0.1:{}\"]", self.listen);
        let says_where = |line: &String| line.starts_with("listen");
        let listen = match self.top.iter().any(says_where) {
            true => "",
            false => &listen,
        };
        let mut text = format!(
            "state_dir = {:?}\n{listen}\n{}\nadmin = \"unix:{}\"\n{}\n\n[acme]\n{}\n\n[nginx]\n",
            self.state(),
            self.resolver,
            self.admin().display(),
            self.top.join("\n"),
            self.acme.join("\n"),
        );
        for (key, argv) in &self.nginx {
            let _ = writeln!(text, "{key} = {argv:?}");
        }
        let _ = write!(text, "\n{}", self.apps.join("\n"));
        fs::write(self.configuration(), text).unwrap();
    }
}

impl Outcome {
    /// Of a command that is run to its end now.
    pub fn of(command: &Command) -> Self {
        let output = ending_with_us(command)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The exit status's number.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with all that was said unless it succeeded.
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// Panics with all that was said unless it exited with this status.
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }
}

impl Running {
    fn once_it_serves(mut self) -> Self {
        let log = self.process.log();
        let serves = || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.contains("sidedoor is running").then_some(())
        };
        self.process
            .ready(serves)
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(self) -> ExitStatus {
        self.ends_after(Signal::TERM)
    }

    /// Kills it without a word, and waits until it is gone.
    pub fn kill(self) {
        self.ends_after(Signal::KILL);
    }

    /// Sends it a signal, and waits until it has ended.
    pub fn ends_after(mut self, signal: Signal) -> ExitStatus {
        self.process.signal(signal);
        self.process.wait()
    }

    /// Waits until it has ended by itself.
    pub fn ends(mut self) -> ExitStatus {
        self.process.wait()
    }
}

fn set(lines: &mut Vec<String>, key: &str, value: &str) {
    lines.retain(|line| !line.starts_with(&format!("{key} = ")));
    lines.push(format!("{key} = {value}"));
}

/// The binary built beside this one: cargo names it to tests and benches; an example finds it a directory above its own.
fn program() -> PathBuf {
    option_env!("CARGO_BIN_EXE_sidedoor").map_or_else(
        || {
            let own = std::env::current_exe().unwrap();
            let built = own.ancestors().nth(2).unwrap_or(Path::new("."));
            built.join("sidedoor")
        },
        PathBuf::from,
    )
}
