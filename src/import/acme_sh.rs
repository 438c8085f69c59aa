//! acme.sh's home, mostly `~/.acme.sh`:
//!
//! ```text
//! <domain>[_ecc]/{<domain>.key,<domain>.cer,ca.cer,fullchain.cer,<domain>.conf}     Le_API='…'
//! ca/<host>/<path>/{account.key,ca.conf}                                              ACCOUNT_URL='…'
//! ```

use std::path::{Path, PathBuf};

use super::source::{Source, value};
use super::{AccountKey, Found, FoundAccount, FoundCertificate};

pub(super) fn read(source: &Source) -> Found {
    let directories = source.directories("");
    let found = directories
        .iter()
        .filter_map(|path| certificate(source, path));
    let certificates: Vec<_> = found.collect();
    let servers: Vec<_> = certificates
        .iter()
        .filter_map(|certificate| certificate.directory.clone())
        .collect();
    let accounts = source.directories_with("account.key", "ca");
    Found {
        accounts: accounts
            .iter()
            .map(|path| account(source, path, &servers))
            .collect(),
        certificates,
        ..Found::default()
    }
}

/// The certificate in this directory, if it has the name of one.
fn certificate(source: &Source, path: &Path) -> Option<FoundCertificate> {
    let name = path.file_name()?.to_str()?;
    let domain = name.strip_suffix("_ecc").unwrap_or(name);
    let file = |ending: &str| path.join(format!("{domain}.{ending}"));
    let configuration = source.text(file("conf"));
    let key = file("key");
    // Others of its directories (`ca`, `dnsapi`, …) have neither.
    if configuration.is_err() && !source.path(&key).exists() {
        return None;
    }
    let server = configuration.as_deref().ok();
    let server = server.and_then(|text| value(text, "Le_API"));
    let chain = path.join("fullchain.cer");
    Some(FoundCertificate {
        origin: source.path(path),
        files: (source.path(&key), source.path(&chain)),
        key: source.text(key),
        chain: source.text(chain),
        directory: server.map(str::to_owned),
    })
}

/// Where the account lies is the directory's URL without its port, and in old versions without its path: the certificates tell more.
fn account(source: &Source, path: &Path, servers: &[String]) -> FoundAccount {
    let place = path.strip_prefix("ca").unwrap_or(path);
    let is_here = |server: &&String| {
        let place_of = place_of(server);
        place_of.as_deref() == Some(place) || place_of.is_some_and(|of| of.parent() == Some(place))
    };
    let known = servers.iter().find(is_here).cloned();
    let directory = known.or_else(|| {
        let has_path = place.components().count() > 1;
        has_path.then(|| format!("https://{}", place.display()))
    });
    let configuration = source.text(path.join("ca.conf")).unwrap_or_default();
    FoundAccount {
        origin: source.path(path),
        directory,
        url: value(&configuration, "ACCOUNT_URL").map(str::to_owned),
        key: source.text(path.join("account.key")).map(AccountKey::Pem),
    }
}

/// The directory below `ca` that acme.sh makes of a URL: its host, then its path.
fn place_of(server: &str) -> Option<PathBuf> {
    let url: http::Uri = server.parse().ok()?;
    let path = url.path().trim_matches('/');
    Some(Path::new(url.host()?).join(path))
}
