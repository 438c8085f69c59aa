//! What follows when a certificate is live: hooks, and how many of its predecessors are kept.

use std::time::Duration;

use super::reader::Section;

/// What follows when a certificate is live. Its keys stand in `[acme]` and in apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Commands that are told, one after the other.
    pub hooks: Vec<Vec<String>>,
    /// How long each of them may take.
    pub hook_time: Duration,
    /// How many versions of a certificate are kept, the live one among them.
    pub keep: usize,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            hooks: Vec::new(),
            hook_time: Duration::from_secs(60),
            keep: 5,
        }
    }
}

impl Handover {
    /// Takes over each key that is written in `section`.
    pub(super) fn override_from(&mut self, section: &mut Section<'_>) {
        if let Some(hooks) = section.commands("deploy_hook") {
            self.hooks = hooks;
        }
        if let Some(span) = section.span("deploy_hook_time") {
            if span.is_zero() {
                section.refuse("deploy_hook_time", "at least \"1s\" is needed here");
            }
            self.hook_time = span;
        }
        // The one before the live one is what goes back when nginx won't have the next.
        if let Some(keep) = section.number("keep", 2) {
            self.keep = keep;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    fn parse(text: &str) -> Result<Config, String> {
        let file = Path::new("/etc/sidedoor/sidedoor.toml");
        Config::parse(file, text).map_err(|error| error.to_string())
    }

    #[test]
    fn at_least_the_live_version_and_the_one_before_it_are_kept() {
        let text = "[acme]\nkeep = 3\n[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"a\"\n";
        let config = parse(&format!("{text}keep = 2\n")).unwrap();
        assert_eq!(config.acme.handover.keep, 3);
        assert_eq!(config.apps[0].acme.handover.keep, 2);
        let mistakes = parse(&format!("{text}keep = 1\n")).unwrap_err();
        assert_eq!(
            mistakes,
            "/etc/sidedoor/sidedoor.toml:7: app[1].keep: at least 2 is needed here"
        );
    }

    #[test]
    fn a_hook_is_a_list_of_arguments_or_several_of_them() {
        let app = "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"a\"\n";
        let hooks = |acme: &str, own: &str| {
            let config = parse(&format!("[acme]\n{acme}\n{app}{own}\n"))?;
            Ok::<_, String>(config.apps[0].acme.handover.hooks.clone())
        };
        let one = r#"deploy_hook = ["/bin/x", "a b"]"#;
        let two = r#"deploy_hook = [["/bin/x"], ["/bin/y", "$z"]]"#;
        assert_eq!(hooks(one, "").unwrap(), [["/bin/x", "a b"]]);
        assert_eq!(
            hooks(one, two).unwrap(),
            [vec!["/bin/x"], vec!["/bin/y", "$z"]]
        );
        assert!(hooks(one, "deploy_hook = []").unwrap().is_empty());
        for mistake in [
            r#"deploy_hook = "/bin/x a""#,
            r#"deploy_hook = [""]"#,
            "deploy_hook = [[]]",
            r#"deploy_hook = [["/bin/x"], "a"]"#,
            "deploy_hook = [1]",
            r#"deploy_hook = ["/bin/x", "a\u0000"]"#,
            r#"deploy_hook_time = "0s""#,
        ] {
            let mistakes = hooks("", mistake).unwrap_err();
            let begin = "/etc/sidedoor/sidedoor.toml:7: app[1].deploy_hook";
            assert!(mistakes.starts_with(begin), "{mistake}: {mistakes}");
        }
    }
}
