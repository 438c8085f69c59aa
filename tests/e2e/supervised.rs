//! What a supervisor hears that speaks systemd's protocol (sd_notify(3)): a socket of a test's own stands in for it.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

use crate::support::{App, Running, Sidedoor, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
/// Between two signs of life lies half of what is allowed.
const WATCHDOG: Duration = Duration::from_secs(1);

/// Somebody who starts a sidecar and listens to it.
struct Supervisor {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    fn of(sidedoor: &Sidedoor) -> Self {
        let path = sidedoor.configuration().with_file_name("notify.sock");
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path,
        }
    }

    fn start(&self, sidedoor: &Sidedoor) -> Running {
        let run = sidedoor.command(["run", "-v"]);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("export WATCHDOG_PID=$$; exec \"$@\"")
            .arg("sh")
            .arg(run.get_program())
            .args(run.get_args())
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        sidedoor.start_command(&command)
    }

    /// What is said next; nothing if nothing is for so long.
    fn hear(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut said = [0; 1024];
        let length = self.socket.recv(&mut said).ok()?;
        Some(String::from_utf8_lossy(&said[..length]).into_owned())
    }

    /// Listens until this is said.
    fn hear_of(&self, line: &str) {
        eventually(line, PATIENCE, || {
            let said = self.hear(PATIENCE)?;
            said.lines().any(|said| said == line).then_some(())
        });
    }

    /// Whether, for twice the time allowed, nothing is said. What was said before is passed over.
    fn hears_nothing_more(&self) {
        let begun = Instant::now();
        while let Some(said) = self.hear(2 * WATCHDOG) {
            assert!(begun.elapsed() < PATIENCE, "still said: {said}");
        }
    }
}

fn sidedoor() -> Sidedoor {
    let app = App::named("shop");
    Sidedoor::alone().app_with("shop", &["shop.example"], &app, "enabled = false")
}

#[test]
fn a_supervisor_hears_that_it_is_ready_alive_reloading_and_stopping() {
    let sidedoor = sidedoor();
    let supervisor = Supervisor::of(&sidedoor);
    let sidecar = supervisor.start(&sidedoor);
    supervisor.hear_of("READY=1");
    UnixStream::connect(sidedoor.admin()).unwrap();
    sidedoor.call(["status"]).succeeded();
    for _ in 0..3 {
        let begun = Instant::now();
        supervisor.hear_of("WATCHDOG=1");
        assert!(begun.elapsed() < WATCHDOG, "{:?}", begun.elapsed());
    }
    sidecar.signal(Signal::HUP);
    supervisor.hear_of("RELOADING=1");
    supervisor.hear_of("READY=1");
    sidecar.signal(Signal::TERM);
    supervisor.hear_of("STOPPING=1");
    assert!(sidecar.ends().success());
}

#[test]
fn signs_of_life_stop_while_the_manager_hangs() {
    let sidedoor = sidedoor();
    let supervisor = Supervisor::of(&sidedoor);
    let sidecar = supervisor.start(&sidedoor);
    supervisor.hear_of("WATCHDOG=1");
    // Whoever looks at this lineage waits for somebody to write.
    let lineage = sidedoor.state().join("lineages/hung.json");
    fs::create_dir_all(lineage.parent().unwrap()).unwrap();
    mkfifoat(CWD, &lineage, Mode::RUSR | Mode::WUSR).unwrap();
    let file = sidedoor.configuration();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[acme]", "[acme]\nkeep = 7")).unwrap();
    supervisor.hear_of("RELOADING=1");
    supervisor.hears_nothing_more();
    let released = lineage.with_extension("released");
    fs::rename(&lineage, &released).unwrap();
    fs::write(&released, "{}").unwrap();
    supervisor.hear_of("WATCHDOG=1");
    assert!(sidecar.stop().success());
}
