//! What is told of each certificate and of the CAs' limits: read from the disk when it is asked for, but for what nginx was seen to serve.

use time::OffsetDateTime;

use super::Sightings;
use crate::agenda::Agenda;
use crate::budget::Limits;
use crate::config::Config;
use crate::exposition::{Kind, Page};
use crate::identifier::AppName;
use crate::issuance::Urgency;
use crate::jobs;
use crate::schedule::Attempt;
use crate::store::Store;

/// One certificate that is looked after.
struct Outlook {
    name: AppName,
    /// When what is stored ends; nothing before the first.
    not_after: Option<OffsetDateTime>,
    /// Nothing where it was revoked for good.
    attempt: Option<Attempt>,
}

/// Tells of them. Reads files, so not for a thread that others wait for.
pub fn write_certificates(
    store: &Store,
    config: &Config,
    sightings: &Sightings,
    now: OffsetDateTime,
    page: &mut Page,
) {
    let names = jobs::every_name(store, config).unwrap_or_else(|error| {
        tracing::error!(%error, "the certificates can't be listed for metrics");
        Vec::new()
    });
    let outlooks = names.into_iter().map(|name| look(store, config, name, now));
    let outlooks: Vec<_> = outlooks.collect();
    let mut stored = page.family(
        Kind::Gauge,
        "sidedoor_certificate_expiry_timestamp_seconds",
        "When the stored certificate ends, in Unix time.",
    );
    for Outlook {
        name, not_after, ..
    } in &outlooks
    {
        if let Some(not_after) = not_after {
            stored.sample(
                &[("certificate", name.as_str())],
                not_after.unix_timestamp(),
            );
        }
    }
    let mut attempts = page.family(
        Kind::Gauge,
        "sidedoor_certificate_next_attempt_timestamp_seconds",
        "When the next certificate is attempted and why then, in Unix time.",
    );
    for Outlook { name, attempt, .. } in &outlooks {
        if let Some(Attempt { at, why }) = attempt {
            let labels = [("certificate", name.as_str()), ("reason", why.reason())];
            attempts.sample(&labels, at.unix_timestamp());
        }
    }
    write_served(&outlooks, sightings, page);
}

fn look(store: &Store, config: &Config, name: AppName, now: OffsetDateTime) -> Outlook {
    let job = jobs::of_lineage(store, config, &name, Urgency::due(false)).ok();
    // What can't be read is in the log, and in `status`.
    let agenda = job.and_then(|job| Agenda::read(store, &job).ok());
    let summary = agenda.as_ref().and_then(|agenda| agenda.summary.as_ref());
    Outlook {
        name,
        not_after: summary.map(|summary| summary.not_after),
        attempt: agenda
            .as_ref()
            .filter(|agenda| !agenda.lineage.is_withdrawn())
            .map(|agenda| agenda.outlook(now).attempt),
    }
}

fn write_served(outlooks: &[Outlook], sightings: &Sightings, page: &mut Page) {
    let seen = || {
        let outlooks = outlooks.iter();
        outlooks.filter_map(|Outlook { name, .. }| Some((name, sightings.of(name)?)))
    };
    let mut served = page.family(
        Kind::Gauge,
        "sidedoor_certificate_served_expiry_timestamp_seconds",
        "When the certificate ends that nginx was last seen to serve, in Unix time.",
    );
    for (name, sighting) in seen() {
        let end = sighting.not_after.unix_timestamp();
        served.sample(&[("certificate", name.as_str())], end);
    }
    let mut asked = page.family(
        Kind::Gauge,
        "sidedoor_certificate_served_seen_timestamp_seconds",
        "When nginx was last seen to serve it, in Unix time.",
    );
    for (name, sighting) in seen() {
        let at = sighting.at.unix_timestamp();
        asked.sample(&[("certificate", name.as_str())], at);
    }
}

/// Tells what is left of each CA's limits. Reads files, too.
pub fn write_budgets(store: &Store, config: &Config, now: OffsetDateTime, page: &mut Page) {
    let mut family = page.family(
        Kind::Gauge,
        "sidedoor_budget_left",
        "How many more orders a limit of the CA allows at once.",
    );
    for (directory, _) in config.cas() {
        let budget = match store.budget(directory.url()) {
            Ok(budget) => budget,
            Err(error) => {
                tracing::error!(%directory, %error, "what is left of a CA's limits can't be told");
                continue;
            }
        };
        for left in budget.left(&Limits::of(directory.url()), now) {
            let labels = [
                ("directory", directory.url()),
                ("limit", left.limit.as_str()),
                ("of", left.of.as_str()),
            ];
            family.sample(&labels, left.orders);
        }
    }
}
