//! What is left to do by hand after an import: nginx's lines, the other client's timer, the configuration.

use super::{CertificateOutcome, Client, ImportedCertificate};
use crate::config::Config;
use crate::identifier::{AppName, Identifier};

pub(super) fn next_steps(
    config: &Config,
    client: Client,
    certificates: &[ImportedCertificate],
    has_configuration: bool,
) -> Vec<String> {
    let mut steps = Vec::new();
    if has_configuration {
        steps.push(format!(
            "add the [[app]] tables below to {}, with each app's upstream, and their include lines to nginx",
            config.file.display()
        ));
    }
    for certificate in certificates {
        if let CertificateOutcome::TakenOver { path, replaces, .. } = &certificate.outcome {
            let (key, chain) = replaces;
            steps.push(format!(
                "where nginx's configuration names {} and {}, write: ssl_certificate {2}/fullchain.pem; ssl_certificate_key {2}/privkey.pem;",
                chain.display(),
                key.display(),
                path.display()
            ));
        }
    }
    steps.push("`nginx -t && nginx -s reload`, then `sidedoor renew` for what is due, and see in `sidedoor status` that nginx serves what is stored".into());
    steps.push(stop(client).into());
    steps
}

/// How the other client is kept from renewing what is ours now.
fn stop(client: Client) -> &'static str {
    match client {
        Client::Certbot => {
            "when all is well, stop certbot: `systemctl disable --now certbot.timer` (snap: `snap.certbot.renew.timer`), and see that no cron job runs it (/etc/cron.d/certbot)"
        }
        Client::Dehydrated => {
            "when all is well, take dehydrated out of cron (`crontab -l`, /etc/cron.d, /etc/cron.daily)"
        }
        Client::AcmeSh => {
            "when all is well, stop acme.sh: `acme.sh --uninstall-cronjob`, as the user who runs it"
        }
        Client::DokkuLetsencrypt => {
            "when all is well, stop the plugin: `dokku letsencrypt:cron-job --remove`"
        }
    }
}

/// Tables for what no app has, each with the lineage's name, so that the app goes on with its certificate.
pub(super) fn configuration(
    config: &Config,
    certificates: &[ImportedCertificate],
    wanted: &[Vec<Identifier>],
) -> Option<String> {
    let mut apps: Vec<(AppName, &[Identifier])> = Vec::new();
    for certificate in certificates {
        if let CertificateOutcome::TakenOver {
            name, identifiers, ..
        } = &certificate.outcome
        {
            apps.push((name.clone(), identifiers));
        }
    }
    for names in wanted {
        if let Some(first) = names.first() {
            apps.push((AppName::of_identifier(first), names));
        }
    }
    let mut tables = Vec::new();
    let mut seen: Vec<&Identifier> = Vec::new();
    for (name, identifiers) in apps {
        let is_new = |identifier: &&Identifier| {
            config.app_of(identifier).is_none() && !seen.contains(identifier)
        };
        let new: Vec<_> = identifiers.iter().filter(is_new).collect();
        if !new.is_empty() && config.app(&name).is_none() {
            tables.push(table(&name, &new));
            seen.extend(new);
        }
    }
    (!tables.is_empty()).then(|| tables.join("\n"))
}

fn table(name: &AppName, identifiers: &[&Identifier]) -> String {
    let quoted = |names: Vec<&&Identifier>| {
        let names = names.into_iter().map(|name| format!("\"{name}\""));
        names.collect::<Vec<_>>().join(", ")
    };
    let (wildcards, hosts): (Vec<_>, Vec<_>) =
        identifiers.iter().partition(|name| name.needs_dns());
    let note = match wildcards.is_empty() {
        true => String::new(),
        false => format!(
            "# {} would need validation by dns-01, which this version doesn't have: name the hosts one by one\n",
            quoted(wildcards)
        ),
    };
    if hosts.is_empty() {
        return note;
    }
    format!(
        "[[app]]\nname        = \"{name}\"\n{note}domains     = [{}]\n# upstream    = \"http://127.0.0.1:5000\"\ninclude_dir = \"/etc/nginx/sidedoor.d/{name}\"\n",
        quoted(hosts)
    )
}
