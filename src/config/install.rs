//! `install`: other places in which an app's certificate shall lie, for programs that are not nginx.

use std::path::PathBuf;
use std::str::FromStr;

use super::reader::Section;
use crate::principal::Principal;

/// What is put into other places, and who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// What lies where, in the order of [`Part`].
    pub files: Vec<(Part, PathBuf)>,
    /// As copies or as links.
    pub form: Form,
    /// What is run after a change.
    pub reload: Option<Vec<String>>,
}

/// A part of a certificate that can be a file, in the order in which they are put into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// What issued it.
    Chain,
    /// The certificate alone.
    Cert,
    /// The certificate and what issued it.
    Fullchain,
    /// The private key.
    Privkey,
    /// The private key, then the certificate and what issued it, in one file.
    Combined,
}

/// Copies or links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Copies.
    Copy {
        /// Whose they are; ours unless given.
        owner: Option<Principal>,
        /// Whose group they have.
        group: Option<Principal>,
        /// The mode of those that hold the key.
        key_mode: Mode,
    },
    /// Links to what is live.
    Link,
}

/// The mode of a file that holds a key: nothing for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u32);

impl Part {
    /// Every part, in their order.
    pub const ALL: [Self; 5] = [
        Self::Chain,
        Self::Cert,
        Self::Fullchain,
        Self::Privkey,
        Self::Combined,
    ];

    /// Its key in the configuration; below `live/NAME` it is the name of a file, with `.pem` at its end.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Cert => "cert",
            Self::Fullchain => "fullchain",
            Self::Privkey => "privkey",
            Self::Combined => "combined",
        }
    }

    /// Whether the private key is in it.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Privkey | Self::Combined)
    }
}

impl Mode {
    /// Its bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(text, 8) {
            Ok(mode) if is_octal && mode & !0o660 == 0 && mode & 0o400 != 0 => Ok(Self(mode)),
            _ => Err(
                "the mode of a private key is \"0600\", \"0640\", \"0400\" or the like, with nothing for everybody",
            ),
        }
    }
}

impl Install {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let mut files = Vec::new();
        for part in Part::ALL {
            files.extend(section.path(part.as_str()).map(|path| (part, path)));
        }
        if !Part::ALL.iter().any(|part| section.has(part.as_str())) {
            section.refuse(
                "fullchain",
                "at least one of fullchain, privkey, cert, chain, combined has to say where it shall lie",
            );
        }
        let reload = section.command("reload");
        let (owner, group) = (section.parsed("owner"), section.parsed("group"));
        let key_mode = section.parsed("mode").unwrap_or(Mode(0o600));
        let form = match section.flag("symlink").unwrap_or(false) {
            true => Form::Link,
            false => Form::Copy {
                owner,
                group,
                key_mode,
            },
        };
        if form == Form::Link {
            for key in ["owner", "group", "mode"] {
                if section.has(key) {
                    section.refuse(key, "a link has none of its own: leave it out, or symlink");
                }
            }
            if section.has("combined") {
                section.refuse(
                    "combined",
                    "there is no such file to link to: leave symlink out",
                );
            }
        }
        Some(Self {
            files,
            form,
            reload,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(install: &str) -> Result<Vec<Install>, String> {
        let text = format!(
            "[[app]]\nname = \"a\"\ndomains = [\"a.example\"]\ninclude_dir = \"a\"\ninstall = {install}\n"
        );
        let config = Config::parse(Path::new("/etc/sidedoor/sidedoor.toml"), &text);
        let config = config.map_err(|error| error.to_string())?;
        let again = Config::parse(
            Path::new("/etc/sidedoor/sidedoor.toml"),
            &config.to_string(),
        );
        assert_eq!(again.unwrap(), config, "what is shown reads as the same");
        Ok(config.apps[0].install.clone())
    }

    #[test]
    fn files_are_copied_unless_links_are_wanted() {
        let installs = parse(
            r#"[{ privkey = "/k", fullchain = "/c", owner = "33", group = "mail", mode = "0640", reload = ["postfix", "reload"] }, { chain = "ca.pem", symlink = true }]"#,
        )
        .unwrap();
        let [copy, link] = &installs[..] else {
            panic!("{installs:?}")
        };
        // The key comes last, wherever it was written.
        let files = [(Part::Fullchain, "/c".into()), (Part::Privkey, "/k".into())];
        assert_eq!(copy.files, files);
        assert_eq!(
            copy.form,
            Form::Copy {
                owner: Some(Principal::Number(33)),
                group: Some(Principal::Name("mail".into())),
                key_mode: Mode(0o640),
            }
        );
        assert_eq!(copy.reload.as_deref().unwrap(), ["postfix", "reload"]);
        let files = [(Part::Chain, "/etc/sidedoor/ca.pem".into())];
        assert_eq!(
            (link.files.as_slice(), &link.form),
            (&files[..], &Form::Link)
        );
        assert!(parse("[]").unwrap().is_empty());
    }

    #[test]
    fn each_mistake_is_told_with_its_key() {
        for (install, key) in [
            ("1", "install: "),
            (r#"["/x"]"#, "install: "),
            ("[{}]", "install[1].fullchain: "),
            (r#"[{ symlink = true }]"#, "install[1].fullchain: "),
            (r#"[{ fullchain = "/x", privkey = "/x" }]"#, "install: "),
            (r#"[{ fullchain = "/x" }, { cert = "/x" }]"#, "install: "),
            (r#"[{ fullchain = "" }]"#, "install[1].fullchain: "),
            (r#"[{ key = "/x" }]"#, "install[1].key: "),
            (
                r#"[{ privkey = "/x", reload = "postfix reload" }]"#,
                "install[1].reload: ",
            ),
            (
                r#"[{ privkey = "/x", owner = "a b" }]"#,
                "install[1].owner: ",
            ),
            (
                r#"[{ privkey = "/x", mode = "0644" }]"#,
                "install[1].mode: ",
            ),
            (
                r#"[{ privkey = "/x", mode = "0700" }]"#,
                "install[1].mode: ",
            ),
            (
                r#"[{ privkey = "/x", mode = "+600" }]"#,
                "install[1].mode: ",
            ),
            (
                r#"[{ privkey = "/x", mode = "0040" }]"#,
                "install[1].mode: ",
            ),
            (
                r#"[{ privkey = "/x", symlink = true, mode = "0600" }]"#,
                "install[1].mode: ",
            ),
            (
                r#"[{ combined = "/x", symlink = true }]"#,
                "install[1].combined: ",
            ),
        ] {
            let mistakes = parse(install).unwrap_err();
            let begin = format!("/etc/sidedoor/sidedoor.toml:5: app[1].{key}");
            let said = mistakes.lines().any(|line| line.starts_with(&begin));
            assert!(said, "{install}: {mistakes}");
        }
    }
}
