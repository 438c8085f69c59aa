//! The names of a server, and which of several servers nginx chooses for a host (`ngx_http_server_names`,
//! `ngx_http_find_virtual_server`). Pure.

use std::collections::HashSet;

/// One name of a `server_name`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// `example.com`, `_`, or nothing at all (requests without `Host`).
    Exact(String),
    /// `*.example.com`, held as `.example.com`: any number of labels before it, but at least one.
    Suffix(String),
    /// `.example.com`, held as it is: the name itself and all below it.
    SuffixOrBare(String),
    /// `www.*`, held as `www.`: any number of labels after it, but at least one.
    Prefix(String),
    /// `~^www\d+\.example\.com$`, without the tilde, in its own case.
    Regex(String),
    /// `$hostname`: the name of nginx's machine.
    Hostname,
}

/// Whether a name takes in a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// Only nginx can say: a regular expression, or the machine's own name.
    Unclear,
}

impl ServerName {
    /// Reads one argument of a `server_name`.
    pub fn of(written: &str) -> Self {
        if let Some(regex) = written.strip_prefix('~') {
            return Self::Regex(regex.to_owned());
        }
        let name = written.to_ascii_lowercase();
        if name == "$hostname" {
            Self::Hostname
        } else if let Some(suffix) = name.strip_prefix("*.") {
            Self::Suffix(format!(".{suffix}"))
        } else if name.len() > 1 && name.starts_with('.') {
            Self::SuffixOrBare(name)
        } else if let Some(prefix) = name.strip_suffix(".*") {
            Self::Prefix(format!("{prefix}."))
        } else {
            Self::Exact(name)
        }
    }

    /// Whether it takes in a host, which is given in lower case, without port.
    pub fn fits(&self, host: &str) -> Fit {
        let certain = match self {
            Self::Exact(name) => name == host,
            Self::Suffix(suffix) => is_below(host, suffix),
            Self::SuffixOrBare(suffix) => is_below(host, suffix) || host == &suffix[1..],
            Self::Prefix(prefix) => host.len() > prefix.len() && host.starts_with(prefix.as_str()),
            Self::Regex(regex) => match Pattern::of(regex) {
                Pattern::Anything => true,
                Pattern::Literal(name) => name == host,
                Pattern::Unclear => return Fit::Unclear,
            },
            Self::Hostname => return Fit::Unclear,
        };
        if certain { Fit::Yes } else { Fit::No }
    }
}

fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// What can be known of a regular expression without an engine for it.
enum Pattern {
    Anything,
    Literal(String),
    Unclear,
}

impl Pattern {
    fn of(regex: &str) -> Self {
        if [
            "", "^", "$", ".", ".*", ".+", "^.*$", "^.+$", "^(.*)$", "^(.+)$",
        ]
        .contains(&regex)
        {
            return Self::Anything;
        }
        let Some(inner) = regex.strip_prefix('^').and_then(|r| r.strip_suffix('$')) else {
            return Self::Unclear;
        };
        let mut name = String::new();
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            let literal = match character {
                '\\' => characters.next().filter(char::is_ascii_punctuation),
                '-' | '_' => Some(character),
                other => other.is_ascii_alphanumeric().then_some(other),
            };
            match literal {
                Some(literal) => name.push(literal.to_ascii_lowercase()),
                None => return Self::Unclear,
            }
        }
        Self::Literal(name)
    }
}

/// Which of several servers on one address nginx chooses for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<S> {
    /// One that has the name.
    Named(S),
    /// None has it, so the address's default server answers.
    Default(S),
    /// This one answers if a regular expression of its own fits; otherwise another.
    Unclear(S),
}

/// Chooses as nginx does: exact, then the longest wildcard in front, then the longest at the end, then the first regular
/// expression, then the default. Of equal names the first counts. `host` is in lower case, without port.
pub fn choose<'a, S: Copy>(
    servers: impl Iterator<Item = (S, &'a [ServerName])>,
    default: S,
    host: &str,
) -> Choice<S> {
    let mut exact = None;
    let mut in_front: Option<(usize, S)> = None;
    let mut at_end: Option<(usize, S)> = None;
    let mut regex = None;
    // nginx ignores a name that an earlier server of the address has, and `.a` counts as both `a` and `*.a`:
    // it is ignored as a whole if either is taken, but takes `a` all the same (`ngx_hash_add_key`).
    let mut names_taken = HashSet::new();
    let mut suffixes_taken = HashSet::new();
    for (server, name) in servers.flat_map(|(s, names)| names.iter().map(move |name| (s, name))) {
        match name {
            ServerName::Exact(name) => {
                if names_taken.insert(name.as_str()) && name == host {
                    exact = Some(server);
                }
            }
            ServerName::SuffixOrBare(suffix) => {
                if names_taken.insert(&suffix[1..])
                    && suffixes_taken.insert(suffix.as_str())
                    && name.fits(host) == Fit::Yes
                {
                    in_front = longest(in_front, suffix.len(), server);
                }
            }
            ServerName::Suffix(suffix) => {
                if suffixes_taken.insert(suffix) && name.fits(host) == Fit::Yes {
                    in_front = longest(in_front, suffix.len(), server);
                }
            }
            ServerName::Prefix(prefix) => {
                if name.fits(host) == Fit::Yes {
                    at_end = longest(at_end, prefix.len(), server);
                }
            }
            ServerName::Regex(_) | ServerName::Hostname => {
                regex = regex.or(match name.fits(host) {
                    Fit::Yes => Some(Choice::Named(server)),
                    Fit::Unclear => Some(Choice::Unclear(server)),
                    Fit::No => None,
                });
            }
        }
    }
    exact
        .or(in_front.map(|(_, server)| server))
        .or(at_end.map(|(_, server)| server))
        .map(Choice::Named)
        .or(regex)
        .unwrap_or(Choice::Default(default))
}

/// The longer of two wildcards; of equal ones the first.
fn longest<S: Copy>(best: Option<(usize, S)>, length: usize, server: S) -> Option<(usize, S)> {
    match best {
        Some((longest, _)) if longest >= length => best,
        _ => Some((length, server)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which server answers a host, counted from 1; `default` and `?` as the choice says.
    fn chosen(servers: &[&str], host: &str) -> String {
        let names: Vec<Vec<ServerName>> = servers
            .iter()
            .map(|names| names.split(' ').map(ServerName::of).collect())
            .collect();
        let servers = names.iter().enumerate().map(|(at, n)| (at + 1, &n[..]));
        match choose(servers, 0, host) {
            Choice::Named(server) => server.to_string(),
            Choice::Default(_) => "default".to_owned(),
            Choice::Unclear(server) => format!("{server}?"),
        }
    }

    #[test]
    fn the_most_exact_name_wins() {
        let servers = ["a.*", "*.b.x", "*.x", "a.b.x", "~^a\\.c\\.y$", "~."];
        for (host, server) in [
            ("a.b.x", "4"),
            ("c.b.x", "2"),
            ("b.x", "3"),
            ("a.z", "1"),
            ("a.c.y", "1"),
            ("c.y", "6"),
        ] {
            assert_eq!(chosen(&servers, host), server, "{host}");
        }
        assert_eq!(chosen(&["a.x"], "b.x"), "default");
    }

    #[test]
    fn of_equal_names_the_first_counts() {
        assert_eq!(chosen(&["a.x", "a.x"], "a.x"), "1");
        assert_eq!(chosen(&["*.x", "*.x"], "a.x"), "1");
        assert_eq!(chosen(&["a.*", "a.*"], "a.x"), "1");
    }

    #[test]
    fn a_name_with_a_leading_dot_is_ignored_whole_where_half_of_it_is_taken() {
        assert_eq!(chosen(&["a.x", ".a.x"], "b.a.x"), "default");
        assert_eq!(chosen(&[".a.x", "a.x"], "a.x"), "1");
        assert_eq!(chosen(&["*.a.x", ".a.x", "a.x"], "a.x"), "default");
    }

    #[test]
    fn a_regular_expression_is_left_to_nginx_unless_it_is_a_plain_name() {
        assert_eq!(chosen(&["~^(www\\.)?a\\.x$"], "a.x"), "1?");
        assert_eq!(chosen(&["~^(www\\.)?a\\.x$", "a.x"], "a.x"), "2");
        assert_eq!(chosen(&["~^www\\.A\\.x$"], "www.a.x"), "1");
        assert_eq!(chosen(&["~^www\\.a\\.x$"], "b.x"), "default");
        assert_eq!(chosen(&["$hostname"], "b.x"), "1?");
    }
}
