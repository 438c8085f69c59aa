//! The command beside a pretended nginx that takes everything: what it says, how it ends, and that it leaves no door.
// Nothing here but tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A configuration with one app, and a CA that takes connections and never answers.
struct Place {
    directory: TempDir,
    ca: TcpListener,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            ca: TcpListener::bind("127.0.0.1:0").unwrap(),
        };
        let text = format!(
            "state_dir = \"state\"\nlisten = [\"127.0.0.1:0\"]\nresolver = []\nadmin = \"unix:{}/admin.sock\"\n\
             [acme]\ndirectory = \"https://{}/dir\"\naccept_terms = true\n\
             [nginx]\ntest = [\"true\"]\nreload = [\"true\"]\nprove = false\n\
             [[app]]\nname = \"shop\"\ndomains = [\"shop.example\"]\ninclude_dir = \"doors\"\n",
            place.directory.path().display(),
            place.ca.local_addr().unwrap(),
        );
        fs::write(place.configuration(), text).unwrap();
        place
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("sidedoor.toml")
    }

    fn doors(&self) -> usize {
        fs::read_dir(self.directory.path().join("doors")).map_or(0, Iterator::count)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidedoor"));
        command
            .arg("--config")
            .arg(self.configuration())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

/// A command that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_command_whose_terminal_is_gone_still_ends_as_it_should() {
    let place = Place::new();
    let mut issue = Ended(
        place
            .command(&["issue", "-vv"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    drop(issue.0.stderr.take());
    let (_waits, _) = place.ca.accept().unwrap();
    let pid = Pid::from_child(&issue.0);
    kill_process(pid, Signal::HUP).unwrap();
    let status = issue.0.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
}

#[test]
fn a_door_opened_alone_is_closed_by_another_command_and_both_end_well() {
    let place = Place::new();
    for _ in 0..5 {
        let mut open = Ended(
            place
                .command(&["open", "shop"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let mut said = BufReader::new(open.0.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("stays and answers")));
        let socket = place.directory.path().join("admin.sock");
        while !socket.exists() {
            std::thread::yield_now();
        }
        assert_eq!(place.doors(), 1);
        let closed = place.command(&["close", "shop"]).output().unwrap();
        let words = String::from_utf8(closed.stdout).unwrap();
        assert!(closed.status.success(), "{words}{:?}", closed.stderr);
        assert_eq!(words, "the door of shop is closed\n");
        assert!(open.0.wait().unwrap().success());
        assert_eq!(place.doors(), 0);
    }
}

#[test]
fn closing_what_can_not_be_closed_is_no_success() {
    let place = Place::new();
    // What is no file can't be removed as one.
    let door = place.directory.path().join("doors/00-sidedoor.conf");
    fs::create_dir_all(&door).unwrap();
    for arguments in [&["close", "shop"][..], &["close", "--all"]] {
        let closed = place.command(arguments).output().unwrap();
        let words = String::from_utf8(closed.stderr).unwrap();
        assert_eq!(closed.status.code(), Some(1), "{words}");
        assert!(words.contains("next: "), "{words}");
    }
}
