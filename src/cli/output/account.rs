//! An account in words.

use crate::admin::account::{AccountAct, AccountStatus};

/// What was done, and how the account stands.
pub(super) fn lines(act: AccountAct, account: &AccountStatus) -> Vec<String> {
    let directory = &account.directory;
    let Some(url) = &account.url else {
        return vec![format!(
            "there is no account at {directory} yet; `sidedoor account register` makes one, and so does the first certificate"
        )];
    };
    let done = match act {
        AccountAct::Show => None,
        AccountAct::Register => Some(format!("there is an account at {directory}")),
        AccountAct::Update => Some(format!("{directory} was told the e-mail addresses")),
        AccountAct::Rollover => Some(format!("the account at {directory} has a new key")),
        AccountAct::Deactivate => Some(format!(
            "the account at {directory} is closed for good; the next certificate makes another"
        )),
    };
    let mut lines = vec![done.unwrap_or_else(|| directory.clone())];
    lines.push(format!("  account  {url}"));
    if let Some(status) = &account.status {
        lines.push(format!("  status   {status}"));
    }
    if !account.contact.is_empty() {
        lines.push(format!("  contact  {}", account.contact.join(", ")));
    }
    if let Some(thumbprint) = &account.thumbprint {
        lines.push(format!("  key      {thumbprint} (RFC 7638)"));
    }
    lines.push(format!("  file     {}", account.file));
    if let Some(error) = &account.error {
        lines.push(format!("  failed   {error}"));
    }
    lines
}
