//! A user or group of this system, by name or number, as the operator wrote it; and its number, as the system's own files say.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// Why a name of a user or group was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither the name nor the number of a user or group")]
pub struct NoPrincipal(String);

/// There is no such user or group.
#[derive(Debug, thiserror::Error)]
#[error("there is no {kind} {name} in {file}")]
pub struct Unknown {
    kind: &'static str,
    name: String,
    file: &'static str,
}

impl Principal {
    /// The number of this user.
    pub fn user(&self) -> Result<u32, Unknown> {
        self.number("user", "/etc/passwd")
    }

    /// The number of this group.
    pub fn group(&self) -> Result<u32, Unknown> {
        self.number("group", "/etc/group")
    }

    /// Read anew each time, since an installation may come before its package's user.
    fn number(&self, kind: &'static str, file: &'static str) -> Result<u32, Unknown> {
        let name = match self {
            Self::Number(number) => return Ok(*number),
            Self::Name(name) => name,
        };
        let text = fs::read(file).unwrap_or_default();
        number_in(&String::from_utf8_lossy(&text), name).ok_or_else(|| Unknown {
            kind,
            name: name.clone(),
            file,
        })
    }
}

/// The number of a name: both files have it in the third field (passwd(5), group(5)).
fn number_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_its = fields.next() == Some(name);
        let number = fields.nth(1)?.parse().ok()?;
        is_its.then_some(number)
    })
}

impl FromStr for Principal {
    type Err = NoPrincipal;

    fn from_str(given: &str) -> Result<Self, NoPrincipal> {
        if let Ok(number) = given.parse() {
            return Ok(Self::Number(number));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$".contains(&byte);
        match !given.is_empty() && !given.starts_with('-') && given.bytes().all(is_name) {
            true => Ok(Self::Name(given.to_owned())),
            false => Err(NoPrincipal(given.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_name_or_a_number() {
        assert_eq!("33".parse(), Ok(Principal::Number(33)));
        assert_eq!("ssl-cert".parse(), Ok(Principal::Name("ssl-cert".into())));
        for given in ["", "-x", "a b", "a:b", "a\nb", "ä"] {
            assert!(given.parse::<Principal>().is_err(), "{given:?}");
        }
    }

    #[test]
    fn a_name_s_number_is_in_the_third_field() {
        let text = "root:x:0:\nbroken\n+::::\nssl-cert:x:106:www-data,postfix\n";
        assert_eq!(number_in(text, "ssl-cert"), Some(106));
        assert_eq!(number_in(text, "ssl"), None);
        assert_eq!(number_in(text, "broken"), None);
    }

    #[test]
    fn who_is_not_there_is_named() {
        let root: Principal = "root".parse().unwrap();
        assert_eq!((root.user().unwrap(), root.group().unwrap()), (0, 0));
        let nobody: Principal = "no-such-group".parse().unwrap();
        let error = nobody.group().unwrap_err().to_string();
        assert_eq!(error, "there is no group no-such-group in /etc/group");
    }
}
