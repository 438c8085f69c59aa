//! The names people type: DNS names, app names, identifiers. Each type exists only if it is well-formed,
//! so what reaches an nginx file, a path or a hook has been parsed (RFC 1035 2.3, RFC 5890, RFC 8555 7.1.4).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused. Every message quotes the name so that it can't smuggle control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name is needed, but this one is empty")]
    Empty,
    /// Longer than the protocol allows.
    #[error("{name:?} has {length} characters, {limit} is the most a name can have")]
    TooLong {
        /// The beginning of the name.
        name: String,
        /// Its length in characters.
        length: usize,
        /// The limit it breaks.
        limit: usize,
    },
    /// A character or label the grammar has no place for.
    #[error("{name:?} is not a {what}: {reason}")]
    Malformed {
        /// The name as given, cut to a readable length.
        name: String,
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl NameError {
    fn malformed(name: &str, what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed {
            name: excerpt(name),
            what,
            reason: reason.into(),
        }
    }
}

/// The beginning of a name that is shown in a message.
fn excerpt(name: &str) -> String {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A DNS name in lower case A-labels, perhaps with a leading `*.` (RFC 8555 7.1.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// The name as written in certificates and in `Host`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether a certificate for `self` is good for `host`: the same name, or a wildcard over exactly one label (RFC 6125 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        match self.0.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| {
                !label.is_empty() && rest.eq_ignore_ascii_case(parent)
            }),
            None => self.0.eq_ignore_ascii_case(host),
        }
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        const WHAT: &str = "domain name";
        const LIMIT: usize = 253;
        let typed = name.strip_suffix('.').unwrap_or(name);
        if typed.is_empty() {
            return Err(NameError::Empty);
        }
        let (wildcard, base) = match typed.strip_prefix("*.") {
            Some(base) => (true, base),
            None => (false, typed),
        };
        let ascii = if base.is_ascii() {
            base.to_ascii_lowercase()
        } else {
            // UTS 46 maps case and width; the strict checks refuse what registries refuse.
            idna::domain_to_ascii_strict(base).map_err(|_| {
                NameError::malformed(name, WHAT, "it has no form in A-labels (xn--…)")
            })?
        };
        let full = if wildcard {
            format!("*.{ascii}")
        } else {
            ascii.clone()
        };
        if full.len() > LIMIT {
            return Err(NameError::TooLong {
                name: excerpt(name),
                length: full.len(),
                limit: LIMIT,
            });
        }
        for label in ascii.split('.') {
            let reason = match label.as_bytes() {
                [] => "it has an empty label",
                bytes if bytes.len() > 63 => "one of its labels has more than 63 characters",
                bytes
                    if bytes
                        .iter()
                        .any(|b| !b.is_ascii_alphanumeric() && *b != b'-') =>
                {
                    "only letters, digits, hyphens and dots may stand in it"
                }
                [b'-', ..] | [.., b'-'] => "a label may not begin or end with a hyphen",
                _ => continue,
            };
            return Err(NameError::malformed(name, WHAT, reason));
        }
        if ascii
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(NameError::malformed(
                name,
                WHAT,
                "its last label is a number, so it is an address or nothing",
            ));
        }
        Ok(Self(full))
    }
}

impl TryFrom<String> for DnsName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a certificate is for: a DNS name or an IP address (RFC 8555 9.7.7, RFC 8738).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Identifier {
    /// A DNS name, perhaps a wildcard.
    Dns(DnsName),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
}

impl Identifier {
    /// Whether validation by `http-01` can't be had for it (RFC 8555 7.1.3: wildcards need `dns-01`).
    pub fn needs_dns(&self) -> bool {
        matches!(self, Self::Dns(name) if name.is_wildcard())
    }

    /// The value of the `Host` header in a request for it (IPv6 in brackets, RFC 9110 7.2).
    pub fn host(&self) -> String {
        match self {
            Self::Ip(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.to_string(),
        }
    }
}

impl FromStr for Identifier {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let bare = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(name);
        match bare.parse::<IpAddr>() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => name.parse().map(Self::Dns),
        }
    }
}

impl TryFrom<String> for Identifier {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> Self {
        identifier.to_string()
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// The name of an app or a lineage: safe as one component of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// The name as written in the configuration and in paths.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lineage's name where there is no app: its first identifier, a wildcard's `*` spelt `_wildcard`, an address's colons spelt `-`.
    pub fn of_identifier(identifier: &Identifier) -> Self {
        Self(
            identifier
                .to_string()
                .replace('*', "_wildcard")
                .replace(':', "-"),
        )
    }
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        const WHAT: &str = "name of an app or certificate";
        const LIMIT: usize = 253;
        let reason = match name.as_bytes() {
            [] => return Err(NameError::Empty),
            bytes if bytes.len() > LIMIT => {
                return Err(NameError::TooLong {
                    name: excerpt(name),
                    length: name.chars().count(),
                    limit: LIMIT,
                });
            }
            bytes
                if bytes
                    .iter()
                    .any(|b| !b.is_ascii_alphanumeric() && !b"-_.".contains(b)) =>
            {
                "only letters, digits, hyphens, underscores and dots may stand in it"
            }
            [b'.' | b'-', ..] => "it may not begin with a dot or a hyphen",
            _ => return Ok(Self(name.to_owned())),
        };
        Err(NameError::malformed(name, WHAT, reason))
    }
}

impl TryFrom<String> for AppName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> Self {
        name.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> Result<String, NameError> {
        name.parse::<DnsName>().map(String::from)
    }

    #[test]
    fn takes_a_domain_name_in_lower_case_without_its_last_dot() {
        assert_eq!(dns("Shop.Example.COM.").unwrap(), "shop.example.com");
        assert_eq!(dns("*.example.com").unwrap(), "*.example.com");
    }

    #[test]
    fn turns_non_ascii_names_into_a_labels() {
        assert_eq!(dns("bücher.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(dns("*.BÜCHER.example").unwrap(), "*.xn--bcher-kva.example");
    }

    #[test]
    fn refuses_what_is_no_domain_name() {
        let long = "a".repeat(300);
        let label = format!("{}.example", "a".repeat(64));
        for name in [
            "",
            ".",
            "a;b",
            "../x",
            "x\n}",
            "x y",
            "a..b",
            "-a.example",
            "a-.example",
            "a_b.example",
            "*",
            "*.*.example",
            "a.*.example",
            "http://a.example",
            "a.example/",
            "a.example:80",
            "192.0.2.1",
            "1",
            "a.1",
            "\u{202e}a.example",
            "a\u{0}b",
            "${x}",
            &long,
            &label,
        ] {
            assert!(dns(name).is_err(), "{name:?} was taken for a domain name");
        }
    }

    #[test]
    fn a_refusal_never_carries_a_control_character() {
        for name in ["x\n}", "\u{1b}[31m.example", "a\rb"] {
            let message = dns(name).unwrap_err().to_string();
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let name: DnsName = "*.example.com".parse().unwrap();
        assert!(name.covers("a.example.com"));
        assert!(name.covers("A.Example.com"));
        assert!(!name.covers("a.b.example.com"));
        assert!(!name.covers("example.com"));
        assert!(!name.covers(".example.com"));
    }

    #[test]
    fn an_identifier_is_an_address_or_a_name() {
        assert_eq!(
            "[2001:DB8::1]".parse::<Identifier>().unwrap().host(),
            "[2001:db8::1]"
        );
        assert_eq!(
            "192.0.2.1".parse::<Identifier>().unwrap().to_string(),
            "192.0.2.1"
        );
        assert!(matches!("a.example".parse(), Ok(Identifier::Dns(_))));
        assert!("*.example.com".parse::<Identifier>().unwrap().needs_dns());
    }

    #[test]
    fn app_names_are_one_safe_path_component() {
        for name in [
            "shop",
            "shop.example.com",
            "Shop_2",
            "_wildcard.example.com",
        ] {
            assert_eq!(name.parse::<AppName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(300);
        for name in [
            "", ".", "..", "../x", "a/b", "a;b", "x\n}", "-f", "ä", "a b", &long,
        ] {
            assert!(
                name.parse::<AppName>().is_err(),
                "{name:?} was taken for an app name"
            );
        }
    }

    #[test]
    fn a_lineage_without_an_app_is_named_after_its_first_identifier() {
        for (identifier, name) in [
            ("*.example.com", "_wildcard.example.com"),
            ("a.example", "a.example"),
            ("2001:db8::1", "2001-db8--1"),
        ] {
            let lineage = AppName::of_identifier(&identifier.parse().unwrap());
            assert_eq!(lineage.as_str(), name);
            assert_eq!(name.parse::<AppName>().unwrap(), lineage);
        }
    }
}
