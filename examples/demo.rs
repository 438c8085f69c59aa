//! `make demo`: one issuance, whole, through a real nginx whose app has users all the while.
//!
//! Everything runs on unprivileged ports of 127.0.0.1 and in temporary directories, and is gone afterwards.
// Where the scene can't be set up there is nothing to show.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sidedoor::issuance::ensure_placeholder;
use sidedoor::store::Store;
use support::{
    App, Certificate, Kind, Load, Nginx, Outcome, Pebble, Server, Sidedoor, Tally, Tree,
};

const NAMES: [&str; 2] = ["shop.example", "www.shop.example"];

/// The users' requests before the command starts, and after it has ended (nginx's old workers may still be about then).
const BEFORE: u64 = 1_500;
const AFTER: u64 = 3_000;

/// Ctrl-C was pressed. The children have had it too: whatever is under way ends by itself.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    thread::spawn(watch_for_ctrl_c);
    let style = Style::of_this_terminal();
    let scene = Scene::set();
    scene.introduce(&style);
    let shown = scene.play(&style);
    let Scene { nginx, doors, .. } = &scene;
    let mut failures = shown.failures;
    if let Err(words) = nginx.test() {
        failures.push(format!("nginx's configuration is no longer valid: {words}"));
    }
    if !Tree::of(doors).includes().is_empty() {
        failures.push(format!("a door is left in {}", doors.display()));
    }
    drop(scene);
    println!();
    if failures.is_empty() {
        println!(
            "{}",
            style.good("Done. Nothing is left running, and no file is left behind.")
        );
        return ExitCode::SUCCESS;
    }
    for failure in failures {
        println!("{}", style.bad(&failure));
    }
    ExitCode::FAILURE
}

/// An app with users behind an nginx, and a CA that knows how to get there.
struct Scene {
    sidedoor: Sidedoor,
    pebble: Pebble,
    nginx: Nginx,
    app: App,
    doors: std::path::PathBuf,
}

/// What went wrong, if anything did.
struct Shown {
    failures: Vec<String>,
}

impl Scene {
    fn set() -> Self {
        let app = App::named("Welcome to the shop!");
        let mut nginx = Nginx::stopped([Server::of(&NAMES).to(&app).with_door("shop")]);
        let pebble = Pebble::visiting(&nginx).start();
        let sidedoor = Sidedoor::beside(&nginx, &pebble).app("shop", &NAMES, &app);
        // As `sidedoor run` does when it starts: nginx names the certificate's files, and has to find some.
        let store = Store::open(&sidedoor.state()).unwrap();
        let identifiers = NAMES.map(|name| name.parse().unwrap());
        ensure_placeholder(&store, &"shop".parse().unwrap(), &identifiers).unwrap();
        let live = sidedoor.live("shop");
        nginx.add(
            Server::of(&NAMES)
                .to(&app)
                .with_door("shop")
                .over_tls(&live),
        );
        nginx.start();
        let doors = nginx.doors();
        Self {
            sidedoor,
            pebble,
            nginx,
            app,
            doors,
        }
    }

    fn introduce(&self, style: &Style) {
        let (http, tls) = (self.nginx.http_port(), self.nginx.tls_port());
        println!(
            "\n{}\n",
            style.title("sidedoor: one certificate through a real nginx, under load")
        );
        for (what, where_it_is) in [
            ("app", format!("http://127.0.0.1:{}", self.app.port())),
            (
                "nginx before it",
                format!("http://127.0.0.1:{http} and https://127.0.0.1:{tls}"),
            ),
            ("CA (Pebble)", self.pebble.directory_url()),
            ("names", NAMES.join(", ")),
            (
                "users",
                "2,000 requests a second, over kept-alive and new connections, some over TLS"
                    .into(),
            ),
        ] {
            println!("  {what:16} {where_it_is}");
        }
        let served = self.nginx.certificate(NAMES[0]);
        println!("  {:16} {}", "served so far", described(&served));
    }

    fn play(&self, style: &Style) -> Shown {
        let Self {
            sidedoor,
            nginx,
            app,
            ..
        } = self;
        let http = Load::on(nginx, NAMES[0], app).per_second(1_800).start();
        let tls = Load::on(nginx, NAMES[1], app)
            .over_tls(nginx.tls_port())
            .users(2, 1)
            .per_second(200)
            .start();
        http.reach(BEFORE);

        println!("\n{}\n", style.title("$ sidedoor issue shop -v"));
        let arguments = ["issue", "shop", "-v", "--log-format", "json"];
        let outcome = sidedoor.follow(arguments, |line| {
            if let Some(step) = Step::in_log(line) {
                step.show(style);
            }
        });
        if !INTERRUPTED.load(Ordering::Relaxed) {
            http.reach(http.sent() + AFTER);
        }
        let mut tally = http.stop();
        tally.add(&tls.stop());

        let mut failures = self.show_certificate(style, &outcome);
        show_users(style, &tally);
        if tally.total().failed > 0 {
            failures.push(format!("{} requests failed", tally.total().failed));
        }
        Shown { failures }
    }

    fn show_certificate(&self, style: &Style, outcome: &Outcome) -> Vec<String> {
        println!("\n{}\n", style.title("What nginx serves now"));
        let mut failures = Vec::new();
        for name in NAMES {
            let served = self.nginx.certificate(name);
            println!("  {name:16} {}", described(&served));
            if !self.pebble.vouches_for(&self.nginx, name) {
                failures.push(format!(
                    "nginx serves no certificate of the CA's for {name}"
                ));
            }
        }
        if !outcome.status.success() {
            failures.push(format!(
                "sidedoor ended with {}:\n{}{}",
                outcome.status, outcome.stdout, outcome.stderr
            ));
        }
        failures
    }
}

fn described(certificate: &Certificate) -> String {
    let Certificate {
        names,
        issuer,
        not_after,
        ..
    } = certificate;
    let issuer = if issuer.is_empty() {
        "itself (a placeholder)"
    } else {
        issuer
    };
    format!(
        "{}, by {issuer}, good until {} {:02}:{:02} UTC",
        names.join(" and "),
        not_after.date(),
        not_after.hour(),
        not_after.minute()
    )
}

fn show_users(style: &Style, tally: &Tally) {
    println!("\n{}\n", style.title("What the users saw"));
    for kind in [Kind::KeptAlive, Kind::New] {
        let counts = tally.of(kind);
        println!(
            "  {:16} {:>6} requests over {} connections, {} failed",
            kind.to_string(),
            counts.sent,
            counts.connections,
            counts.failed
        );
    }
    let total = tally.total();
    let result = format!("{:>6} of {} requests failed", total.failed, total.sent);
    let result = if total.failed == 0 {
        style.good(&result)
    } else {
        style.bad(&result)
    };
    println!("  {:16} {result}", "together");
    for (reason, count) in tally.reasons() {
        println!("  {:16} {count:>6} × {reason}", "");
    }
    if total.repeated > 0 {
        println!(
            "  {:16} {:>6} kept-alive connections were closed by nginx's old workers while idle; the next request",
            "", total.repeated
        );
        println!(
            "  {:16}        went over a new one, as HTTP/1.1 has it (RFC 9112 9.3.1)",
            ""
        );
    }
}

/// One step of the issuance, as the command's log tells it.
struct Step {
    name: String,
    elapsed: Duration,
    detail: String,
}

impl Step {
    fn in_log(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let fields = event.get("fields").unwrap_or(&event);
        Some(Self {
            name: fields.get("step")?.as_str()?.to_owned(),
            elapsed: Duration::from_millis(fields.get("elapsed_ms")?.as_u64()?),
            detail: fields
                .get("detail")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        })
    }

    fn show(&self, style: &Style) {
        let (said, is_milestone) = match self.name.as_str() {
            "begun" => ("begun", false),
            "door-written" => ("door written", false),
            "tested" => ("nginx -t passed", false),
            "reloaded" => ("nginx reloads", false),
            "account" => ("account at hand", false),
            "ordered" => ("order placed", false),
            "door-proven" => ("DOOR OPEN, PROVEN", true),
            "tokens-in" => ("tokens are in", false),
            "visited" => ("THE CA VISITS", true),
            "order-ready" => ("the CA is content", false),
            "finalised" => ("request sent", false),
            "certificate" => ("CERTIFICATE", true),
            "saved" => ("saved", false),
            "flipped" => ("live link flipped", false),
            "live" => ("LIVE", true),
            "door-closed" => ("DOOR CLOSED", true),
            other => (other, false),
        };
        let said = format!("{said:18}");
        let said = if is_milestone {
            style.good(&said)
        } else {
            said
        };
        let detail = match self.name.as_str() {
            // All is said already.
            "tested" | "reloaded" => "",
            _ => &self.detail,
        };
        let seconds = self.elapsed.as_secs_f64();
        let line = format!("  {seconds:>6.3} s  {said}  {detail}");
        println!("{}", line.trim_end());
    }
}

/// Colours, where there is a terminal to show them.
struct Style {
    coloured: bool,
}

impl Style {
    fn of_this_terminal() -> Self {
        Self {
            coloured: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn title(&self, text: &str) -> String {
        self.painted("1", text)
    }

    fn good(&self, text: &str) -> String {
        self.painted("1;32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.painted("1;31", text)
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Keeps this process alive, so that it can put everything away.
fn watch_for_ctrl_c() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
}
