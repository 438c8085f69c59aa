//! nginx's master process, told directly to read its configuration, and its workers, seen to retire.
//!
//! `nginx -s reload` reads the whole configuration only to find the master's process id: 1.7 s of computing with 1,000 TLS hosts
//! (measured), right after our own test has read it. So where the reload command is nginx's own, and the master is there and ours to
//! signal, it gets its SIGHUP from us; in every other case the command is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::survey::Surveyor;
use super::verdict;
use crate::config::Commands;

/// Between two looks at whether there are new workers.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Where the master's process id is found.
#[derive(Debug)]
pub struct Master {
    surveyor: Arc<Surveyor>,
    is_nginx_s_reload: bool,
    pid_file: OnceCell<Option<PathBuf>>,
}

impl Master {
    /// The master that these commands are about.
    pub fn new(commands: &Commands, surveyor: Arc<Surveyor>) -> Self {
        Self {
            surveyor,
            is_nginx_s_reload: is_nginx_s_reload(&commands.reload),
            pid_file: OnceCell::new(),
        }
    }

    /// Signals the master; `false` if the command has to be run instead.
    pub async fn reload(&self) -> bool {
        match self.process().await {
            Some(master) if self.is_nginx_s_reload => kill_process(master, Signal::HUP).is_ok(),
            _ => false,
        }
    }

    /// The workers that answer now; none where the master can't be seen from here.
    pub async fn workers(&self) -> Vec<Worker> {
        self.process().await.map(workers_of).unwrap_or_default()
    }

    /// Waits until there are others than these: the master has read its configuration. Not for longer than `limit`, since it may have
    /// refused it.
    pub async fn succeeded(&self, old_workers: &[Worker], limit: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            let now = self.workers().await;
            if now.is_empty() || now.iter().any(|worker| !old_workers.contains(worker)) {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn process(&self) -> Option<Pid> {
        let pid_file = self.pid_file.get_or_init(|| self.surveyor.pid_file()).await;
        pid_file.as_deref().and_then(master_in)
    }
}

/// One of nginx's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker(i32);

impl Worker {
    #[cfg(test)]
    pub(super) fn of(pid: u32) -> Self {
        Self(pid as i32)
    }

    /// Whether it takes no connection any more. nginx says so in the title of the process just before it closes its listeners.
    pub fn has_retired(self) -> bool {
        !is_worker(self.0)
    }
}

fn workers_of(master: Pid) -> Vec<Worker> {
    let children = children_of(master.as_raw_nonzero().get()).into_iter();
    children.filter(|pid| is_worker(*pid)).map(Worker).collect()
}

fn children_of(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process is a worker that takes connections.
fn is_worker(pid: i32) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    takes_connections(&title) && (is_titled(&title) || !has_children(pid))
}

/// One that retires is called "worker process is shutting down"; one that was forked just now still has its master's title.
fn takes_connections(title: &[u8]) -> bool {
    let ours = title.strip_prefix(b"nginx: ");
    ours.is_some_and(|ours| {
        let others = [&b"worker process is shutting"[..], b"cache "];
        !others.iter().any(|other| ours.starts_with(other))
    })
}

fn is_titled(title: &[u8]) -> bool {
    title.starts_with(b"nginx: worker process")
}

/// A master of another binary, which an upgrade has started beside this one, has workers of its own.
fn has_children(pid: i32) -> bool {
    !children_of(pid).is_empty()
}

/// Whether a command is nginx itself, told to reload: not behind `sudo` or in a container, whose nginx is another's.
fn is_nginx_s_reload(command: &[String]) -> bool {
    let Some((program, options)) = command.split_first() else {
        return false;
    };
    let says_reload = options.windows(2).any(|pair| pair == ["-s", "reload"]);
    // With -g the process id may be anywhere.
    verdict::is_nginx(program)
        && says_reload
        && !options.iter().any(|option| option.starts_with("-g"))
}

/// The process that a pid file names, if it is an nginx master: the file may be left over, and its number somebody else's by now.
fn master_in(pid_file: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    title
        .starts_with(b"nginx: master process")
        .then(|| Pid::from_raw(pid))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nginx_s_own_command_is_replaced() {
        for (command, own) in [
            ("nginx -s reload", true),
            ("/usr/sbin/nginx -c /etc/nginx/nginx.conf -s reload", true),
            ("sudo nginx -s reload", false),
            ("docker exec web nginx -s reload", false),
            ("systemctl reload nginx", false),
            ("nginx -s reopen", false),
            ("nginx -g pid\\ /x; -s reload", false),
            ("", false),
        ] {
            let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(is_nginx_s_reload(&command), own, "{command:?}");
        }
    }

    #[test]
    fn a_worker_takes_connections_from_its_fork_until_it_retires() {
        for (title, takes) in [
            // Forked, and not titled yet: it is about to take them.
            ("nginx: master process /usr/sbin/nginx", true),
            ("nginx: worker process", true),
            ("nginx: worker process is shutting down", false),
            ("nginx: cache manager process", false),
            ("nginx: cache loader process", false),
            ("", false),
            ("sleep 1", false),
        ] {
            assert_eq!(takes_connections(title.as_bytes()), takes, "{title:?}");
        }
    }

    #[test]
    fn a_pid_file_that_is_left_over_names_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nginx.pid");
        assert_eq!(master_in(&file), None);
        // Ourselves: alive, but no nginx.
        for left in [
            "",
            "no number",
            "-1",
            "0",
            &std::process::id().to_string(),
            "99999999",
        ] {
            fs::write(&file, left).unwrap();
            assert_eq!(master_in(&file), None, "{left:?}");
        }
    }
}
