//! certbot's directory, mostly `/etc/letsencrypt`:
//!
//! ```text
//! live/<name>/{privkey,fullchain}.pem -> ../../archive/<name>/…
//! archive/<name>/{privkey,fullchain}<N>.pem
//! renewal/<name>.conf                              server = …
//! accounts/<host>/<path>/<id>/{private_key,regr}.json
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::source::{Source, value};
use super::{AccountKey, Found, FoundAccount, FoundCertificate};

/// What is needed of `regr.json`.
#[derive(Deserialize)]
struct Registration {
    uri: String,
}

/// What is needed of a JSON web key (RFC 7517 4.1).
#[derive(Deserialize)]
struct WebKey {
    kty: String,
}

pub(super) fn read(source: &Source) -> Found {
    let mut names: Vec<_> = source
        .directories("archive")
        .into_iter()
        .chain(source.directories("live"))
        .filter_map(|path| path.file_name().map(PathBuf::from))
        .collect();
    names.sort();
    names.dedup();
    let certificates = names.iter().map(|name| certificate(source, name));
    let accounts = source.directories_with("private_key.json", "accounts");
    Found {
        certificates: certificates.collect(),
        accounts: accounts.iter().map(|path| account(source, path)).collect(),
        ..Found::default()
    }
}

fn certificate(source: &Source, name: &Path) -> FoundCertificate {
    let live = Path::new("live").join(name);
    let mut files = (live.join("privkey.pem"), live.join("fullchain.pem"));
    let is_live = source.path(&files.0).is_file() && source.path(&files.1).is_file();
    // A copy of the directory may have lost its links.
    if !is_live && let Some(newest) = newest(source, name) {
        files = newest;
    }
    let mut renewal = Path::new("renewal").join(name).into_os_string();
    renewal.push(".conf");
    let server = source.text(renewal);
    let server = server
        .as_deref()
        .ok()
        .and_then(|text| value(text, "server"));
    FoundCertificate {
        origin: source.path(live),
        files: (source.path(&files.0), source.path(&files.1)),
        key: source.text(files.0),
        chain: source.text(files.1),
        directory: server.map(str::to_owned),
    }
}

/// The pair with the highest number in the archive.
fn newest(source: &Source, name: &Path) -> Option<(PathBuf, PathBuf)> {
    let archive = Path::new("archive").join(name);
    let number = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let number = name.strip_prefix("privkey")?.strip_suffix(".pem")?;
        number.parse::<u32>().ok()
    };
    let newest = source
        .files(&archive)
        .into_iter()
        .filter_map(number)
        .max()?;
    let file = |part: &str| archive.join(format!("{part}{newest}.pem"));
    Some((file("privkey"), file("fullchain")))
}

/// The directory's URL is where the account lies: its host and path.
fn account(source: &Source, path: &Path) -> FoundAccount {
    let server = path
        .parent()
        .and_then(|server| server.strip_prefix("accounts").ok());
    let directory = server.map(|server| format!("https://{}", server.display()));
    let registration = source.text(path.join("regr.json")).ok();
    let registration: Option<Registration> =
        registration.and_then(|text| serde_json::from_str(&text).ok());
    let key = source.text(path.join("private_key.json"));
    let key = key.and_then(|text| {
        let key = serde_json::from_str::<WebKey>(&text);
        key.map_err(|_| "its key is no JSON web key".to_owned())
    });
    FoundAccount {
        origin: source.path(path),
        directory,
        url: registration.map(|registration| registration.uri),
        key: key.map(|key| AccountKey::Web(key.kty)),
    }
}
