//! One child process and all it starts itself, ended with their owner.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::eventually;

/// Longer than any of our servers takes to start or stop on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// So long a process has to end by itself, and to see its own children out, before it is killed.
const POLITENESS: Duration = Duration::from_secs(2);

/// Where servers are installed that an ordinary user's `PATH` leaves out.
const FURTHER_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// A child process in a group of its own; the whole group is gone after drop.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output, both kinds, goes to the file `log`.
    pub fn start(command: &Command, log: &Path) -> Self {
        Self::start_with(command, log, Stdio::null())
    }

    /// The same, with a standard input.
    pub fn start_with(command: &Command, log: &Path, input: Stdio) -> Self {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let output = File::create(log).unwrap();
        let child = ending_with_us(command)
            .stdin(input)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self {
            name,
            child,
            log: log.to_owned(),
        }
    }

    /// The process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it writes.
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for a sign of readiness. If the process ends before, its output is the error.
    pub fn ready<T>(&mut self, mut sign: impl FnMut() -> Option<T>) -> Result<T, String> {
        let what = format!("{} is ready", self.name);
        let start = Instant::now();
        eventually(&what, 2 * DEADLINE, || {
            let unready = match self.ended() {
                Some(status) => format!("ended with {status}"),
                None if start.elapsed() > DEADLINE => "isn't ready".to_owned(),
                None => return sign().map(Ok),
            };
            Some(Err(format!("{} {unready}: {}", self.name, self.output())))
        })
    }

    /// Sends it a signal (to it alone, not to its group).
    pub fn signal(&self, signal: Signal) {
        // A process that has just ended needs no signal.
        let _ = kill_process(pid(&self.child), signal);
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, DEADLINE, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        // One that was paused hears nothing else.
        self.signal(Signal::CONT);
        let asked = Instant::now();
        while asked.elapsed() < POLITENESS && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(2));
        }
        // Also when the child itself is gone: nginx's workers outlive a killed master.
        let _ = kill_process_group(pid(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// The same command, which is also told to end if the thread that started it dies without a word (a killed test binary).
pub(super) fn ending_with_us(command: &Command) -> Command {
    static SETPRIV: LazyLock<bool> = LazyLock::new(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    let mut ending = if *SETPRIV {
        let mut ending = Command::new("setpriv");
        ending
            .args(["--pdeathsig", "TERM"])
            .arg(command.get_program());
        ending
    } else {
        Command::new(command.get_program())
    };
    ending.args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => ending.env(key, value),
            None => ending.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        ending.current_dir(directory);
    }
    ending
}

/// Where a program is installed; panics with what to do if it isn't.
pub fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FURTHER_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: run `make needs`"))
}

/// Whether somebody accepts connections on this port of 127.0.0.1.
pub(super) fn accepts_connections(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
