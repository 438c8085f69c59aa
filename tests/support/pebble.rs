//! Pebble, Let's Encrypt's test CA, and the name server it asks.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::certificate::{connect_tls, trusting};
use super::exchange::{connect, exchange};
use super::newer::newer_pebble;
use super::process::accepts_connections;
use super::{Answer, Authority, Nginx, Process, find_program, free_port};

/// How often other ports are tried when somebody else has taken them first.
const ATTEMPTS: usize = 5;

/// How a Pebble is to behave. As Pebble does unless told otherwise, but for what it leaves to chance: it neither sleeps before it
/// validates nor uses valid authorizations again.
pub struct Behaviour {
    http: u16,
    tls: u16,
    sleeps: Option<u8>,
    nonce_rejection: Option<u8>,
    authorization_reuse: u8,
    blocked: Vec<String>,
    validity: Option<Duration>,
    strict: bool,
    other_roots: u8,
    eab: Option<(String, String)>,
    program: Option<PathBuf>,
}

/// A running Pebble with its own name server: every name is 127.0.0.1.
pub struct Pebble {
    directory: TempDir,
    api: u16,
    management: u16,
    dns: u16,
    names: u16,
    authority: Authority,
    processes: Vec<Process>,
}

impl Pebble {
    /// A CA that visits this nginx.
    pub fn visiting(nginx: &Nginx) -> Behaviour {
        Behaviour {
            http: nginx.http_port(),
            tls: nginx.tls_port(),
            sleeps: None,
            nonce_rejection: None,
            authorization_reuse: 0,
            blocked: Vec::new(),
            validity: None,
            strict: false,
            other_roots: 0,
            eab: None,
            program: None,
        }
    }

    /// The ACME directory.
    pub fn directory_url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.api)
    }

    /// Whom to trust to reach the directory.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The name server it asks, `address:port`.
    pub fn resolver(&self) -> String {
        format!("127.0.0.1:{}", self.dns)
    }

    /// From now on no name has an address, but for those that are given one.
    pub fn forget_all_names(&self) {
        self.tell_names("/set-default-ipv4", &serde_json::json!({ "ip": "" }));
    }

    /// This name has an address from now on.
    pub fn give_address_to(&self, name: &str) {
        let record = serde_json::json!({ "host": name, "addresses": ["127.0.0.1"] });
        self.tell_names("/add-a", &record);
    }

    fn tell_names(&self, path: &str, what: &serde_json::Value) {
        let mut stream = connect(self.names).unwrap();
        let answer = exchange(&mut stream, &told("POST", path, &what.to_string())).unwrap();
        assert_eq!(answer.status, 200);
    }

    /// Has it suggest this about a certificate, in PEM, be it what it may (RFC 9773 4.2); a newer Pebble can.
    pub fn suggest(&self, certificate: &str, answer: &str) {
        let what = serde_json::json!({ "certificate": certificate, "ariResponse": answer });
        let config = trusting(self.authority.pem());
        let mut stream = connect_tls(self.management, "localhost", &config).unwrap();
        let told = told("POST", "/set-renewal-info/", &what.to_string());
        assert_eq!(exchange(&mut stream, &told).unwrap().status, 200);
    }

    /// The root of the certificates it issues, in PEM.
    pub fn root(&self) -> String {
        self.other_root(0)
    }

    /// Another root of theirs, in PEM; the first is number 0.
    pub fn other_root(&self, number: u8) -> String {
        self.management(&format!("/roots/{number}")).text()
    }

    /// Asks its management interface.
    pub fn management(&self, path: &str) -> Answer {
        self.ask(self.management, path)
            .unwrap_or_else(|| panic!("Pebble's {path}"))
    }

    /// Whether nginx serves a certificate for `name` which this CA has issued, with its whole chain.
    pub fn vouches_for(&self, nginx: &Nginx, name: &str) -> bool {
        connect_tls(nginx.tls_port(), name, &trusting(&self.root())).is_ok()
    }

    /// What it has logged: each visit, each order.
    pub fn log(&self) -> String {
        self.processes.iter().map(Process::output).collect()
    }

    /// Ends; what it has written stays.
    pub fn end(&mut self) {
        self.processes.clear();
    }

    fn ask(&self, port: u16, path: &str) -> Option<Answer> {
        let config = trusting(self.authority.pem());
        let mut stream = connect_tls(port, "localhost", &config).ok()?;
        exchange(&mut stream, &told("GET", path, "")).ok()
    }
}

impl Behaviour {
    /// So many of a hundred good nonces are rejected. Pebble's own default is 5.
    pub fn rejecting_nonces(mut self, percent: u8) -> Self {
        self.nonce_rejection = Some(percent);
        self
    }

    /// So many of a hundred valid authorizations are used again, so that nothing has to be shown. Pebble's own default is 50.
    pub fn reusing_authorizations(mut self, percent: u8) -> Self {
        self.authorization_reuse = percent;
        self
    }

    /// Refuses to issue for this name (and those below it), whoever asks.
    pub fn refusing(mut self, name: &str) -> Self {
        self.blocked.push(name.to_owned());
        self
    }

    /// How long its certificates are valid.
    pub fn valid_for(mut self, validity: Duration) -> Self {
        self.validity = Some(validity);
        self
    }

    /// Sleeps up to so many seconds before it validates. Pebble's own default is 15.
    pub fn sleeping(mut self, seconds: u8) -> Self {
        self.sleeps = Some(seconds);
        self
    }

    /// Breaks what future CAs are going to break.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Offers as many other chains for each certificate.
    pub fn with_other_roots(mut self, count: u8) -> Self {
        self.other_roots = count;
        self
    }

    /// Takes only accounts that are bound to this customer.
    pub fn binding_accounts(mut self, kid: &str, hmac_key: &str) -> Self {
        self.eab = Some((kid.to_owned(), hmac_key.to_owned()));
        self
    }

    /// A newer Pebble, which knows when to renew and has the profiles `classic` and `shortlived`; nothing where there is none.
    pub fn newer(mut self) -> Option<Self> {
        self.program = Some(newer_pebble()?);
        Some(self)
    }

    /// Running, once it answers.
    pub fn start(self) -> Pebble {
        for _ in 0..ATTEMPTS {
            let mut pebble = Pebble {
                directory: TempDir::with_prefix("pebble-").unwrap(),
                api: free_port(),
                management: free_port(),
                dns: free_port(),
                names: free_port(),
                authority: Authority::named("Pebble's own"),
                processes: Vec::new(),
            };
            match self
                .start_name_server(&mut pebble)
                .and_then(|()| self.start_ca(&mut pebble))
            {
                Ok(()) => return pebble,
                Err(refusal) if refusal.contains("address already in use") => {}
                Err(refusal) => panic!("{refusal}"),
            }
        }
        panic!("no free port for Pebble in {ATTEMPTS} attempts");
    }

    fn start_name_server(&self, pebble: &mut Pebble) -> Result<(), String> {
        let mut command = Command::new(find_program("pebble-challtestsrv"));
        command
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-dns01", &pebble.resolver()])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{}", pebble.names)]);
        let log = pebble.directory.path().join("names.log");
        let mut process = Process::start(&command, &log);
        let (dns, names) = (pebble.dns, pebble.names);
        process.ready(|| (resolves(dns) && accepts_connections(names)).then_some(()))?;
        pebble.processes.push(process);
        Ok(())
    }

    fn start_ca(&self, pebble: &mut Pebble) -> Result<(), String> {
        let directory = pebble.directory.path();
        fs::write(pebble.ca_file(), pebble.authority.pem()).unwrap();
        let identity = pebble.authority.certify(&["localhost", "127.0.0.1"]);
        identity.write_to(directory);
        let mut configuration = serde_json::json!({
            "listenAddress": format!("127.0.0.1:{}", pebble.api),
            "managementListenAddress": format!("127.0.0.1:{}", pebble.management),
            "certificate": directory.join("fullchain.pem"),
            "privateKey": directory.join("privkey.pem"),
            "httpPort": self.http,
            "tlsPort": self.tls,
            "domainBlocklist": self.blocked,
        });
        if let Some(validity) = self.validity {
            configuration["certificateValidityPeriod"] = validity.as_secs().into();
        }
        if let Some((kid, hmac_key)) = &self.eab {
            configuration["externalAccountBindingRequired"] = true.into();
            configuration["externalAccountMACKeys"] = serde_json::json!({ kid: hmac_key });
        }
        if self.program.is_some() {
            let profile = |validity: u32| serde_json::json!({ "validityPeriod": validity });
            configuration["profiles"] = serde_json::json!({ "classic": profile(7_776_000), "shortlived": profile(518_400) });
        }
        let file = directory.join("pebble.json");
        let whole = serde_json::json!({ "pebble": configuration });
        fs::write(&file, whole.to_string()).unwrap();

        let installed = || find_program("pebble");
        let mut command = Command::new(self.program.clone().unwrap_or_else(installed));
        command
            .arg("-config")
            .arg(&file)
            .args(["-dnsserver", &pebble.resolver()]);
        if self.strict {
            command.arg("-strict");
        }
        match self.sleeps {
            Some(seconds) => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
            None => command.env("PEBBLE_VA_NOSLEEP", "1"),
        };
        for (variable, percent) in [
            ("PEBBLE_WFE_NONCEREJECT", self.nonce_rejection),
            ("PEBBLE_AUTHZREUSE", Some(self.authorization_reuse)),
            ("PEBBLE_ALTERNATE_ROOTS", Some(self.other_roots)),
        ] {
            if let Some(percent) = percent {
                command.env(variable, percent.to_string());
            }
        }
        let mut process = Process::start(&command, &directory.join("pebble.log"));
        // Only ours has a certificate which our own authority has signed.
        process.ready(|| pebble.ask(pebble.api, "/dir"))?;
        process.ready(|| pebble.ask(pebble.management, "/roots/0"))?;
        pebble.processes.push(process);
        Ok(())
    }
}

/// A request that ends its connection; a newer Pebble wants to know who asks.
fn told(method: &str, path: &str, what: &str) -> Vec<u8> {
    let length = what.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tests\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{what}"
    )
    .into_bytes()
}

/// Whether the name server answers (RFC 1035 4.1: one question, `a.` of type A).
fn resolves(port: u16) -> bool {
    const QUESTION: &[u8] =
        b"\x51\xde\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut answer = [0; 512];
    socket
        .connect((Ipv4Addr::LOCALHOST, port))
        .and_then(|()| socket.send(QUESTION))
        .and_then(|_| socket.recv(&mut answer))
        .is_ok_and(|length| answer[..length].starts_with(&QUESTION[..2]))
}
