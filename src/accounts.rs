//! The accounts at the CAs: made once for each directory, shared by all its certificates, kept on disk.
//!
//! A new key is written down before the CA hears of it. Who finds one that was not settled asks the CA which key it knows, and goes on.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dashmap::DashMap;

use crate::acme::{
    Account, AccountError, AccountState, Ca, CaError, Credentials, Eab, Registration,
};
use crate::config::{self, Acme, Directory};
use crate::lock::Lock;
use crate::report::Report;
use crate::store::{Stamp, Store, StoreError};

/// Another process registers with a few requests.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

/// Why there is no account, or it can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum NoAccount {
    /// A file named in the configuration can't be read.
    #[error("{file} can't be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing to change.
    #[error("there is no account at {directory}")]
    None {
        /// The CA's directory.
        directory: String,
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
            Self::Unreadable { file, .. } => format!("let the user who runs sidedoor read {file}"),
            Self::None { .. } => "make one by `sidedoor account register`, or name another CA's with --directory".into(),
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
    /// Each as it was in its file, which other processes change, too.
    known: DashMap<String, (Stamp, Account)>,
    cas: DashMap<String, Ca>,
}

/// One account and what is kept of it, while nobody else changes it.
struct Held {
    account: Account,
    credentials: Credentials,
    _lock: Lock,
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

    /// The account at a directory, made if there is none, with these e-mail addresses.
    pub async fn at(
        &self,
        directory: &Directory,
        acme: &Acme,
        contact: &[String],
    ) -> Result<Account, NoAccount> {
        let url = directory.url();
        if let Some(account) = self.known(url) {
            return Ok(account);
        }
        let ca = self.ca(directory, acme)?;
        let lock = self.store.lock_account(url, LOCK_LIMIT).await?;
        let (account, credentials) = match self.restored(&ca).await? {
            Some(restored) => restored,
            None => self.register(&ca, acme, contact).await?,
        };
        let held = Held {
            account,
            credentials,
            _lock: lock,
        };
        if held
            .credentials
            .contact()
            .is_some_and(|told| told != contact)
            && let Err(error) = self.tell(&held, contact).await
        {
            // The certificate matters more.
            tracing::warn!(directory = url, %error, "the CA could not be told the new e-mail addresses");
        }
        if let Some(stamp) = self.store.account_stamp(url) {
            let known = (stamp, held.account.clone());
            self.known.insert(url.to_owned(), known);
        }
        Ok(held.account)
    }

    /// The CA at a directory, which needs no account to be asked for some things.
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

    /// The account as its CA knows it; nothing where there is none.
    pub async fn look(
        &self,
        directory: &Directory,
        acme: &Acme,
    ) -> Result<Option<(Credentials, Result<AccountState, AccountError>)>, NoAccount> {
        let ca = self.ca(directory, acme)?;
        let lock = self.store.lock_account(directory.url(), LOCK_LIMIT).await?;
        let Some(credentials) = self.store.account::<Credentials>(directory.url())? else {
            return Ok(None);
        };
        let restored = self.restored(&ca).await;
        drop(lock);
        let restored = match restored {
            Err(NoAccount::Account(error)) => return Ok(Some((credentials, Err(error)))),
            restored => restored?,
        };
        match restored {
            Some((account, credentials)) => Ok(Some((credentials, account.state().await))),
            None => Ok(None),
        }
    }

    /// Tells the CA these e-mail addresses in place of those it has (RFC 8555 7.3.2).
    pub async fn update(
        &self,
        directory: &Directory,
        acme: &Acme,
        contact: &[String],
    ) -> Result<(), NoAccount> {
        let held = self.hold(directory, acme).await?;
        self.tell(&held, contact).await
    }

    /// Gives the account a new key (RFC 8555 7.3.5); one that an earlier attempt has left, if there is one.
    pub async fn roll_over(&self, directory: &Directory, acme: &Acme) -> Result<(), NoAccount> {
        let url = directory.url();
        let unsettled = self.store.next_account::<Credentials>(url)?;
        let held = self.hold(directory, acme).await?;
        let key = held.credentials.thumbprint()?;
        if unsettled.is_some_and(|next| next.thumbprint().is_ok_and(|next| next == key)) {
            tracing::info!(
                directory = url,
                "the new key of an earlier attempt is the account's now"
            );
            return Ok(());
        }
        let next = match self.store.next_account(url)? {
            Some(next) => next,
            None => held.credentials.with_new_key()?,
        };
        self.store.save_next_account(url, &next)?;
        self.change_key(&held.account, &next).await?;
        tracing::info!(
            directory = url,
            account = held.account.url(),
            "the account has a new key"
        );
        Ok(())
    }

    /// Closes the account for good, and sets its file aside (RFC 8555 7.3.6). Says where that is.
    pub async fn deactivate(
        &self,
        directory: &Directory,
        acme: &Acme,
    ) -> Result<PathBuf, NoAccount> {
        let url = directory.url();
        let held = self.hold(directory, acme).await?;
        match held.account.clone().deactivate().await {
            // Closed before, and only its file was left.
            Ok(()) | Err(AccountError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let aside = self.store.set_account_aside(url)?;
        self.store.forget_next_account(url)?;
        self.known.remove(url);
        tracing::info!(
            directory = url,
            account = held.account.url(),
            "the account is closed"
        );
        Ok(aside)
    }

    /// The account at a directory, if there is one, as whoever revokes needs it.
    pub async fn existing(
        &self,
        directory: &Directory,
        acme: &Acme,
    ) -> Result<Option<Account>, NoAccount> {
        match self.hold(directory, acme).await {
            Ok(held) => Ok(Some(held.account)),
            Err(NoAccount::None { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets what this process knows of its accounts, so that the next use reads them again.
    pub fn forget_all(&self) {
        self.known.clear();
        self.cas.clear();
    }

    fn known(&self, url: &str) -> Option<Account> {
        let known = self.known.get(url)?;
        let (stamp, account) = known.value();
        (self.store.account_stamp(url) == Some(*stamp)).then(|| account.clone())
    }

    async fn hold(&self, directory: &Directory, acme: &Acme) -> Result<Held, NoAccount> {
        let url = directory.url();
        let ca = self.ca(directory, acme)?;
        let lock = self.store.lock_account(url, LOCK_LIMIT).await?;
        match self.restored(&ca).await? {
            Some((account, credentials)) => Ok(Held {
                account,
                credentials,
                _lock: lock,
            }),
            None => Err(NoAccount::None {
                directory: url.to_owned(),
            }),
        }
    }

    /// The account from its file, with the key that the CA knows. Under the account's lock.
    async fn restored(&self, ca: &Ca) -> Result<Option<(Account, Credentials)>, NoAccount> {
        let Some(credentials) = self.store.account::<Credentials>(ca.url())? else {
            return Ok(None);
        };
        let account = Account::restore(ca, &credentials).await?;
        let Some(next) = self.store.next_account::<Credentials>(ca.url())? else {
            return Ok(Some((account, credentials)));
        };
        tracing::info!(
            directory = ca.url(),
            "a change of the account's key was not settled"
        );
        if ca.knows(&next).await? {
            self.store.promote_next_account(ca.url())?;
        } else if let Err(error) = self.change_key(&account, &next).await {
            tracing::warn!(directory = ca.url(), %error, "the account keeps its old key");
            return Ok(Some((account, credentials)));
        }
        let account = Account::restore(ca, &next).await?;
        Ok(Some((account, next)))
    }

    /// Tells the CA of the next key, which is on disk, and puts it in the place of the old one.
    async fn change_key(&self, account: &Account, next: &Credentials) -> Result<(), NoAccount> {
        let ca = account.ca();
        if let Err(error) = account.roll_over(next).await {
            match error {
                AccountError::Unavailable { .. } | AccountError::RateLimited { .. } => {
                    // Perhaps it was done, and only the answer got lost.
                    if !ca.knows(next).await.unwrap_or(false) {
                        return Err(error.into());
                    }
                }
                refusal => {
                    self.store.forget_next_account(ca.url())?;
                    return Err(refusal.into());
                }
            }
        }
        self.store.promote_next_account(ca.url())?;
        self.known.remove(ca.url());
        Ok(())
    }

    async fn register(
        &self,
        ca: &Ca,
        acme: &Acme,
        contact: &[String],
    ) -> Result<(Account, Credentials), NoAccount> {
        let registration = Registration {
            contact: contact.to_vec(),
            terms_agreed: acme.accept_terms,
            eab: acme.eab.as_ref().map(eab).transpose()?,
        };
        let (account, credentials) = Account::register(ca, &registration).await?;
        self.store.save_account(ca.url(), &credentials)?;
        tracing::info!(
            directory = ca.url(),
            account = account.url(),
            "an account was made"
        );
        Ok((account, credentials))
    }

    async fn tell(&self, held: &Held, contact: &[String]) -> Result<(), NoAccount> {
        held.account.update_contact(contact).await?;
        let told = held.credentials.clone().with_contact(contact);
        self.store.save_account(held.account.ca().url(), &told)?;
        tracing::info!(
            account = held.account.url(),
            ?contact,
            "the CA has these e-mail addresses now"
        );
        Ok(())
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
