//! What the Dokku letsencrypt plugin keeps below `/home/dokku`, in the layout of lego, which it runs:
//!
//! ```text
//! <app>/letsencrypt/certs/<hash>/config                                  --server URL … --domains NAME …
//! <app>/letsencrypt/certs/<hash>/certificates/<domain>.{key,crt}
//! <app>/letsencrypt/certs/<hash>/accounts/<host>/<mail>/{account.json,keys/<mail>.key}
//! <app>/letsencrypt/certs/current -> <hash>
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::source::Source;
use super::{AccountKey, Found, FoundAccount, FoundCertificate};

/// What is needed of `account.json`.
#[derive(Deserialize)]
struct Account {
    email: String,
    registration: Registration,
}

#[derive(Deserialize)]
struct Registration {
    uri: String,
}

pub(super) fn read(source: &Source) -> Found {
    let mut found = Found::default();
    // The directory of all apps, of one, or of its certificates.
    let apps = source
        .directories("")
        .into_iter()
        .map(|app| app.join("letsencrypt"));
    for app in apps.chain(["letsencrypt".into(), PathBuf::new()]) {
        let certs = app.join("certs");
        let current = certs.join("current");
        let hashes = source.directories(&certs).into_iter();
        // With no sign of which is current, every one is looked at: of the same names, the one that ends last stays.
        let used: Vec<_> = match current_hash(source, &current) {
            Some(hash) => vec![certs.join(hash)],
            None => hashes.filter(|hash| *hash != current).collect(),
        };
        for hash in used {
            read_lego(source, &hash, &mut found);
        }
    }
    found
}

/// The name that `current` leads to: an absolute link in a copy leads nowhere, but its last component says which is meant.
fn current_hash(source: &Source, current: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(source.path(current)).ok()?;
    let hash = PathBuf::from(target.file_name()?);
    source
        .path(current.with_file_name(&hash))
        .is_dir()
        .then_some(hash)
}

fn read_lego(source: &Source, data: &Path, found: &mut Found) {
    let configuration = source.text(data.join("config")).unwrap_or_default();
    let server = configuration
        .split_whitespace()
        .skip_while(|word| *word != "--server")
        .nth(1);
    for key in source.files(data.join("certificates")) {
        if key.extension().is_some_and(|extension| extension == "key") {
            let chain = key.with_extension("crt");
            found.certificates.push(FoundCertificate {
                origin: source.path(key.with_extension("")),
                files: (source.path(&key), source.path(&chain)),
                key: source.text(&key),
                chain: source.text(chain),
                directory: server.map(str::to_owned),
            });
        }
    }
    for path in source.directories_with("account.json", data.join("accounts")) {
        found.accounts.push(account(source, &path, server));
    }
}

fn account(source: &Source, path: &Path, server: Option<&str>) -> FoundAccount {
    let account = source.text(path.join("account.json"));
    let account = account.and_then(|text| {
        let account = serde_json::from_str::<Account>(&text);
        account.map_err(|_| "its account.json is none".to_owned())
    });
    let key = account.as_ref().map_err(String::clone).and_then(|account| {
        // A path of theirs is made of what they wrote only where it is one name.
        let name = format!("{}.key", account.email);
        let files = source.files(path.join("keys"));
        let key = files.iter().find(|file| file.ends_with(&name));
        let key = key.ok_or_else(|| format!("there is no keys/{name}"))?;
        source.text(key).map(AccountKey::Pem)
    });
    FoundAccount {
        origin: source.path(path),
        directory: server.map(str::to_owned),
        url: account.ok().map(|account| account.registration.uri),
        key,
    }
}
