//! An nginx of the test's own: its directory, its port, its process, all gone when it is dropped.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use sidedoor::nginx::configuration::Configuration;

/// A directory with an nginx configuration in it.
pub(crate) struct Site {
    root: tempfile::TempDir,
    /// A port that was free when the site was made; `{port}` in its files.
    pub(crate) port: u16,
}

impl Site {
    /// A site whose `http` block holds `http`. In this and all files `{port}` and `{root}` are filled in.
    pub(crate) fn new(http: &str) -> Self {
        let site = Self {
            root: tempfile::tempdir().unwrap(),
            port: free_port(),
        };
        site.with(
            "nginx.conf",
            &format!(
                "pid {{root}}/nginx.pid;\nerror_log {{root}}/error.log;\ndaemon off;\nmaster_process off;\nevents {{}}\nhttp {{\n\
                 access_log off; server_tokens off;\n\
                 client_body_temp_path {{root}}/t1; proxy_temp_path {{root}}/t2; fastcgi_temp_path {{root}}/t3;\n\
                 uwsgi_temp_path {{root}}/t4; scgi_temp_path {{root}}/t5;\n\
                 {http}\n}}\n"
            ),
        )
    }

    /// Adds a file.
    pub(crate) fn with(self, name: &str, content: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = content
            .replace("{port}", &self.port.to_string())
            .replace("{root}", &self.path("").display().to_string());
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// What the crate reads.
    pub(crate) fn configuration(&self) -> Configuration {
        Configuration::read(&self.path("nginx.conf")).unwrap()
    }

    /// What `nginx -t` says: whether all is well, and its words.
    pub(crate) fn test(&self) -> (bool, String) {
        let output = self.nginx().arg("-t").output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Starts nginx and waits until it listens.
    pub(crate) fn start(self) -> PrivateNginx {
        let mut child = self
            .nginx()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(self.path("error.log")).unwrap_or_default();
                panic!("nginx did not start ({status}): {log}\n{:?}", self.test());
            }
            // Written once nginx listens. (A connect could meet itself or another test's nginx.)
            if self.path("nginx.pid").exists() {
                return PrivateNginx { child, site: self };
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("nginx does not listen on port {}", self.port);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn nginx(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("-e")
            .arg(self.path("error.log"))
            .arg("-p")
            .arg(self.root.path())
            .arg("-c")
            .arg(self.path("nginx.conf"));
        command
    }
}

/// A port nobody listens on, below those that systems give to outgoing connections, and given to one test only.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(11_000 + offset % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The nginx to test against.
pub(crate) fn binary() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join("nginx"))
        .find(|candidate| candidate.is_file())
        .expect("these tests need nginx: install it (Debian: apt-get install nginx)")
}

/// A running nginx.
pub(crate) struct PrivateNginx {
    child: Child,
    pub(crate) site: Site,
}

impl PrivateNginx {
    /// The status and body of a GET; status 0 if nginx hung up.
    pub(crate) fn get(&self, host: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.site.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        // nginx may hang up at once; what it said until then counts.
        if let Err(error) = stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.read_to_end(&mut answer))
        {
            let hung_up = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(hung_up.contains(&error.kind()), "{error}");
        }
        let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
            return (0, answer);
        };
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer.split_off(head + 4))
    }

    /// The body of a GET of `/`, as text.
    pub(crate) fn body(&self, host: &str) -> String {
        String::from_utf8(self.get(host, "/").1).unwrap()
    }
}

impl Drop for PrivateNginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Always the same random texts of a pattern.
pub(crate) fn samples(pattern: &str, count: usize) -> impl Iterator<Item = String> {
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::string::string_regex(pattern).unwrap();
    std::iter::repeat_with(move || strategy.new_tree(&mut runner).unwrap().current()).take(count)
}
