//! What is meant by an app, by names or by a lineage: which certificate, through whose doors.

use crate::config::{App, Config};
use crate::identifier::{AppName, Identifier};
use crate::issuance::{Job, Urgency, is_for_same};
use crate::report::Report;
use crate::store::{Store, StoreError};

/// The app of this name.
pub fn find_app<'a>(config: &'a Config, name: &AppName) -> Result<&'a App, Report> {
    config.app(name).ok_or_else(|| unknown(config, name))
}

fn unknown(config: &Config, name: &AppName) -> Report {
    let known: Vec<_> = config.apps.iter().map(|app| app.name.as_str()).collect();
    let next_step = match known.is_empty() {
        true => format!("add an [[app]] to {}", config.file.display()),
        false => format!("name one of: {}", known.join(", ")),
    };
    let what = format!("there is no app {name} in {}", config.file.display());
    Report::new(what, next_step)
}

/// The apps meant, each with those of its names that are meant: this app, these names, or everything.
pub fn apps_and_names(
    config: &Config,
    app: Option<&AppName>,
    names: Vec<Identifier>,
) -> Result<Vec<(App, Vec<Identifier>)>, Report> {
    if app.is_none() && names.is_empty() {
        return Ok(config
            .apps
            .iter()
            .map(|app| (app.clone(), app.domains.clone()))
            .collect());
    }
    let Job {
        identifiers, apps, ..
    } = job(config, app, names, Urgency::Asked)?;
    let own = |app: &App| {
        identifiers
            .iter()
            .filter(|name| app.covers(name))
            .cloned()
            .collect()
    };
    Ok(apps
        .into_iter()
        .map(|app| (app.clone(), own(&app)))
        .collect())
}

/// What to issue for an app, or for names that apps have.
pub fn job(
    config: &Config,
    app: Option<&AppName>,
    names: Vec<Identifier>,
    urgency: Urgency,
) -> Result<Job, Report> {
    let only = match &config.apps[..] {
        [only] if names.is_empty() => Some(&only.name),
        _ => None,
    };
    match (app.or(only), names.first()) {
        (Some(app), None) => {
            let app = find_app(config, app)?;
            Ok(Job {
                name: app.name.clone(),
                identifiers: app.domains.clone(),
                apps: vec![app.clone()],
                acme: app.acme.clone(),
                urgency,
            })
        }
        (None, Some(first)) => {
            let same = config
                .apps
                .iter()
                .find(|app| is_for_same(&app.domains, &names));
            let name = match same {
                Some(app) => app.name.clone(),
                None => AppName::of_identifier(first),
            };
            if same.is_none() && config.app(&name).is_some() {
                return Err(Report::new(
                    format!(
                        "a certificate for these names would be called {name}, as that app's own is"
                    ),
                    format!("name all domains of {name}, or begin with another name"),
                ));
            }
            job_of(config, name, names, urgency)
        }
        _ => Err(Report::new(
            "either an app or names are to be given",
            "write `sidedoor issue APP` or `sidedoor issue -d NAME`",
        )),
    }
}

fn job_of(
    config: &Config,
    name: AppName,
    mut identifiers: Vec<Identifier>,
    urgency: Urgency,
) -> Result<Job, Report> {
    let mut apps: Vec<App> = Vec::new();
    let mut seen = Vec::new();
    identifiers.retain(|identifier| {
        let new = !seen.contains(identifier);
        seen.push(identifier.clone());
        new
    });
    for identifier in &identifiers {
        if identifier.needs_dns() {
            let what = format!(
                "{identifier} needs validation by dns-01, and this version validates by http-01 only"
            );
            return Err(Report::new(what, "name the hosts one by one"));
        }
        let Some(app) = config.app_of(identifier) else {
            let next_step = format!(
                "add it to the domains of an [[app]] in {}",
                config.file.display()
            );
            return Err(Report::new(
                format!("no app has the name {identifier}, so there is no door for it"),
                next_step,
            ));
        };
        if !apps.iter().any(|known| known.name == app.name) {
            apps.push(app.clone());
        }
    }
    let acme = apps
        .first()
        .map_or_else(|| config.acme.clone(), |app| app.acme.clone());
    Ok(Job {
        name,
        identifiers,
        apps,
        acme,
        urgency,
    })
}

/// Every enabled app's certificate, and every other that there is.
pub fn every_name(store: &Store, config: &Config) -> Result<Vec<AppName>, StoreError> {
    let enabled = config.apps.iter().filter(|app| app.enabled);
    let mut names: Vec<_> = enabled.map(|app| app.name.clone()).collect();
    let lineages = store.lineages()?.into_iter();
    names.extend(lineages.filter(|name| config.app(name).is_none()));
    Ok(names)
}

/// What to issue for a lineage: for its app, or for the names it had.
pub fn of_lineage(
    store: &Store,
    config: &Config,
    name: &AppName,
    urgency: Urgency,
) -> Result<Job, Report> {
    if config.app(name).is_some() {
        return job(config, Some(name), Vec::new(), urgency);
    }
    let lineage = store
        .lineage(name)
        .map_err(|error| Report::new(&error, error.next_step()))?;
    match lineage.identifiers.is_empty() {
        true => Err(unknown(config, name)),
        false => job_of(config, name.clone(), lineage.identifiers, urgency),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(apps: &[&str]) -> Config {
        let tables = apps.iter().map(|app| {
            format!("[[app]]\nname = \"{app}\"\ndomains = [\"{app}.example\"]\ninclude_dir = \"/{app}\"\n")
        });
        Config::parse(Path::new("/sidedoor.toml"), &tables.collect::<String>()).unwrap()
    }

    #[test]
    fn the_only_app_needs_no_name() {
        let job = job(&config(&["shop"]), None, Vec::new(), Urgency::Asked).unwrap();
        assert_eq!(job.name.as_str(), "shop");
    }

    #[test]
    fn of_several_apps_one_has_to_be_named() {
        for apps in [&["shop", "wiki"][..], &[]] {
            assert!(job(&config(apps), None, Vec::new(), Urgency::Asked).is_err());
        }
    }

    #[test]
    fn names_are_taken_without_an_app_also_where_there_is_only_one() {
        let names = vec!["shop.example".parse().unwrap()];
        let job = job(&config(&["shop"]), None, names, Urgency::Asked).unwrap();
        assert_eq!(job.name.as_str(), "shop");
    }

    #[test]
    fn two_certificates_never_share_a_name() {
        let text = "[[app]]\nname = \"a.example\"\ndomains = [\"a.example\", \"b.example\"]\ninclude_dir = \"/a\"\n";
        let config = Config::parse(Path::new("/sidedoor.toml"), text).unwrap();
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| name.parse().unwrap()).collect();
            job(&config, None, names, Urgency::Asked).map(|job| job.name.to_string())
        };
        assert_eq!(named(&["b.example", "a.example"]).unwrap(), "a.example");
        assert_eq!(named(&["b.example"]).unwrap(), "b.example");
        assert!(named(&["a.example"]).is_err());
    }
}
