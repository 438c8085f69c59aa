//! dehydrated's `BASEDIR`, mostly `/etc/dehydrated` or `/var/lib/dehydrated`:
//!
//! ```text
//! certs/<name>/{privkey,fullchain}.pem -> {privkey,fullchain}-<time>.pem
//! accounts/<the directory's URL in base64url>/{account_key.pem,account_id.json}
//! domains.txt                                       a certificate a line: its names, perhaps `> alias`
//! ```

use std::path::Path;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::source::Source;
use super::{AccountKey, Found, FoundAccount, FoundCertificate};
use crate::identifier::Identifier;

/// Whatever way the padding was cut off.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `account_id.json`.
#[derive(Deserialize)]
struct AccountId {
    url: String,
}

pub(super) fn read(source: &Source) -> Found {
    let certificates = source.directories("certs");
    let accounts = source.directories_with("account_key.pem", "accounts");
    let accounts: Vec<_> = accounts.iter().map(|path| account(source, path)).collect();
    // Which CA a certificate came from is written nowhere, but mostly there has been only one.
    let only = match &accounts[..] {
        [only] => only.directory.clone(),
        _ => None,
    };
    Found {
        certificates: certificates
            .iter()
            .map(|path| certificate(source, path, only.clone()))
            .collect(),
        accounts,
        wanted: wanted(&source.text("domains.txt").unwrap_or_default()),
    }
}

fn certificate(source: &Source, path: &Path, directory: Option<String>) -> FoundCertificate {
    let (key, chain) = (path.join("privkey.pem"), path.join("fullchain.pem"));
    FoundCertificate {
        origin: source.path(path),
        files: (source.path(&key), source.path(&chain)),
        key: source.text(key),
        chain: source.text(chain),
        directory,
    }
}

fn account(source: &Source, path: &Path) -> FoundAccount {
    let name = path.file_name().and_then(|name| name.to_str());
    let url = name.and_then(|name| BASE64.decode(name).ok());
    // `echo` has put a line feed at its end.
    let directory = url.and_then(|url| String::from_utf8(url).ok());
    let id = source.text(path.join("account_id.json")).ok();
    let id: Option<AccountId> = id.and_then(|text| serde_json::from_str(&text).ok());
    FoundAccount {
        origin: source.path(path),
        directory: directory.map(|url| url.trim_end().to_owned()),
        url: id.map(|id| id.url),
        key: source
            .text(path.join("account_key.pem"))
            .map(AccountKey::Pem),
    }
}

/// The names of each line of `domains.txt`.
fn wanted(text: &str) -> Vec<Vec<Identifier>> {
    let lines = text.lines().map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let names = line.split_once('>').map_or(line, |(names, _)| names);
        let names = names.split_whitespace();
        names.filter_map(|name| name.parse().ok()).collect()
    });
    lines.filter(|names: &Vec<_>| !names.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_each_line() {
        let text =
            "# comment\n\na.example www.a.example\n*.b.example > star\nc.example # why\n;;\n";
        let wanted: Vec<Vec<String>> = wanted(text)
            .iter()
            .map(|names| names.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(
            wanted,
            [
                vec!["a.example", "www.a.example"],
                vec!["*.b.example"],
                vec!["c.example"]
            ]
        );
    }
}
