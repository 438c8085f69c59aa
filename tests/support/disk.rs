//! A disk that is as full as a test wants it to be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// More than any test needs.
const ROOMY: &str = "size=64m,nr_inodes=100000";

/// A directory on a file system of its own, which can run full or be read-only. Only root can have that; for anybody else it is a
/// directory that can be closed to its owner, which comes to the same for whoever wants to write there.
pub struct Disk {
    path: PathBuf,
    is_mounted: bool,
}

/// What there is little of.
#[derive(Debug, Clone, Copy)]
pub enum Scarce {
    /// Room for so many further files.
    Files(u32),
    /// Room for so many further KiB.
    Kibibytes(u32),
    /// No room at all, and no removing either.
    ReadOnly,
}

impl Disk {
    /// At this path, which must not hold anything yet.
    pub fn at(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        let is_mounted = geteuid().is_root();
        if is_mounted {
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("{ROOMY},mode=0755"), "none"])
                .arg(path));
        }
        Self {
            path: path.to_owned(),
            is_mounted,
        }
    }

    /// Whether it can run full, rather than only be closed.
    pub fn can_run_full(&self) -> bool {
        self.is_mounted
    }

    /// Room becomes scarce.
    pub fn has_little(&self, scarce: Scarce) {
        match scarce {
            _ if !self.is_mounted => self.close(0o500),
            Scarce::Files(spare) => {
                self.remount(&format!("nr_inodes={}", self.used("iused") + spare))
            }
            Scarce::Kibibytes(spare) => {
                self.remount(&format!("size={}k", self.used("used") + spare))
            }
            Scarce::ReadOnly => self.remount("ro"),
        }
    }

    /// There is room again.
    pub fn has_room(&self) {
        match self.is_mounted {
            true => self.remount(&format!("rw,{ROOMY}")),
            false => self.close(0o700),
        }
    }

    fn remount(&self, options: &str) {
        run(Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path));
    }

    fn used(&self, what: &str) -> u32 {
        let mut df = Command::new("df");
        let output = df.arg(format!("--output={what}")).arg(&self.path).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        output.lines().nth(1).unwrap().trim().parse().unwrap()
    }

    /// Every directory of it.
    fn close(&self, mode: u32) {
        let mut ahead = vec![self.path.clone()];
        while let Some(directory) = ahead.pop() {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&directory, mode).unwrap();
            let entries = fs::read_dir(&directory).unwrap().map(Result::unwrap);
            let directories = entries.filter(|entry| entry.file_type().unwrap().is_dir());
            ahead.extend(directories.map(|entry| entry.path()));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        match self.is_mounted {
            true => drop(Command::new("umount").arg("-l").arg(&self.path).status()),
            // So that it can be removed.
            false => self.close(0o700),
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}
