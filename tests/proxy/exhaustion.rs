//! What runs out and what leaks: each test alone in a process of its own, because limits and counts are the process's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;

use crate::support::{App, PATIENCE, Site, Wire};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const ALONE: &str = "SIDEDOOR_TEST_ALONE";

/// Runs a test once more in a process of its own; says whether this is that process.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn limit_files(limit: u64) {
    let hard = getrlimit(Resource::Nofile).maximum;
    assert!(
        hard.is_none_or(|hard| hard >= limit),
        "this test needs {limit} open files, and the hard limit is {hard:?}"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(limit),
            maximum: hard,
        },
    )
    .unwrap();
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn without_file_descriptors_open_connections_are_served_and_new_ones_wait() {
    if !is_alone(
        "exhaustion::without_file_descriptors_open_connections_are_served_and_new_ones_wait",
    ) {
        return;
    }
    let app = App::hello();
    let site = Site::before(&app);
    let mut first = site.client();
    assert!(first.send(GET).answer().ends_with("hello"));
    // Every client takes a descriptor here and one in the proxy: the last ones connect, but can't be accepted.
    limit_files(open_files() as u64 + 20);
    let mut clients = Vec::new();
    while let Ok(stream) = TcpStream::connect(site.address) {
        clients.push(Wire::new(stream));
    }
    assert!(clients.len() > 10, "{}", clients.len());
    for _ in 0..10 {
        assert!(first.send(GET).answer().ends_with("hello"));
    }
    let mut last = clients.pop().unwrap();
    last.send(GET);
    clients.clear();
    assert!(last.answer().ends_with("hello"));
}

#[test]
fn faults_leak_neither_files_nor_connections() {
    if !is_alone("exhaustion::faults_leak_neither_files_nor_connections") {
        return;
    }
    let app =
        App::serving(|guest| {
            while let Some(request) = guest.request() {
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                match path.as_str() {
                "/garbage" => guest.wire.send("nonsense\r\n\r\n"),
                "/half" => guest.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
                "/silent" => {
                    guest.wire.read_to_end();
                    return;
                }
                "/reset" => {
                    SockRef::from(&guest.wire.stream)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    return;
                }
                "/upgrade" => guest.wire.send(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
                ),
                _ => {
                    guest.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    continue;
                }
            };
                return;
            }
        });
    let mut site = Site::with_settings(&app, |settings| {
        settings.limits.response_time = Duration::from_millis(20);
        settings.limits.header_time = Duration::from_millis(20);
        settings.limits.body_idle_time = Duration::from_millis(20);
        settings.limits.upstream_idle_time = Duration::from_millis(20);
    });
    let round = |site: &Site| {
        for path in ["/garbage", "/half", "/silent", "/reset", "/fine"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            site.client().send(&request).answer();
            // And once more by a client that doesn't wait.
            site.client().send(&request);
        }
        let upgrade =
            "GET /upgrade HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        site.client().send(upgrade).read_message(false);
        site.client().send("GET / HTT").answer();
        let body = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nx";
        site.client().send(body).answer();
        site.client().send("\0\r\n\r\n").answer();
    };
    let is_quiet = |site: &Site| {
        let metrics = site.metrics();
        metrics.contains("\nsidedoor_connections 0\n") && metrics.contains("\nsidedoor_tunnels 0\n")
    };
    round(&site);
    wait_until("all connections end", || is_quiet(&site));
    wait_until("upstream connections are given up", || open_files() < 30);
    let before = open_files();
    let memory = resident_kib();
    for _ in 0..100 {
        round(&site);
    }
    wait_until("all connections end", || is_quiet(&site));
    wait_until("all files are closed", || open_files() <= before);
    // Some 2,000 connections, each of which takes 10 KiB while it lives.
    let grown = resident_kib().saturating_sub(memory);
    assert!(grown < 4 * 1024, "{grown} KiB more than before");
    // A task that hangs would keep the drain from ending.
    let proxy = site.proxy.take().unwrap();
    let start = Instant::now();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(proxy.drain(PATIENCE));
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn five_thousand_resting_connections_are_small_and_in_nobodys_way() {
    if !is_alone("exhaustion::five_thousand_resting_connections_are_small_and_in_nobodys_way") {
        return;
    }
    const COUNT: usize = 5_000;
    limit_files(12_000);
    let app = App::hello();
    let site = Site::before(&app);
    // What the clients take is in the process's memory as well, but not much.
    let before = resident_kib();
    let mut resting = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut client = site.client();
        assert!(client.send(GET).answer().ends_with("hello"));
        resting.push(client);
    }
    let each = resident_kib().saturating_sub(before) as f64 / COUNT as f64;
    assert!(
        each < 8.0,
        "{each} KiB per resting connection, both ends together"
    );
    let mut busy = site.client();
    for _ in 0..1_000 {
        assert!(busy.send(GET).answer().ends_with("hello"));
    }
    for client in &mut resting {
        assert!(client.send(GET).answer().ends_with("hello"));
    }
}

/// More than fits anywhere, in either direction.
const LARGE: usize = 10 << 30;
const PIECE: usize = 1 << 20;

/// Sends a large body.
fn pour(stream: &mut TcpStream) {
    let piece = vec![b'x'; PIECE];
    for _ in 0..LARGE / PIECE {
        stream.write_all(&piece).unwrap();
    }
}

/// Reads a large body, slower now and then, so that whoever gathers has something to gather; the most memory that was in use meanwhile.
fn drink(stream: &mut TcpStream, ahead: usize) -> usize {
    let mut piece = vec![0; PIECE];
    let (mut read, mut highest) = (ahead, 0);
    while read < LARGE {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the body ends after {read} bytes");
        read += count;
        if read % (1 << 28) < count {
            std::thread::park_timeout(Duration::from_millis(5));
            highest = highest.max(resident_kib());
        }
    }
    assert_eq!(read, LARGE);
    highest
}

#[test]
fn ten_gibibytes_down_take_no_memory() {
    if !is_alone("exhaustion::ten_gibibytes_down_take_no_memory") {
        return;
    }
    let app = App::serving(|guest| {
        guest.wire.read_until(b"\r\n\r\n");
        guest.wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ));
        pour(&mut guest.wire.stream);
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(GET).read_until(b"\r\n\r\n");
    let before = resident_kib();
    let ahead = client.take_ahead();
    let highest = drink(&mut client.stream, ahead);
    assert!(
        highest < before + 8 * 1024,
        "{highest} KiB, {before} before"
    );
}

#[test]
fn ten_gibibytes_up_take_no_memory() {
    if !is_alone("exhaustion::ten_gibibytes_up_take_no_memory") {
        return;
    }
    let app = App::serving(|guest| {
        guest.wire.read_until(b"\r\n\r\n");
        let ahead = guest.wire.take_ahead();
        let highest = drink(&mut guest.wire.stream, ahead).to_string();
        let length = highest.len();
        guest.wire.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{highest}"
        ));
    });
    let site = Site::before(&app);
    let mut client = site.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    let before = resident_kib();
    pour(&mut client.stream);
    let answer = client.answer();
    let (_, highest) = answer.split_once("\r\n\r\n").unwrap();
    let highest: usize = highest.parse().unwrap();
    assert!(
        highest < before + 8 * 1024,
        "{highest} KiB, {before} before"
    );
}
