//! Why a certificate's next attempt is when it is, as a value, and as a sentence that `status` shows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::renewal::Ignored;
use crate::budget::Exhausted;
use crate::identifier::Identifier;

/// Why the next attempt is when it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Why {
    /// There is no certificate.
    Missing,
    /// The one there is isn't for the names that are wanted.
    OtherNames,
    /// Its CA has revoked the one there is.
    Revoked,
    /// nginx has not been seen to serve the newest one.
    NotLive,
    /// The CA suggested a window, and this is a moment in it.
    Window,
    /// The CA wants it to be renewed much earlier than usual.
    Alarm {
        /// Where it explains that.
        explanation: Option<String>,
    },
    /// The CA suggests nothing that can be followed, so its lifetime decides.
    Lifetime {
        /// What is wrong with what the CA suggests.
        ignored: Option<Ignored>,
    },
    /// The operator has said how long before its end.
    RenewBefore,
    /// So many attempts in a row have failed.
    BackOff {
        /// How many.
        attempts: u32,
    },
    /// The CA has asked to wait (RFC 8555 6.6).
    AskedToWait,
    /// An order now would be one too many for a limit of the CA.
    Budget {
        /// Which.
        exhausted: Exhausted,
    },
    /// Names don't resolve yet.
    Unresolved {
        /// Which.
        names: Vec<Identifier>,
    },
}

impl Why {
    /// The reason alone, as `--json` names it, too.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::OtherNames => "other-names",
            Self::Revoked => "revoked",
            Self::NotLive => "not-live",
            Self::Window => "window",
            Self::Alarm { .. } => "alarm",
            Self::Lifetime { .. } => "lifetime",
            Self::RenewBefore => "renew-before",
            Self::BackOff { .. } => "back-off",
            Self::AskedToWait => "asked-to-wait",
            Self::Budget { .. } => "budget",
            Self::Unresolved { .. } => "unresolved",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no certificate yet"),
            Self::OtherNames => f.write_str("the certificate there is has other names"),
            Self::Revoked => f.write_str("the certificate there is was revoked"),
            Self::NotLive => f.write_str("nginx has not been seen to serve the newest certificate"),
            Self::Window => f.write_str("a moment in the window that the CA suggests"),
            Self::Alarm { explanation } => {
                f.write_str("the CA asks for a renewal out of turn")?;
                match explanation {
                    Some(link) => write!(f, ", see {link}"),
                    None => Ok(()),
                }
            }
            Self::Lifetime { ignored } => {
                f.write_str("most of its lifetime is over then")?;
                match ignored {
                    Some(reason) => write!(f, ", since {reason}"),
                    None => Ok(()),
                }
            }
            Self::RenewBefore => f.write_str("as renew_before says"),
            Self::BackOff { attempts: 1 } => f.write_str("the last attempt has failed"),
            Self::BackOff { attempts } => {
                write!(f, "the last {attempts} attempts have failed")
            }
            Self::AskedToWait => f.write_str("the CA has asked to wait until then"),
            Self::Budget { exhausted } => write!(f, "{exhausted}"),
            Self::Unresolved { names } => {
                let names: Vec<_> = names.iter().map(ToString::to_string).collect();
                let verb = if names.len() == 1 { "does" } else { "do" };
                write!(f, "{} {verb} not resolve yet", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Limit;

    #[test]
    fn a_reason_is_named_as_json_names_it() {
        for why in [
            Why::Missing,
            Why::OtherNames,
            Why::Revoked,
            Why::NotLive,
            Why::Window,
            Why::Alarm { explanation: None },
            Why::Lifetime { ignored: None },
            Why::RenewBefore,
            Why::BackOff { attempts: 1 },
            Why::AskedToWait,
            Why::Budget {
                exhausted: Exhausted {
                    limit: Limit::Orders,
                    of: String::new(),
                    until: time::OffsetDateTime::UNIX_EPOCH,
                },
            },
            Why::Unresolved { names: Vec::new() },
        ] {
            let json = serde_json::to_value(&why).unwrap();
            assert_eq!(json["reason"], why.reason());
        }
    }
}
