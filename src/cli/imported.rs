//! What `sidedoor import` prints: each piece and what became of it, then what is left to do.

use super::output::{Output, tell, time};
use super::{Exit, of_several};
use crate::import::{AccountOutcome, CertificateOutcome, Imported, ImportedAccount};

impl Output {
    /// Tells what was taken over, and what that means to the caller.
    pub(super) fn import(&self, imported: &Imported) -> Exit {
        match serde_json::to_string_pretty(imported) {
            Ok(json) if self.wants_json() => self.say(&json),
            _ => self.import_lines(imported),
        }
        let failed = |outcome: &_| matches!(outcome, CertificateOutcome::Failed(_));
        of_several(imported.certificates.iter().map(|one| failed(&one.outcome)))
    }

    fn import_lines(&self, imported: &Imported) {
        for certificate in &imported.certificates {
            let origin = certificate.origin.display();
            match &certificate.outcome {
                CertificateOutcome::TakenOver {
                    name,
                    not_after,
                    expired,
                    path,
                    ..
                } => self.say(&format!(
                    "{name}: taken over from {origin}, {} {}, in {}",
                    if *expired { "EXPIRED at" } else { "good until" },
                    time(*not_after),
                    path.display()
                )),
                CertificateOutcome::Kept { name, not_after } => self.say(&format!(
                    "{name}: not taken over from {origin}, since ours is good until {} and ends no sooner",
                    time(*not_after)
                )),
                CertificateOutcome::Failed(report) => tell(format_args!(
                    "error: {}\n next: {}\n",
                    report.what, report.next_step
                )),
            }
        }
        for account in &imported.accounts {
            self.say(&account_line(account));
        }
        self.say("next:");
        for step in &imported.next_steps {
            self.say(&format!("  - {step}"));
        }
        if let Some(configuration) = &imported.configuration {
            self.say(&format!("\n{}", configuration.trim_end()));
        }
    }
}

fn account_line(account: &ImportedAccount) -> String {
    let origin = account.origin.display();
    let directory = account.directory.as_deref().unwrap_or("an unknown CA");
    match &account.outcome {
        AccountOutcome::TakenOver => format!("account at {directory}: taken over from {origin}"),
        AccountOutcome::Kept => {
            format!(
                "account at {directory}: not taken over from {origin}, since there is one already"
            )
        }
        AccountOutcome::Left { reason } => format!(
            "account at {directory}: not taken over from {origin}, since {reason}; the next order makes a new one"
        ),
    }
}
