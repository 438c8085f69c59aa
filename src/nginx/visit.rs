//! A CA's visit as nginx's rewrite rules see it: what can be known of it beforehand. Pure.
//! There is no engine for regular expressions here: what can't be told for certain is [`Fit::Unclear`].

use super::server_name::Fit;
use super::site::Server;
use super::syntax::{Directive, Word};
use crate::challenge;

/// One GET of a challenge's path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit<'a> {
    /// The `Host`, in lower case and without port.
    pub(super) host: &'a str,
    /// Whether it comes by TLS, after a redirect.
    pub(super) tls: bool,
}

/// A rule of the rewrite module that ends the visit, or leads it away from the challenge's path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detour<'a> {
    /// The `return` or `rewrite`.
    pub(super) rule: &'a Directive,
    /// The `if` around it.
    pub(super) condition: Option<&'a Directive>,
    /// Whether it applies for certain.
    pub(super) certain: bool,
}

impl Visit<'_> {
    /// What the visit meets among these directives of a server, up to the first that ends it for certain.
    pub(super) fn detours<'d>(
        self,
        server: Server<'_>,
        directives: impl IntoIterator<Item = &'d Directive>,
    ) -> Vec<Detour<'d>> {
        let mut detours = Vec::new();
        for directive in directives {
            let (inner, fits, condition) = match directive.is("if") {
                true => (
                    directive.block(),
                    self.holds(server, directive),
                    Some(directive),
                ),
                false => (std::slice::from_ref(directive), Fit::Yes, None),
            };
            if fits == Fit::No {
                continue;
            }
            for rule in inner {
                let fits = fits == Fit::Yes;
                match self.step(rule) {
                    Step::On => continue,
                    Step::Past if fits => return detours,
                    Step::Past => break,
                    Step::Away(certain) => {
                        let certain = certain && fits;
                        detours.push(Detour {
                            rule,
                            condition,
                            certain,
                        });
                        if certain {
                            return detours;
                        }
                    }
                }
            }
        }
        detours
    }

    fn step(self, rule: &Directive) -> Step {
        if rule.is("return") {
            return Step::Away(true);
        }
        if rule.is("break") {
            return Step::Past;
        }
        if !rule.is("rewrite") {
            return Step::On;
        }
        let replacement = rule.arguments().get(1).map(Word::to_str);
        let same = replacement.is_some_and(|to| ["$1", "$uri", "$document_uri"].contains(&&*to));
        let ends = rule
            .arguments()
            .get(2)
            .is_some_and(|flag| *flag == "break" || *flag == "last");
        match (path_fits(&rule.argument(), false), same) {
            (Fit::No, _) => Step::On,
            (Fit::Yes, true) if ends => Step::Past,
            (_, true) => Step::On,
            (fit, false) => Step::Away(fit == Fit::Yes),
        }
    }

    /// Whether the condition of an `if` holds.
    pub(super) fn holds(self, server: Server<'_>, directive: &Directive) -> Fit {
        let text: Vec<_> = directive.arguments().iter().map(Word::to_str).collect();
        let mut words: Vec<&str> = text.iter().map(AsRef::as_ref).collect();
        if let Some(first) = words.first_mut() {
            *first = first.strip_prefix('(').unwrap_or(first);
        }
        if let Some(last) = words.last_mut() {
            *last = last.strip_suffix(')').unwrap_or(last);
        }
        words.retain(|word| !word.is_empty());
        let (variable, operator, value) = match words.as_slice() {
            [variable] => (*variable, "", ""),
            [variable, operator] => (*variable, *operator, ""),
            [variable, operator, value] => (*variable, *operator, *value),
            _ => return Fit::Unclear,
        };
        if ["$uri", "$request_uri", "$document_uri"].contains(&variable) {
            return match operator {
                "~" => path_fits(value, false),
                "~*" => path_fits(value, true),
                "!~" => not(path_fits(value, false)),
                "!~*" => not(path_fits(value, true)),
                "=" => equals_path(value),
                "!=" => not(equals_path(value)),
                _ => Fit::Yes,
            };
        }
        let Some(known) = self.variable(server, variable) else {
            return Fit::Unclear;
        };
        match operator {
            "" => certainly(!known.is_empty() && known != "0"),
            // A value with a variable in it isn't known.
            _ if value.contains('$') && !operator.contains('~') => Fit::Unclear,
            "=" => certainly(known == value),
            "!=" => certainly(known != value),
            "~" => text_fits(value, &known),
            "!~" => not(text_fits(value, &known)),
            "~*" => text_fits(&value.to_ascii_lowercase(), &known.to_ascii_lowercase()),
            "!~*" => not(text_fits(
                &value.to_ascii_lowercase(),
                &known.to_ascii_lowercase(),
            )),
            _ => Fit::Unclear,
        }
    }

    /// What nginx's variable says during the visit, where that can be known.
    fn variable(self, server: Server<'_>, name: &str) -> Option<String> {
        Some(match name {
            "$scheme" if self.tls => "https".to_owned(),
            "$scheme" => "http".to_owned(),
            "$https" if self.tls => "on".to_owned(),
            "$https" | "$args" | "$query_string" | "$is_args" => String::new(),
            "$host" | "$http_host" => self.host.to_owned(),
            "$server_name" => server.primary_name(),
            "$request_method" => "GET".to_owned(),
            _ => return None,
        })
    }

    /// The host that a redirect to https leads to, if it keeps the path.
    pub(super) fn led_to_tls(self, server: Server<'_>, rule: &Directive) -> Option<String> {
        let arguments = rule.arguments();
        let target = match (rule.is("return"), arguments) {
            (true, [code, target]) if ["301", "302", "307", "308"].iter().any(|c| code == c) => {
                target
            }
            (true, [target]) => target,
            (false, [_, target, ..]) => target,
            _ => return None,
        };
        let target = target.to_str();
        let rest = target.strip_prefix("https://")?;
        let path = if rule.is("return") {
            ["$request_uri", "$uri", "$document_uri"].as_slice()
        } else {
            ["$request_uri", "$uri", "$1"].as_slice()
        };
        let host = path.iter().find_map(|path| {
            let (host, _) = rest.split_once(path)?;
            Some(host.trim_end_matches('/'))
        })?;
        let (host, port) = host.split_once(':').unwrap_or((host, "443"));
        // CAs follow to port 443 alone (Boulder's validator).
        if port != "443" {
            return None;
        }
        match host.strip_prefix('$') {
            Some(_) => {
                let name = host.replace(['{', '}'], "");
                self.variable(server, &name)
            }
            None => Some(host.to_ascii_lowercase()),
        }
    }
}

/// What a rewrite-phase rule does to the visit.
enum Step {
    /// Nothing.
    On,
    /// It ends the phase with the path unchanged, so no later rule applies.
    Past,
    /// It answers or changes the path, for certain or perhaps.
    Away(bool),
}

fn certainly(holds: bool) -> Fit {
    if holds { Fit::Yes } else { Fit::No }
}

fn not(fit: Fit) -> Fit {
    match fit {
        Fit::Yes => Fit::No,
        Fit::No => Fit::Yes,
        Fit::Unclear => Fit::Unclear,
    }
}

fn equals_path(value: &str) -> Fit {
    match challenge::token_in(value).is_some() || value.contains('$') {
        true => Fit::Unclear,
        false => Fit::No,
    }
}

fn text_fits(regex: &str, text: &str) -> Fit {
    let (beginning, end) = beginning(regex.strip_prefix('^').unwrap_or(regex));
    let text = text.as_bytes();
    let length = beginning.len();
    match (regex.starts_with('^'), end) {
        (true, "") => certainly(length <= text.len() && agrees(&beginning, text)),
        (true, "$") => certainly(length == text.len() && agrees(&beginning, text)),
        (false, "") => certainly(occurs(&beginning, text)),
        (false, "$") => {
            certainly(length <= text.len() && agrees(&beginning, &text[text.len() - length..]))
        }
        _ => Fit::Unclear,
    }
}

/// Whether a regular expression fits every challenge's path, or none.
fn path_fits(regex: &str, any_case: bool) -> Fit {
    const ALL: [&str; 10] = ["", "^", "/", "^/", ".", "^.*", "^.+", "^/.*", "^/.+", ".*"];
    let regex = match any_case {
        true => regex.to_ascii_lowercase(),
        false => regex.to_owned(),
    };
    // Groups change nothing as long as there is no choice in them.
    let plain = match regex.contains(['|', '?']) {
        true => regex.clone(),
        false => regex.replace(['(', ')'], ""),
    };
    let open = plain
        .strip_suffix('$')
        .filter(|rest| rest.ends_with(['*', '+']));
    if ALL.contains(&open.unwrap_or(&plain)) {
        return Fit::Yes;
    }
    if plain.contains('|') {
        return Fit::Unclear;
    }
    let path = challenge::PREFIX.as_bytes();
    if let Some(anchored) = plain.strip_prefix('^') {
        let (beginning, end) = beginning(anchored);
        if !agrees(&beginning, path) {
            return Fit::No;
        }
        // The rest, too, has to fit: anything does, or nothing is asked for.
        if beginning.len() <= path.len() && ["", ".*", ".+", ".*$", ".+$"].contains(&end) {
            return Fit::Yes;
        }
    } else {
        let (beginning, end) = beginning(&plain);
        if end.is_empty() && occurs(&beginning, path) {
            return Fit::Yes;
        }
    }
    if plain.strip_suffix('$').is_some_and(ends_unlike_a_token) {
        return Fit::No;
    }
    Fit::Unclear
}

/// Whether text before a `$` ends literally in something that no token ends in: `\.php`, `/`.
fn ends_unlike_a_token(before: &str) -> bool {
    // A token is long: what stands at its end is of base64url (RFC 8555 8.3).
    let word = before
        .bytes()
        .rev()
        .take_while(|b| b.is_ascii_alphanumeric())
        .count();
    let rest = &before[..before.len() - word];
    rest.ends_with("\\.") || (rest.ends_with('/') && word < 16)
}

/// What a regular expression begins with, as far as every element stands for one byte (`None`: for any), and what follows.
fn beginning(regex: &str) -> (Vec<Option<u8>>, &str) {
    let mut bytes = Vec::new();
    let mut rest = regex;
    loop {
        let (byte, after) = match rest.as_bytes() {
            [b'\\', b, ..] if b.is_ascii_punctuation() => (Some(*b), &rest[2..]),
            [b'.', ..] => (None, &rest[1..]),
            [b, ..] if b.is_ascii() && !b"\\^$|?*+()[]{}".contains(b) => (Some(*b), &rest[1..]),
            _ => return (bytes, rest),
        };
        // What may be repeated or left out is not certain to be there.
        if after.starts_with(['?', '*', '+', '{']) {
            return (bytes, rest);
        }
        bytes.push(byte);
        rest = after;
    }
}

/// Whether the text has these bytes from its start on, as far as both go.
fn agrees(beginning: &[Option<u8>], text: &[u8]) -> bool {
    let mut both = beginning.iter().zip(text);
    both.all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == *byte))
}

fn occurs(bytes: &[Option<u8>], text: &[u8]) -> bool {
    bytes.is_empty() || text.windows(bytes.len()).any(|part| agrees(bytes, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_patterns_take_in_a_challenge_and_which_never_do() {
        use Fit::{No, Unclear, Yes};
        for (regex, fit) in [
            ("^", Yes),
            ("^(.*)$", Yes),
            ("^/(.*)$", Yes),
            ("^/(.*)", Yes),
            (".*", Yes),
            ("/", Yes),
            ("^/\\.well-known", Yes),
            ("^/\\.well-known/acme-challenge/", Yes),
            ("^(/\\.well-known/acme-challenge/.*)", Yes),
            ("well-known", Yes),
            ("acme-challenge", Yes),
            ("^/old", No),
            ("^/old/(.*)$", No),
            ("\\.php$", No),
            ("^/(.*)\\.html$", No),
            ("^/(.*)/$", No),
            ("^/$", No),
            ("^/?$", Unclear),
            ("^/(a|b)", Unclear),
            ("^/([a-z]+)$", Unclear),
            ("\\.", Yes),
            ("x", Unclear),
            ("^/.well-known/", Yes),
            ("^..well", Yes),
            ("^/.old", No),
            ("^/.well-known/acme-challenge/[a-z]", Unclear),
            ("^/.well-known/acme-challenge/x", Unclear),
            ("^/é", Unclear),
            ("\\", Unclear),
        ] {
            assert_eq!(path_fits(regex, false), fit, "{regex}");
        }
        assert_eq!(path_fits("^/\\.Well-Known", true), Yes);
        assert_eq!(path_fits("^/\\.Well-Known", false), No);
    }

    #[test]
    fn compares_a_host_with_a_pattern_as_far_as_it_is_plain() {
        use Fit::{No, Unclear, Yes};
        for (regex, fit) in [
            ("^www\\.", No),
            ("^a\\.x$", Yes),
            ("^a.x$", Yes),
            ("^a", Yes),
            ("x$", Yes),
            ("^a$", No),
            ("\\.", Yes),
            ("longer than it$", No),
            ("^(www\\.)?a\\.x$", Unclear),
        ] {
            assert_eq!(text_fits(regex, "a.x"), fit, "{regex}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(regex in "[\\^$/.a*+?()|é\\\\\\[\\]{}-]{0,12}") {
            path_fits(&regex, true);
            text_fits(&regex, "a.x");
        }
    }
}
