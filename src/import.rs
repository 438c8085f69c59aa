//! Takes over what another client has: certificates with their keys, accounts, domains. Without an order, and without touching
//! anything of the other's. Each client's layout is known to a file of its own; what is found goes one way into the state.

mod acme_sh;
mod advice;
mod certbot;
mod dehydrated;
mod dokku;
mod source;
mod taking;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use time::OffsetDateTime;

use crate::config::Config;
use crate::identifier::{AppName, Identifier};
use crate::report::Report;
use crate::store::{Store, StoreError, Version};
use source::Source;

/// Another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub enum Client {
    /// certbot: `/etc/letsencrypt`
    #[serde(rename = "certbot")]
    Certbot,
    /// dehydrated: its BASEDIR
    #[serde(rename = "dehydrated")]
    Dehydrated,
    /// acme.sh: `~/.acme.sh`
    #[serde(rename = "acme.sh")]
    #[value(name = "acme.sh")]
    AcmeSh,
    /// The Dokku letsencrypt plugin: `/home/dokku`
    #[serde(rename = "dokku-letsencrypt")]
    DokkuLetsencrypt,
}

impl Client {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certbot => "certbot",
            Self::Dehydrated => "dehydrated",
            Self::AcmeSh => "acme.sh",
            Self::DokkuLetsencrypt => "dokku-letsencrypt",
        }
    }
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The directory can't be read.
    #[error("{} can't be read: {source}", directory.display())]
    Unreadable {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing of this client's in it.
    #[error("{} holds neither certificates nor accounts of {}", directory.display(), client.as_str())]
    Nothing {
        /// The directory.
        directory: PathBuf,
        /// Whose were looked for.
        client: Client,
    },
    /// The state can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// As a person sees it.
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::Unreadable { .. } => {
                "name the directory of the other client, and run the command as a user who may read it".into()
            }
            Self::Nothing { client, .. } => match client {
                Client::Certbot => "name certbot's directory, mostly /etc/letsencrypt".into(),
                Client::Dehydrated => {
                    "name dehydrated's BASEDIR, mostly /var/lib/dehydrated or /etc/dehydrated".into()
                }
                Client::AcmeSh => "name acme.sh's home, mostly ~/.acme.sh of the user who runs it".into(),
                Client::DokkuLetsencrypt => "name Dokku's directory of apps, mostly /home/dokku".into(),
            },
            Self::Store(error) => error.next_step(),
        };
        Report::new(self, next_step)
    }
}

/// What became of all that was found: the answer to `sidedoor import --json`. Fields are added, never renamed.
#[derive(Debug, Clone, Serialize)]
pub struct Imported {
    /// Whose it was.
    pub client: Client,
    /// Where it was.
    pub source: PathBuf,
    /// Each certificate.
    pub certificates: Vec<ImportedCertificate>,
    /// Each account.
    pub accounts: Vec<ImportedAccount>,
    /// What is left to do by hand, in this order.
    pub next_steps: Vec<String>,
    /// `[[app]]` tables for domains that the configuration doesn't have.
    pub configuration: Option<String>,
}

/// What became of a certificate.
#[derive(Debug, Clone, Serialize)]
pub struct ImportedCertificate {
    /// Where it was.
    pub origin: PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: CertificateOutcome,
}

/// What became of a certificate.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CertificateOutcome {
    /// It is ours now, and live.
    TakenOver {
        /// The lineage.
        name: AppName,
        /// Its number in the archive.
        version: Version,
        /// What it is for.
        identifiers: Vec<Identifier>,
        /// When it ends.
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
        /// Whether it has ended already.
        expired: bool,
        /// Where its files are.
        path: PathBuf,
        /// Where the other client has its key and its chain, as nginx may name them.
        replaces: (PathBuf, PathBuf),
    },
    /// There is one of ours for these names which ends no sooner.
    Kept {
        /// The lineage.
        name: AppName,
        /// When ours ends.
        #[serde(with = "time::serde::rfc3339")]
        not_after: OffsetDateTime,
    },
    /// It can't be used.
    Failed(Report),
}

/// What became of an account.
#[derive(Debug, Clone, Serialize)]
pub struct ImportedAccount {
    /// Where it was.
    pub origin: PathBuf,
    /// The directory it is for, if that can be told.
    pub directory: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: AccountOutcome,
}

/// What became of an account.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum AccountOutcome {
    /// It is ours now.
    TakenOver,
    /// There is one of ours for the directory.
    Kept,
    /// It can't be used; the next order makes a new one.
    Left {
        /// Why not.
        reason: String,
    },
}

/// What a client has, as it was found.
#[derive(Default)]
struct Found {
    certificates: Vec<FoundCertificate>,
    accounts: Vec<FoundAccount>,
    /// Names that it was told to get certificates for.
    wanted: Vec<Vec<Identifier>>,
}

/// A certificate as it was found.
struct FoundCertificate {
    /// Where.
    origin: PathBuf,
    /// Its key's and its chain's file.
    files: (PathBuf, PathBuf),
    /// The key in PEM, or why it can't be read.
    key: Result<String, String>,
    /// Certificate and chain in PEM, or why they can't be read.
    chain: Result<String, String>,
    /// The directory of the CA it came from, where that is known.
    directory: Option<String>,
}

/// An account as it was found.
struct FoundAccount {
    /// Where.
    origin: PathBuf,
    /// The directory it is for, where that is known.
    directory: Option<String>,
    /// Its URL, where that is known.
    url: Option<String>,
    /// Its key, or why it can't be read.
    key: Result<AccountKey, String>,
}

/// An account's key.
enum AccountKey {
    /// In PEM.
    Pem(String),
    /// A JSON web key of this type; certbot's, and always of RSA.
    Web(String),
}

/// Takes over what is found in `directory`, each piece for itself: what is broken keeps nothing else.
pub async fn import(
    config: &Config,
    store: &Store,
    client: Client,
    directory: &Path,
) -> Result<Imported, ImportError> {
    let source = Source::open(directory).map_err(|source| ImportError::Unreadable {
        directory: directory.to_owned(),
        source,
    })?;
    let found = match client {
        Client::Certbot => certbot::read(&source),
        Client::Dehydrated => dehydrated::read(&source),
        Client::AcmeSh => acme_sh::read(&source),
        Client::DokkuLetsencrypt => dokku::read(&source),
    };
    if found.certificates.is_empty() && found.accounts.is_empty() {
        return Err(ImportError::Nothing {
            directory: directory.to_owned(),
            client,
        });
    }
    let mut accounts = Vec::new();
    for account in found.accounts {
        accounts.push(taking::account(store, account).await?);
    }
    let mut certificates = Vec::new();
    for certificate in found.certificates {
        certificates.push(taking::certificate(config, store, certificate).await);
    }
    let configuration = advice::configuration(config, &certificates, &found.wanted);
    Ok(Imported {
        client,
        source: directory.to_owned(),
        next_steps: advice::next_steps(config, client, &certificates, configuration.is_some()),
        configuration,
        certificates,
        accounts,
    })
}
