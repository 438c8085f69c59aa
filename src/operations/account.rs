//! What is asked for with the account at a CA.

use std::sync::Arc;

use crate::accounts::NoAccount;
use crate::admin::account::{AccountAct, AccountStatus};
use crate::admin::protocol::Reply;
use crate::config::{Acme, Config, Directory};
use crate::engine::Engine;
use crate::report::Report;

/// Does it with the account at this CA, or at the configuration's first.
pub(super) async fn account(
    engine: &Arc<Engine>,
    act: AccountAct,
    directory: Option<&str>,
) -> Result<Reply, Report> {
    let config = engine.config();
    let (directory, acme) = &find(&config, directory)?;
    let accounts = &engine.parts.accounts;
    let failed = |error: NoAccount| error.report();
    match act {
        AccountAct::Show => {}
        AccountAct::Register => {
            let contact = config.contact_at(directory);
            let made = accounts.at(directory, acme, &contact).await;
            made.map_err(failed)?;
        }
        AccountAct::Update => {
            let contact = config.contact_at(directory);
            let told = accounts.update(directory, acme, &contact).await;
            told.map_err(failed)?;
        }
        AccountAct::Rollover => accounts.roll_over(directory, acme).await.map_err(failed)?,
        AccountAct::Deactivate => {
            let before = look(engine, directory, acme).await?;
            let aside = accounts.deactivate(directory, acme).await.map_err(failed)?;
            let account = AccountStatus {
                file: aside.display().to_string(),
                status: Some("deactivated".to_owned()),
                ..before
            };
            return Ok(Reply::Account { act, account });
        }
    }
    let account = look(engine, directory, acme).await?;
    Ok(Reply::Account { act, account })
}

/// The CA meant, which is one of the configuration's, or where those are tried out.
fn find<'a>(config: &'a Config, directory: Option<&str>) -> Result<(Directory, &'a Acme), Report> {
    let cas = config.cas();
    let stagings = cas
        .iter()
        .filter_map(|(known, acme)| Some((acme.staging_of(known)?, *acme)));
    let mut all = cas
        .iter()
        .map(|(known, acme)| ((*known).clone(), *acme))
        .chain(stagings);
    let meant = |(known, _): &(Directory, &Acme)| {
        directory.is_none_or(|directory| known.url() == directory)
    };
    all.find(meant).ok_or_else(|| {
        let known: Vec<_> = cas.iter().map(|(known, _)| known.url()).collect();
        let what = format!(
            "no certificate in {} is ordered from {}",
            config.file.display(),
            directory.unwrap_or_default()
        );
        Report::new(what, format!("name one of: {}", known.join(", ")))
    })
}

async fn look(
    engine: &Engine,
    directory: &Directory,
    acme: &Acme,
) -> Result<AccountStatus, Report> {
    let looked = engine.parts.accounts.look(directory, acme).await;
    let looked = looked.map_err(|error| error.report())?;
    let file = engine.parts.store.account_path(directory.url());
    let mut status = AccountStatus {
        directory: directory.url().to_owned(),
        url: None,
        thumbprint: None,
        status: None,
        contact: Vec::new(),
        file: file.display().to_string(),
        error: None,
    };
    if let Some((credentials, state)) = looked {
        status.url = Some(credentials.url().to_owned());
        status.thumbprint = credentials.thumbprint().ok();
        status.contact = credentials.contact().unwrap_or_default().to_vec();
        match state {
            Ok(state) => {
                status.status = Some(state.status);
                status.contact = state.contact;
            }
            Err(error) => status.error = Some(error.to_string()),
        }
    }
    Ok(status)
}
