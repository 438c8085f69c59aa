//! A certificate revoked at its CA, and another one in its place.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::Listener;
use super::issuing::issue;
use crate::accounts::NoAccount;
use crate::acme::{AccountError, RevocationReason};
use crate::admin::protocol::{Reply, RevokedBy};
use crate::certificate::{Chain, PrivateKey};
use crate::config::{Acme, Config, Directory};
use crate::engine::Engine;
use crate::identifier::AppName;
use crate::issuance::Urgency;
use crate::jobs::of_lineage;
use crate::report::Report;
use crate::store::{Lineage, Revoked, Store, StoreError, Version};

/// An issuance for the same name takes a few minutes at most.
const LOCK_LIMIT: Duration = Duration::from_secs(900);

/// What is live is revoked, and a new certificate with a new key takes its place, unless `no_new`: then nobody issues it but by hand.
pub(super) async fn revoke(
    engine: &Arc<Engine>,
    name: AppName,
    reason: RevocationReason,
    no_new: bool,
    listener: Listener,
) -> Result<Reply, Report> {
    let config = engine.config();
    let store = &engine.parts.store;
    // What can't be replaced is not revoked by accident.
    let job = match no_new {
        true => None,
        false => Some(of_lineage(store, &config, &name, Urgency::Asked)?),
    };
    let (serial, by) = {
        let _lock = store.lock_lineage(&name, LOCK_LIMIT).await.map_err(told)?;
        let live = Live::read(store, &name)?;
        let serial = live.chain.serial().to_owned();
        let by = live.revoke(engine, &config, reason).await?;
        live.remember(store, &name, reason, no_new)
            .map_err(|error| {
                let what = format!(
                    "the certificate of {name} is revoked, but that can't be written down: {error}"
                );
                Report::new(what, error.next_step())
            })?;
        (serial, by)
    };
    tracing::info!(certificate = %name, serial, %reason, "the certificate is revoked");
    let new = match &job {
        None => None,
        Some(job) => Some(issue(engine, job, listener).await.map_err(|report| {
            let what = format!(
                "the certificate of {name} is revoked, but there is no new one yet: {}",
                report.what
            );
            Report::new(what, report.next_step)
        })?),
    };
    Ok(Reply::Revoked {
        name,
        serial,
        reason,
        by,
        new,
    })
}

/// Nobody but who asks for it by hand gets a certificate that was revoked for good; who does, is looked after again.
pub(super) async fn lift(store: &Store, name: &AppName) -> Result<(), Report> {
    if !store.lineage(name).map_err(told)?.is_withdrawn() {
        return Ok(());
    }
    let _lock = store.lock_lineage(name, LOCK_LIMIT).await.map_err(told)?;
    let mut lineage = store.lineage(name).map_err(told)?;
    if let Some(revoked) = &mut lineage.revoked {
        revoked.withdrawn = false;
    }
    store.save_lineage(name, &lineage).map_err(told)
}

fn told(error: StoreError) -> Report {
    Report::new(&error, error.next_step())
}

/// What is live, and all that could revoke it.
struct Live {
    name: AppName,
    version: Version,
    chain: Chain,
    key: Option<PrivateKey>,
    lineage: Lineage,
}

impl Live {
    fn read(store: &Store, name: &AppName) -> Result<Self, Report> {
        let none = || {
            Report::new(
                format!("{name} has no certificate"),
                "see `sidedoor status` for those there are",
            )
        };
        let version = store.live_version(name).map_err(told)?.ok_or_else(none)?;
        let saved = store.version(name, version).map_err(told)?;
        let chain = Chain::from_pem(&saved.fullchain).map_err(|error| {
            let file = store.live_link(name).join("fullchain.pem");
            Report::new(
                error,
                format!("put the certificate back into {}", file.display()),
            )
        })?;
        if chain.is_placeholder() {
            return Err(none());
        }
        let key = PrivateKey::from_pem(&saved.privkey).ok();
        Ok(Self {
            name: name.clone(),
            version,
            key: key.filter(|key| chain.check_key(key).is_ok()),
            chain,
            lineage: store.lineage(name).map_err(told)?,
        })
    }

    /// By the account that has ordered it, or by its own key where the CA does not take that. A key that somebody else may have
    /// proves that best by itself.
    async fn revoke(
        &self,
        engine: &Engine,
        config: &Config,
        reason: RevocationReason,
    ) -> Result<RevokedBy, Report> {
        let (directory, acme) = self.ca(config)?;
        let ways = match reason {
            RevocationReason::KeyCompromise => [RevokedBy::Key, RevokedBy::Account],
            _ => [RevokedBy::Account, RevokedBy::Key],
        };
        let mut refused = None;
        for by in ways {
            match self.revoke_by(by, engine, &directory, acme, reason).await {
                Ok(true) => return Ok(by),
                Ok(false) => {}
                Err(NoAccount::Account(
                    error @ (AccountError::Gone { .. }
                    | AccountError::Refused { .. }
                    | AccountError::Credentials { .. }),
                )) => {
                    tracing::info!(certificate = %self.name, ?by, %error, "the CA does not revoke it so");
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error.report()),
            }
        }
        Err(match refused {
            Some(error) => Report::new(
                format!("{} is not revoked: {error}", self.name),
                "see that the certificate came from this CA, and revoke it with the client that has ordered it if it wasn't sidedoor",
            ),
            None => Report::new(
                format!(
                    "{} is not revoked: neither the account at {directory} nor the certificate's key is here",
                    self.name
                ),
                "revoke it with the client that has ordered it",
            ),
        })
    }

    /// Whether there is something to do it by.
    async fn revoke_by(
        &self,
        by: RevokedBy,
        engine: &Engine,
        directory: &Directory,
        acme: &Acme,
        reason: RevocationReason,
    ) -> Result<bool, NoAccount> {
        let accounts = &engine.parts.accounts;
        let leaf: &CertificateDer<'_> = &self.chain.certificates()[0];
        match by {
            RevokedBy::Account => {
                let Some(account) = accounts.existing(directory, acme).await? else {
                    return Ok(false);
                };
                account.revoke(leaf, reason).await?;
            }
            RevokedBy::Key => {
                let Some(key) = &self.key else {
                    return Ok(false);
                };
                let ca = accounts.ca(directory, acme)?;
                ca.revoke_by_key(leaf, key, reason).await?;
            }
        }
        Ok(true)
    }

    /// The CA it came from, as far as is known; else the configuration's first.
    fn ca<'a>(&self, config: &'a Config) -> Result<(Directory, &'a Acme), Report> {
        let cas = config.cas();
        let from = self.lineage.directory.as_deref();
        let meant = cas
            .iter()
            .find(|(directory, _)| from.is_none_or(|from| from == directory.url()));
        match (meant, from) {
            (Some((directory, acme)), _) => Ok(((*directory).clone(), acme)),
            // It is no longer ordered from there.
            (None, Some(from)) => match from.parse() {
                Ok(directory) => Ok((directory, &config.acme)),
                Err(error) => Err(Report::new(
                    error,
                    "revoke it with the client that has ordered it",
                )),
            },
            (None, None) => Err(Report::new(
                "no CA is configured",
                "name the one it came from as `directory` under [acme]",
            )),
        }
    }

    /// Writes down that it is revoked, and forgets what was to become of an order in flight, whose key may be the same.
    fn remember(
        &self,
        store: &Store,
        name: &AppName,
        reason: RevocationReason,
        withdrawn: bool,
    ) -> Result<(), StoreError> {
        // A newer one, which nginx would not have, may have the same key.
        let mut version = self.version;
        for newer in store.versions(name)? {
            let chain = Chain::from_pem(&store.version(name, newer)?.fullchain);
            if newer > version && chain.is_ok_and(|chain| chain.has_key_of(&self.chain)) {
                version = newer;
            }
        }
        let mut lineage = self.lineage.clone();
        lineage.order = None;
        lineage.revoked = Some(Revoked {
            version,
            at: OffsetDateTime::now_utc(),
            reason: reason.to_string(),
            withdrawn,
        });
        store.save_lineage(name, &lineage)?;
        store.forget_next_key(name)
    }
}
