//! A configuration written out again, with every default in it: what `sidedoor config show` prints. Reading it gives the same.

use std::fmt::{self, Display};
use std::time::Duration;

use super::{Acme, App, Config, Door, Form, Install, Resolver, UpstreamTrust};

impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state_dir = {}", text(self.state_dir.display()))?;
        if let Some(group) = &self.group {
            writeln!(f, "group = {}", text(group))?;
        }
        let listen: Vec<_> = self.listen.iter().map(ToString::to_string).collect();
        writeln!(f, "listen = [{}]", listen.join(", "))?;
        writeln!(
            f,
            "admin = {}",
            text(format_args!("unix:{}", self.admin.display()))
        )?;
        if let Resolver::Servers(servers) = &self.resolver {
            writeln!(f, "resolver = {}", list(servers))?;
        }
        if let Some(metrics) = &self.metrics {
            writeln!(f, "metrics = {}", text(metrics))?;
        }
        writeln!(f, "\n[acme]")?;
        acme(f, &self.acme, None)?;
        writeln!(f, "\n[nginx]")?;
        writeln!(f, "test = {}", list(&self.nginx.commands.test))?;
        writeln!(f, "reload = {}", list(&self.nginx.commands.reload))?;
        if let Some(probe) = &self.nginx.probe {
            writeln!(f, "probe = {}", list(probe))?;
        }
        writeln!(f, "prove = {}", self.nginx.prove)?;
        write!(f, "\n[proxy]\n{}", self.proxy)?;
        self.apps.iter().try_for_each(|one| app(f, one, &self.acme))
    }
}

fn app(f: &mut fmt::Formatter<'_>, app: &App, defaults: &Acme) -> fmt::Result {
    writeln!(f, "\n[[app]]")?;
    writeln!(f, "name = {}", text(&app.name))?;
    writeln!(f, "domains = {}", list(&app.domains))?;
    if !app.upstreams.is_empty() {
        writeln!(f, "upstream = {}", list(&app.upstreams))?;
    }
    match &app.trust {
        UpstreamTrust::System => {}
        UpstreamTrust::Roots(file) => writeln!(f, "upstream_ca_file = {}", text(file.display()))?,
        UpstreamTrust::Anybody => writeln!(f, "upstream_verify = false")?,
    }
    if let Some(directory) = app.door.directory() {
        writeln!(f, "include_dir = {}", text(directory.display()))?;
    }
    let door = match app.door {
        Door::Transient(_) => "transient",
        Door::Permanent(_) | Door::ByHand => "permanent",
    };
    writeln!(f, "door = {}", text(door))?;
    writeln!(f, "default = {}", app.is_default)?;
    writeln!(f, "enabled = {}", app.enabled)?;
    acme(f, &app.acme, Some(defaults))?;
    match app.install.is_empty() {
        true => Ok(()),
        false => {
            let installs: Vec<_> = app.install.iter().map(install).collect();
            writeln!(f, "install = [{}]", installs.join(", "))
        }
    }
}

fn install(install: &Install) -> String {
    let files = install.files.iter();
    let mut keys: Vec<_> = files
        .map(|(part, path)| format!("{} = {}", part.as_str(), text(path.display())))
        .collect();
    match &install.form {
        Form::Link => keys.push("symlink = true".into()),
        Form::Copy {
            owner,
            group,
            key_mode,
        } => {
            keys.extend(owner.iter().map(|owner| format!("owner = {}", text(owner))));
            keys.extend(group.iter().map(|group| format!("group = {}", text(group))));
            keys.push(format!("mode = \"{:04o}\"", key_mode.bits()));
        }
    }
    let reload = install.reload.iter();
    keys.extend(reload.map(|argv| format!("reload = {}", list(argv))));
    format!("{{ {} }}", keys.join(", "))
}

/// The keys of `[acme]`; in an app only those that differ.
fn acme(f: &mut fmt::Formatter<'_>, acme: &Acme, defaults: Option<&Acme>) -> fmt::Result {
    let differs =
        |own: &dyn Fn(&Acme) -> String| defaults.is_none_or(|defaults| own(acme) != own(defaults));
    if differs(&|acme| list(&acme.directories)) {
        writeln!(f, "directory = {}", list(&acme.directories))?;
    }
    if differs(&|acme| list(&acme.contact)) {
        writeln!(f, "contact = {}", list(&acme.contact))?;
    }
    if differs(&|acme| acme.accept_terms.to_string()) {
        writeln!(f, "accept_terms = {}", acme.accept_terms)?;
    }
    if differs(&|acme| acme.key.to_string()) {
        writeln!(f, "key = {}", text(acme.key))?;
    }
    if differs(&|acme| acme.handover.keep.to_string()) {
        writeln!(f, "keep = {}", acme.handover.keep)?;
    }
    if differs(&|acme| commands(&acme.handover.hooks)) {
        writeln!(f, "deploy_hook = {}", commands(&acme.handover.hooks))?;
    }
    if differs(&|acme| span(acme.handover.hook_time)) {
        writeln!(f, "deploy_hook_time = {}", span(acme.handover.hook_time))?;
    }
    if differs(&|acme| acme.reuse_key.to_string()) {
        writeln!(f, "reuse_key = {}", acme.reuse_key)?;
    }
    let optional = |f: &mut fmt::Formatter<'_>,
                    key: &str,
                    own: &dyn Fn(&Acme) -> Option<String>| match own(acme) {
        Some(value) if defaults.is_none_or(|defaults| own(defaults).as_ref() != Some(&value)) => {
            writeln!(f, "{key} = {value}")
        }
        _ => Ok(()),
    };
    optional(f, "ca_file", &|acme| {
        acme.ca_file.as_ref().map(|file| text(file.display()))
    })?;
    optional(f, "profile", &|acme| acme.profile.as_ref().map(text))?;
    optional(f, "preferred_chain", &|acme| {
        acme.preferred_chain.as_ref().map(text)
    })?;
    optional(f, "staging_directory", &|acme| {
        acme.staging.as_ref().map(text)
    })?;
    optional(f, "renew_before", &|acme| acme.renew_before.map(span))?;
    optional(f, "eab", &|acme| {
        let eab = acme.eab.as_ref()?;
        Some(format!(
            "{{ kid = {}, hmac_key_file = {} }}",
            text(&eab.kid),
            text(eab.hmac_key_file.display())
        ))
    })
}

pub(super) fn list<T: Display>(items: &[T]) -> String {
    format!(
        "[{}]",
        items.iter().map(text).collect::<Vec<_>>().join(", ")
    )
}

/// Commands, each a list of arguments.
fn commands(commands: &[Vec<String>]) -> String {
    let lists: Vec<_> = commands.iter().map(|argv| list(argv)).collect();
    format!("[{}]", lists.join(", "))
}

/// A TOML basic string.
pub(super) fn text(value: impl Display) -> String {
    let mut quoted = String::from('"');
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

pub(super) fn span(span: Duration) -> String {
    text(format_args!("{}s", span.as_secs()))
}
