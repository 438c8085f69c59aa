//! Path patterns as glob(3) reads them, for that is what nginx hands its `include`s to (flags 0, C locale).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What a pattern takes in.
#[derive(Debug, Default)]
pub struct Expansion {
    /// The paths, sorted by their bytes.
    pub paths: Vec<PathBuf>,
    /// Directories that could not be listed. glob(3) passes over them in silence.
    pub unlisted: Vec<(PathBuf, io::Error)>,
}

/// Whether nginx takes the path of an `include` for a pattern.
pub fn is_pattern(path: &Path) -> bool {
    path.as_os_str()
        .as_bytes()
        .iter()
        .any(|b| b"*?[".contains(b))
}

/// The existing paths which an absolute pattern takes in.
pub fn expand(pattern: &Path) -> Expansion {
    let mut expansion = Expansion {
        paths: vec![PathBuf::new()],
        unlisted: Vec::new(),
    };
    for component in pattern.components() {
        let name = match component {
            Component::Normal(name) if is_pattern(Path::new(name)) => name,
            literal => {
                for path in &mut expansion.paths {
                    path.push(unescaped(literal.as_os_str()));
                }
                continue;
            }
        };
        let mut deeper = Vec::new();
        for directory in &expansion.paths {
            match fs::read_dir(directory) {
                Ok(entries) => deeper.extend(
                    entries
                        .flatten()
                        .filter(|entry| matches(name.as_bytes(), entry.file_name().as_bytes()))
                        .map(|entry| entry.path()),
                ),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    expansion.unlisted.push((directory.clone(), error));
                }
                Err(_) => {}
            }
        }
        expansion.paths = deeper;
    }
    expansion
        .paths
        .retain(|path| path.symlink_metadata().is_ok());
    expansion
        .paths
        .sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    expansion
}

/// Whether a pattern takes in a path, component by component, whatever exists.
pub fn takes_in(pattern: &Path, path: &Path) -> bool {
    let mut names = path.components();
    let fits = pattern.components().all(|component| {
        names.next().is_some_and(|name| {
            matches(
                component.as_os_str().as_bytes(),
                name.as_os_str().as_bytes(),
            )
        })
    });
    fits && names.next().is_none()
}

/// Whether a pattern takes in a name that has no slash: `*`, `?`, `[a-z]`, `[!a]`, `\`; a leading dot only literally.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && matches!(pattern.first(), Some(b'*' | b'?' | b'[')) {
        return false;
    }
    // The last star and the name's position then: all that backtracking needs.
    let (mut rest, mut at) = (pattern, 0);
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let Some(after) = rest.strip_prefix(b"*") {
            star = Some((after, at));
            rest = after;
            continue;
        }
        let step = match (name.get(at), rest.is_empty()) {
            (None, true) => return true,
            (None, false) => return false,
            (Some(_), true) => None,
            (Some(byte), false) => one(rest, *byte),
        };
        match (step, star) {
            (Some(after), _) => {
                rest = after;
                at += 1;
            }
            (None, Some((after, from))) => {
                star = Some((after, from + 1));
                (rest, at) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
}

/// What is left of the pattern if its first element takes in this byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', after @ ..] => Some(after),
        [b'[', inner @ ..] => match bracket(inner, byte) {
            Some((true, after)) => Some(after),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(inner),
        },
        [b'\\', escaped, after @ ..] => (byte == *escaped).then_some(after),
        [literal, after @ ..] => (byte == *literal).then_some(after),
        [] => None,
    }
}

/// Whether a bracket expression takes in this byte, and what follows it; `None` if it is never closed and so no expression.
fn bracket(inner: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match inner {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut first = true;
    loop {
        rest = match rest {
            [b']', after @ ..] if !first => return Some((found != negated, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                after
            }
            [b'\\', literal, after @ ..] | [literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
            [] => return None,
        };
        first = false;
    }
}

/// A component without wildcards, its backslashes resolved.
fn unescaped(component: &OsStr) -> PathBuf {
    let mut name = Vec::new();
    let mut bytes = component.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => *bytes.next().unwrap_or(byte),
            byte => *byte,
        });
    }
    PathBuf::from(OsStr::from_bytes(&name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fit_patterns_as_glob_says() {
        for (pattern, name, fits) in [
            ("*", "a.conf", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("?a", ".a", false),
            ("[.]a", ".a", false),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("*.conf", ".conf", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a*bc", "abcbc", true),
            ("[a-c]?", "bz", true),
            ("[!a-c]?", "bz", false),
            ("[^a]", "b", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("[a", "a", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("", "", true),
            ("{a,b}", "a", false),
        ] {
            let got = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(got, fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_path_fits_component_by_component() {
        let fits = |pattern: &str, path: &str| takes_in(Path::new(pattern), Path::new(path));
        assert!(fits("/etc/*/x/*.conf", "/etc/a/x/b.conf"));
        assert!(fits("/etc//./x/*.conf", "/etc/x/b.conf"));
        assert!(!fits("/etc/*.conf", "/etc/x/b.conf"));
        assert!(!fits("/etc/x/*", "/etc/x"));
        assert!(!fits("/etc/x", "/etc/x/y"));
    }

    #[test]
    fn expands_wildcards_in_the_middle_sorted_by_bytes() {
        let root = tempfile::tempdir().unwrap();
        for file in ["b/x.conf", "a/z.conf", "a/Z.conf", "a/.h.conf", ".c/x.conf"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let expansion = expand(&root.path().join("*/*.conf"));
        let found: Vec<_> = expansion
            .paths
            .iter()
            .map(|p| p.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(found, ["a/Z.conf", "a/z.conf", "b/x.conf"]);
        assert!(expand(&root.path().join("*/nothing")).paths.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[a*?\\[\\]!^.\\\\-]{0,12}", name in "[a.\\[\\]-]{0,8}") {
            matches(pattern.as_bytes(), name.as_bytes());
        }
    }
}
