//! `[acme]` and an app's overrides of it: which CA, which account, which kind of certificate.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Config;
use super::handover::Handover;
use super::reader::Section;
use crate::certificate::KeyKind;

/// Names for well-known directories.
const PRESETS: [(&str, &str); 9] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
    ("zerossl", "https://acme.zerossl.com/v2/DV90"),
    ("google", "https://dv.acme-v02.api.pki.goog/directory"),
    (
        "google-staging",
        "https://dv.acme-v02.test-api.pki.goog/directory",
    ),
    // One directory for each kind of key; `ssl.com` is for ours.
    ("ssl.com", "https://acme.ssl.com/sslcom-dv-ecc"),
    ("ssl.com-ecc", "https://acme.ssl.com/sslcom-dv-ecc"),
    ("ssl.com-rsa", "https://acme.ssl.com/sslcom-dv-rsa"),
    ("actalis", "https://acme-api.actalis.com/acme/directory"),
];

/// Where a CA of these can be tried out without consequences.
const STAGING: [(&str, &str); 2] = [
    ("letsencrypt", "letsencrypt-staging"),
    ("google", "google-staging"),
];

/// How certificates are ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The CAs, tried in this order.
    pub directories: Vec<Directory>,
    /// E-mail addresses for the account.
    pub contact: Vec<String>,
    /// Whether the operator agrees to the CA's terms of service (RFC 8555 7.3.3).
    pub accept_terms: bool,
    /// Further trust anchors for a private CA's own HTTPS.
    pub ca_file: Option<PathBuf>,
    /// The kind of key that certificates are for.
    pub key: KeyKind,
    /// Whether the next certificate is for the key of the present one.
    pub reuse_key: bool,
    /// The profile asked for, where the CA has profiles.
    pub profile: Option<String>,
    /// The root under which the chain is to end, where the CA offers several: the issuer's common name in the last certificate.
    pub preferred_chain: Option<String>,
    /// Where to try things out without consequences, where the CA's own staging is not known.
    pub staging: Option<Directory>,
    /// External account binding (RFC 8555 7.3.4).
    pub eab: Option<Eab>,
    /// How long before its end a certificate is renewed; decided by the CA or by its lifetime unless given.
    pub renew_before: Option<Duration>,
    /// What follows when it is live.
    pub handover: Handover,
}

/// External account binding: what the CA's web site gave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eab {
    /// The key identifier.
    pub kid: String,
    /// The file with the HMAC key, in base64url.
    pub hmac_key_file: PathBuf,
}

/// The URL of a CA's directory (RFC 8555 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(String);

impl Directory {
    /// A CA that speaks plain HTTP, as those in tests may.
    #[cfg(test)]
    pub(crate) fn of_test(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.0
    }

    /// The same CA's directory for trying things out, where it has one that is known; a staging is its own.
    pub fn staging(&self) -> Option<Self> {
        let url = |name: &str| {
            PRESETS
                .iter()
                .find(|preset| preset.0 == name)
                .map(|preset| preset.1)
        };
        let known = STAGING.iter().find(|(real, staging)| {
            url(real) == Some(self.url()) || url(staging) == Some(self.url())
        });
        known.and_then(|(_, staging)| staging.parse().ok())
    }
}

/// Why a directory was refused.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is neither an https URL nor one of {}", PRESETS.map(|(name, _)| name).join(", "))]
pub struct DirectoryError {
    given: String,
}

impl FromStr for Directory {
    type Err = DirectoryError;

    fn from_str(given: &str) -> Result<Self, DirectoryError> {
        if let Some((_, url)) = PRESETS.iter().find(|(name, _)| *name == given) {
            return Ok(Self((*url).to_owned()));
        }
        let is_url = given.parse::<http::Uri>().is_ok_and(|url| {
            url.scheme_str() == Some("https") && url.host().is_some_and(|host| !host.is_empty())
        });
        match is_url {
            true => Ok(Self(given.to_owned())),
            false => Err(DirectoryError {
                given: given.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An e-mail address as far as it matters here: it becomes part of a `mailto:` URL (RFC 8555 7.3).
struct Mail(String);

impl FromStr for Mail {
    type Err = &'static str;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let address = given.strip_prefix("mailto:").unwrap_or(given);
        let plain = address
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b",;:<>\"()\\?&%".contains(&byte));
        match address.split_once('@') {
            Some((user, host))
                if plain
                    && !user.is_empty()
                    && host.parse::<crate::identifier::DnsName>().is_ok() =>
            {
                Ok(Self(address.to_owned()))
            }
            _ => Err("an e-mail address such as \"ops@example.com\" is expected here"),
        }
    }
}

impl Config {
    /// Every CA that certificates are ordered from, the first one first, each with how it is reached: an account is all apps'.
    pub fn cas(&self) -> Vec<(&Directory, &Acme)> {
        let mut cas: Vec<(&Directory, &Acme)> = Vec::new();
        let apps = self.apps.iter().map(|app| &app.acme);
        for acme in std::iter::once(&self.acme).chain(apps) {
            for directory in &acme.directories {
                if !cas.iter().any(|(known, _)| *known == directory) {
                    cas.push((directory, acme));
                }
            }
        }
        cas
    }

    /// The e-mail addresses for the account at this CA: those of everybody who uses it.
    pub fn contact_at(&self, directory: &Directory) -> Vec<String> {
        let mut contact: Vec<String> = Vec::new();
        let apps = self.apps.iter().map(|app| &app.acme);
        let all = std::iter::once(&self.acme).chain(apps);
        for acme in all.filter(|acme| acme.directories.contains(directory)) {
            for address in &acme.contact {
                if !contact.contains(address) {
                    contact.push(address.clone());
                }
            }
        }
        contact
    }
}

impl Acme {
    /// Reads `[acme]`.
    pub(super) fn read(section: Option<Section<'_>>) -> Self {
        let mut acme = Self::fallback();
        if let Some(mut section) = section {
            acme.override_from(&mut section);
        }
        acme
    }

    /// What holds where nothing is written.
    fn fallback() -> Self {
        let (_, url) = PRESETS[0];
        Self {
            directories: vec![Directory(url.to_owned())],
            contact: Vec::new(),
            accept_terms: false,
            ca_file: None,
            key: KeyKind::P256,
            reuse_key: false,
            profile: None,
            preferred_chain: None,
            staging: None,
            eab: None,
            renew_before: None,
            handover: Handover::default(),
        }
    }

    /// Where what is ordered from this CA can be tried out, if there is such a place.
    pub fn staging_of(&self, directory: &Directory) -> Option<Directory> {
        self.staging.clone().or_else(|| directory.staging())
    }

    /// Takes over each key that is written in `section`.
    pub(super) fn override_from(&mut self, section: &mut Section<'_>) {
        if let Some(directories) = section.list("directory") {
            if directories.is_empty() {
                section.refuse(
                    "directory",
                    "at least one directory is needed; leave the key out for Let's Encrypt",
                );
            }
            self.directories = directories;
        }
        if let Some(contact) = section.list::<Mail>("contact") {
            self.contact = contact.into_iter().map(|mail| mail.0).collect();
        }
        if let Some(accept) = section.flag("accept_terms") {
            self.accept_terms = accept;
        }
        if let Some(file) = section.path("ca_file") {
            self.ca_file = Some(file);
        }
        if let Some(key) = section.parsed("key") {
            self.key = key;
        }
        if let Some(reuse) = section.flag("reuse_key") {
            self.reuse_key = reuse;
        }
        if let Some(profile) = section.string("profile") {
            self.profile = Some(profile.to_owned());
        }
        if let Some(root) = section.string("preferred_chain") {
            self.preferred_chain = Some(root.to_owned());
        }
        if let Some(staging) = section.parsed("staging_directory") {
            self.staging = Some(staging);
        }
        if let Some(span) = section.span("renew_before") {
            self.renew_before = Some(span);
        }
        self.handover.override_from(section);
        if let Some(mut eab) = section.section("eab") {
            let (kid, file) = (eab.string("kid"), eab.path("hmac_key_file"));
            match (kid, file) {
                (Some(kid), Some(hmac_key_file)) => {
                    self.eab = Some(Eab {
                        kid: kid.to_owned(),
                        hmac_key_file,
                    })
                }
                (None, _) if !eab.has("kid") => {
                    eab.refuse("kid", "the key identifier that the CA gave out is missing")
                }
                (_, None) if !eab.has("hmac_key_file") => {
                    eab.refuse(
                        "hmac_key_file",
                        "the file with the HMAC key that the CA gave out is missing",
                    );
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_url_and_some_have_a_staging() {
        for (name, url) in PRESETS {
            let directory: Directory = name.parse().unwrap();
            assert_eq!(directory.url(), url);
            assert_eq!(url.parse::<Directory>().unwrap(), directory);
        }
        let staging = |name: &str| name.parse::<Directory>().unwrap().staging();
        for (real, tried) in STAGING {
            assert_eq!(staging(real), tried.parse().ok());
            assert_eq!(staging(tried), tried.parse().ok());
        }
        assert_eq!(staging("zerossl"), None);
        assert_eq!(staging("https://ca.example/directory"), None);
    }
}
