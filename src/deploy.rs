//! Puts a saved certificate live: the link flipped, nginx told, and what it really serves compared; or the previous one put back.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::config::{App, Config};
use crate::convoy::{Halt, Seat};
use crate::files::Entry;
use crate::identifier::{AppName, Identifier};
use crate::issuance::Pair;
use crate::nginx::change::Change;
use crate::nginx::control::{Control, ControlError, Listener, Outcome, Stage};
use crate::nginx::served::{self, Served, TlsServer};
use crate::nginx::settled::Patience;
use crate::nginx::survey::Surveyor;
use crate::progress::{Progress, Step};
use crate::store::{Store, StoreError, Version};

/// How nginx took a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployed {
    /// It serves it, as seen by asking so many names and addresses.
    Served(usize),
    /// It took it, but no TLS server uses it yet.
    NotServedYet,
}

/// Why a certificate is not live. The previous one is.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// nginx did not take it, or could not be told.
    #[error("the new certificate is saved but not live: {0}")]
    Control(#[from] ControlError),
    /// nginx took it and serves another.
    #[error(
        "nginx serves {what} for {name} instead of the new certificate; the previous one is live again"
    )]
    NotServed {
        /// The name that was asked for.
        name: Identifier,
        /// What was served.
        what: String,
    },
    /// What was done can't be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeployError {
    /// What to do about it, in one sentence.
    pub fn next_step(&self, config: &Config) -> String {
        match self {
            Self::Control(error) => error.next_step(&config.nginx.commands),
            Self::NotServed { .. } => {
                "look into nginx's error log for why it did not take its new configuration".into()
            }
            Self::Store(error) => error.next_step(),
        }
    }
}

/// One certificate on its way to nginx.
pub struct Deployment<'a> {
    /// The state on disk.
    pub store: &'a Store,
    /// Tests and reloads nginx.
    pub control: &'a Arc<Control>,
    /// Its place among those who share a reload.
    pub seat: &'a Seat,
    /// Reads nginx's configuration.
    pub surveyor: &'a Surveyor,
    /// The configuration.
    pub config: &'a Config,
    /// The apps whose TLS servers are looked at.
    pub apps: &'a [App],
    /// The lineage.
    pub name: &'a AppName,
    /// Who hears of it.
    pub progress: &'a Progress,
}

impl Deployment<'_> {
    /// Flips the link and has nginx serve it.
    pub async fn deploy(&self, pair: &Pair) -> Result<Deployed, DeployError> {
        let previous = self.store.live_version(self.name)?;
        let (changes, listener) = match previous == Some(pair.version) {
            // Already flipped: nginx only has to be told.
            true => (Vec::new(), Box::new(|_| {}) as Listener),
            false => (vec![self.flip_to(pair.version)], self.tell()),
        };
        let control = Arc::clone(self.control);
        let ask = move || control.apply(changes, listener);
        let applied = self.seat.together(Halt::Live, ask).await;
        let patience = match applied.await {
            Ok(Outcome::Reloaded { took, old_workers }) => {
                Patience::after_reload(took, &old_workers)
            }
            Ok(Outcome::Unchanged | Outcome::GoneButNotReloaded(_)) => Patience::UNTOUCHED,
            Err(error) => {
                if matches!(error, ControlError::Refused { .. }) {
                    self.remember(|lineage| lineage.rejected = Some(pair.version))?;
                }
                return Err(error.into());
            }
        };
        match self.compare(pair, patience).await {
            Ok(deployed) => {
                self.remember(|lineage| {
                    lineage.deployed = Some(pair.version);
                    lineage.summary = Some(pair.summary());
                })?;
                Ok(deployed)
            }
            Err(error) => {
                // First of all what users are served; what can't be written down must not keep it from them.
                if let Some(previous) = previous.filter(|previous| *previous != pair.version) {
                    self.control
                        .apply(vec![self.flip_to(previous)], Box::new(|_| {}))
                        .await?;
                }
                self.remember(|lineage| lineage.rejected = Some(pair.version))?;
                Err(error)
            }
        }
    }

    fn flip_to(&self, version: Version) -> Change {
        Change::place(
            self.store.live_link(self.name),
            Entry::Link(self.store.live_target(self.name, version)),
        )
    }

    fn tell(&self) -> Listener {
        let (progress, link) = (self.progress.clone(), self.store.live_link(self.name));
        Box::new(move |stage| match stage {
            Stage::Written => progress.reached(Step::Flipped, link.display().to_string()),
            Stage::Tested => progress.reached(Step::Tested, "nginx -t"),
            Stage::Reloaded => progress.reached(Step::Reloaded, "nginx"),
        })
    }

    fn remember(&self, change: impl FnOnce(&mut crate::store::Lineage)) -> Result<(), StoreError> {
        let mut lineage = self.store.lineage(self.name)?;
        change(&mut lineage);
        self.store.save_lineage(self.name, &lineage)
    }

    /// Compares what nginx serves for each name with what is live.
    async fn compare(&self, pair: &Pair, patience: Patience) -> Result<Deployed, DeployError> {
        let leaf = &pair.chain.certificates()[0];
        let servers = self.tls_servers(pair).await;
        let answers = servers
            .iter()
            .map(|(server, _)| served::wait_for(server, leaf, patience.clone()).boxed());
        let mut seen = 0;
        for ((server, uses), served) in servers.iter().zip(join_all(answers).await) {
            match served {
                Served::Expected => seen += 1,
                Served::Unreachable(reason) => {
                    self.progress.notice(format!(
                        "nginx can't be asked for the certificate of {} at {}: {reason}",
                        server.name, server.address
                    ));
                }
                Served::Other(_) | Served::Failed(_) if *uses == Uses::Perhaps => {
                    self.progress.notice(format!(
                        "nginx serves another certificate for {} at {}, by a path with variables that may not lead to ours",
                        server.name, server.address
                    ));
                }
                Served::Other(der) => return Err(self.not_served(server, described(der))),
                Served::Failed(reason) => {
                    return Err(self.not_served(server, format!("nothing ({reason})")));
                }
            }
        }
        if seen == 0 {
            let live = self.store.live_link(self.name);
            self.progress.notice(format!(
                "no TLS server of nginx's uses this certificate yet; name {0}/fullchain.pem and {0}/privkey.pem in its ssl_certificate and ssl_certificate_key",
                live.display()
            ));
            return Ok(Deployed::NotServedYet);
        }
        self.progress.reached(
            Step::Live,
            match seen {
                1 => "served, as 1 TLS server shows".to_owned(),
                _ => format!("served, as {seen} TLS servers show"),
            },
        );
        Ok(Deployed::Served(seen))
    }

    fn not_served(&self, server: &TlsServer, what: String) -> DeployError {
        DeployError::NotServed {
            name: server.name.clone(),
            what,
        }
    }

    /// The TLS servers that use our files, or perhaps do, for one of the names.
    async fn tls_servers(&self, pair: &Pair) -> Vec<(TlsServer, Uses)> {
        let live = self.store.live_link(self.name);
        let mut servers = Vec::new();
        for app in self.apps {
            let survey = self.surveyor.survey(app.door.directory(), None).await;
            let names: Vec<_> = pair
                .chain
                .identifiers()
                .iter()
                .filter(|name| app.covers(name))
                .cloned()
                .collect();
            for (server, certificate) in survey.tls_servers(&names) {
                match uses(&certificate, &live) {
                    Uses::Another => self.progress.notice(format!(
                        "nginx serves {} with {}, not with our {}/fullchain.pem",
                        server.name,
                        certificate.display(),
                        live.display()
                    )),
                    uses => servers.push((server, uses)),
                }
            }
        }
        servers
    }
}

/// Whose certificate a server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uses {
    /// Ours: it is read through our live link.
    Ours,
    /// Ours perhaps: a variable stands where our name would.
    Perhaps,
    /// Another's.
    Another,
}

fn uses(certificate: &Path, live: &Path) -> Uses {
    let resolved = live.parent().and_then(|parent| parent.canonicalize().ok());
    let resolved = resolved
        .zip(live.file_name())
        .map(|(parent, name)| parent.join(name));
    let links: Vec<_> = [Some(live.to_owned()), resolved]
        .into_iter()
        .flatten()
        .collect();
    let written = certificate.to_string_lossy();
    let is_ours = match written.split_once('$') {
        // What stands before the variable has to lead towards our link.
        Some((before, _)) => links
            .iter()
            .any(|link| link.to_string_lossy().starts_with(before)),
        None => links.iter().any(|link| certificate.starts_with(link)),
    };
    match (is_ours, written.contains('$')) {
        (true, false) => Uses::Ours,
        (true, true) => Uses::Perhaps,
        (false, _) => Uses::Another,
    }
}

fn described(der: Vec<u8>) -> String {
    match crate::certificate::Chain::from_der(vec![der.into()]) {
        Ok(chain) => format!(
            "another certificate (by {}, good until {})",
            chain.issuer(),
            chain.not_after()
        ),
        Err(_) => "another certificate".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whose_certificate_a_server_uses() {
        let live = Path::new("/var/lib/sidedoor/live/shop");
        for (certificate, whose) in [
            ("/var/lib/sidedoor/live/shop/fullchain.pem", Uses::Ours),
            ("/var/lib/sidedoor/live/shop2/fullchain.pem", Uses::Another),
            ("/etc/letsencrypt/live/shop/fullchain.pem", Uses::Another),
            (
                "/var/lib/sidedoor/live/$ssl_server_name/fullchain.pem",
                Uses::Perhaps,
            ),
            (
                "/etc/letsencrypt/live/$ssl_server_name/fullchain.pem",
                Uses::Another,
            ),
            ("$certificate", Uses::Perhaps),
        ] {
            assert_eq!(uses(Path::new(certificate), live), whose, "{certificate}");
        }
    }
}
