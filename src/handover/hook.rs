//! A deploy hook: a program that is told of a certificate that is live, by the variables that certbot sets. It never sees a key.

use super::{Handover, program};
use crate::command::{quoted, quoted_word};
use crate::identifier::Identifier;
use crate::issuance::Pair;
use crate::report::Report;
use crate::store::{Errand, ErrandKind};

/// Runs a hook for this pair, and tells what came of it.
pub(super) async fn run(hook: &[String], handover: &Handover<'_>, pair: &Pair) -> Errand {
    let lineage = handover.store.live_link(handover.name);
    let names = pair.chain.identifiers().iter().map(Identifier::to_string);
    let domains = names.collect::<Vec<_>>().join(" ");
    let environment = [
        ("RENEWED_LINEAGE", lineage.as_os_str()),
        ("RENEWED_DOMAINS", domains.as_ref()),
    ];
    let limit = handover.wanted.hook_time;
    let ran = program::run(handover.name, hook, &environment, limit).await;
    let what = quoted(hook);
    ran.into_errand(ErrandKind::Hook, &what, pair.version, |problem| {
        Report::new(
            format!("the certificate is live, but the deploy hook {what} {problem}"),
            format!(
                "mend the hook, then run it by hand: RENEWED_LINEAGE={} RENEWED_DOMAINS={} {what}",
                quoted_word(&lineage.to_string_lossy()),
                quoted_word(&domains)
            ),
        )
    })
}
