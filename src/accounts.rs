//! The accounts at the CAs: made once for each directory, shared by all its certificates, kept on disk.

use std::path::Path;
use std::time::Duration;

use dashmap::DashMap;

use crate::acme::{Account, AccountError, Ca, CaError, Credentials, Eab, Registration};
use crate::config::{self, Acme, Directory};
use crate::report::Report;
use crate::store::{Store, StoreError};

/// Another process registers with a few requests.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum NoAccount {
    /// The CA's terms have not been agreed to, and no CA makes an account without (RFC 8555 7.3).
    #[error("the terms of service of {directory} have not been agreed to")]
    TermsNotAccepted {
        /// The CA's directory.
        directory: String,
    },
    /// A file named in the configuration can't be read.
    #[error("{file} can't be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The trust anchors are none.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The CA did not give or know the account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The account can't be read or saved.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NoAccount {
    /// As a person sees it.
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::TermsNotAccepted { directory } => {
                format!(
                    "read the terms that {directory} names and set accept_terms = true under [acme]"
                )
            }
            Self::Unreadable { file, .. } => format!("let the user who runs sidedoor read {file}"),
            Self::Ca(_) => "see that `directory` is the URL of an ACME directory and `ca_file` holds certificates in PEM".into(),
            Self::Account(error) => error.next_step(),
            Self::Store(error) => error.next_step(),
        };
        Report::new(self, next_step)
    }
}

/// The accounts that this process has used.
pub struct Accounts {
    store: Store,
    known: DashMap<String, Account>,
    cas: DashMap<String, Ca>,
}

impl Accounts {
    /// No accounts yet; they are read or made when they are needed.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            known: DashMap::new(),
            cas: DashMap::new(),
        }
    }

    /// The account at a directory, made if there is none.
    pub async fn at(&self, directory: &Directory, acme: &Acme) -> Result<Account, NoAccount> {
        let url = directory.url();
        if let Some(account) = self.known.get(url) {
            return Ok(account.clone());
        }
        let ca = self.ca(directory, acme)?;
        let _one_at_a_time = self.store.lock_account(url, LOCK_LIMIT).await?;
        let account = match self.store.account::<Credentials>(url)? {
            Some(credentials) => Account::restore(&ca, &credentials).await?,
            None => self.register(&ca, url, acme).await?,
        };
        self.known.insert(url.to_owned(), account.clone());
        Ok(account)
    }

    /// The CA at a directory, which needs no account to be asked when to renew.
    pub fn ca(&self, directory: &Directory, acme: &Acme) -> Result<Ca, NoAccount> {
        let url = directory.url();
        if let Some(ca) = self.cas.get(url) {
            return Ok(ca.clone());
        }
        let roots = match &acme.ca_file {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        let ca = Ca::new(url, &roots)?;
        self.cas.insert(url.to_owned(), ca.clone());
        Ok(ca)
    }

    async fn register(&self, ca: &Ca, url: &str, acme: &Acme) -> Result<Account, NoAccount> {
        if !acme.accept_terms {
            return Err(NoAccount::TermsNotAccepted {
                directory: url.to_owned(),
            });
        }
        let registration = Registration {
            contact: acme.contact.clone(),
            terms_agreed: acme.accept_terms,
            eab: acme.eab.as_ref().map(eab).transpose()?,
        };
        let (account, credentials) = Account::register(ca, &registration).await?;
        self.store.save_account(url, &credentials)?;
        tracing::info!(
            directory = url,
            account = account.url(),
            "an account was made"
        );
        Ok(account)
    }

    /// Forgets what this process knows of its accounts, so that the next use reads them again.
    pub fn forget_all(&self) {
        self.known.clear();
        self.cas.clear();
    }
}

fn eab(eab: &config::Eab) -> Result<Eab, NoAccount> {
    let key = read(&eab.hmac_key_file)?;
    Ok(Eab {
        kid: eab.kid.clone(),
        hmac_key: String::from_utf8_lossy(&key).trim().to_owned(),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, NoAccount> {
    std::fs::read(file).map_err(|source| NoAccount::Unreadable {
        file: file.display().to_string(),
        source,
    })
}
