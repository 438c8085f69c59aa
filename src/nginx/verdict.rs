//! What `nginx -t` says, read: which file is the main one, and which file and line nginx blames.
//! Pure: it runs nothing. The words are those of nginx 1.0 to 1.29 with OpenSSL.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where nginx sees a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// The file: of the configuration, or the certificate or key that could not be used.
    pub file: PathBuf,
    /// The line, where nginx names one.
    pub line: Option<u32>,
    /// nginx's own words, without log level and place.
    pub message: String,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} in {}:{line}", self.message, self.file.display()),
            None => f.write_str(&self.message),
        }
    }
}

/// The main configuration file: as nginx names it in what its test printed, else as the command's `-c` and `-p` say.
pub fn main_file_from_test(argv: &[String], output: &str) -> Option<PathBuf> {
    output
        .lines()
        .find_map(main_file_named)
        .or_else(|| main_file_given(argv))
}

/// The first fault that made nginx refuse, if it names a file.
pub fn blamed(output: &str) -> Option<Blame> {
    output.lines().filter_map(fatal).find_map(blame)
}

fn main_file_named(line: &str) -> Option<PathBuf> {
    let (_, rest) = line
        .split_once("nginx: the configuration file ")
        .or_else(|| line.split_once("nginx: configuration file "))?;
    [" syntax is ok", " test is successful", " test failed"]
        .iter()
        .find_map(|end| rest.strip_suffix(end))
        .map(PathBuf::from)
}

/// What nginx makes of its own options (`ngx_get_options`, `ngx_process_options`).
fn main_file_given(argv: &[String]) -> Option<PathBuf> {
    // The command may stand behind others: `sudo -u x nginx -t`, `docker exec web nginx -t`.
    let own = argv.iter().rposition(|word| is_nginx(word))?;
    let (mut file, mut prefix) = (None, None);
    let mut words = argv.iter().skip(own + 1);
    while let Some(options) = words.next().and_then(|word| word.strip_prefix('-')) {
        for (at, option) in options.char_indices() {
            let mut value = || match &options[at + 1..] {
                "" => words.next().map(String::as_str),
                joined => Some(joined),
            };
            match option {
                'c' => file = value(),
                'p' => prefix = value(),
                'e' | 'g' | 's' => {
                    value();
                }
                _ => continue,
            }
            break;
        }
    }
    let file = Path::new(file.or(prefix.map(|_| "conf/nginx.conf"))?);
    match prefix {
        Some(prefix) => Some(Path::new(prefix).join(file)),
        // Relative to the prefix nginx was built with, which only nginx knows.
        None => file.is_absolute().then(|| file.to_owned()),
    }
}

/// Whether a word of a command is nginx's own program, or one of its descendants'.
pub(super) fn is_nginx(word: &str) -> bool {
    const NAMES: [&str; 5] = ["nginx", "openresty", "angie", "tengine", "freenginx"];
    Path::new(word)
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| {
            // `nginx-debug` is one, `nginx.conf` is not.
            let rest = NAMES.iter().find_map(|known| name.strip_prefix(known));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
}

/// The message of a line that made nginx stop. Before it there is `nginx: ` or, where nginx logs to standard error, date and process.
fn fatal(line: &str) -> Option<&str> {
    let (_, message) = ["[emerg] ", "[alert] ", "[crit] "]
        .iter()
        .find_map(|level| line.split_once(level))?;
    let bare = message.split_once(": ").filter(|(process, _)| {
        process
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'#' || b == b'*')
    });
    Some(bare.map_or(message, |(_, rest)| rest).trim_end())
}

fn blame(message: &str) -> Option<Blame> {
    if let Some(file) = certificate_in(message) {
        return Some(Blame {
            file: file.into(),
            line: None,
            message: message.to_owned(),
        });
    }
    if let Some((words, file, line)) = place_in(message) {
        return Some(Blame {
            file: file.into(),
            line: Some(line),
            message: words.to_owned(),
        });
    }
    let file = message
        .split('"')
        .skip(1)
        .step_by(2)
        .find(|quoted| quoted.starts_with('/'))?;
    Some(Blame {
        file: file.into(),
        line: None,
        message: message.to_owned(),
    })
}

/// The certificate or key that a message of nginx's TLS side is about.
fn certificate_in(message: &str) -> Option<&str> {
    const BEGINNINGS: [&str; 6] = [
        "cannot load certificate \"",
        "cannot load certificate key \"",
        "SSL_CTX_use_PrivateKey(\"",
        "SSL_CTX_use_PrivateKey_file(\"",
        "SSL_CTX_use_certificate(\"",
        "PEM_read_bio_X509(\"",
    ];
    let rest = BEGINNINGS
        .iter()
        .find_map(|beginning| message.strip_prefix(beginning))?;
    rest.split('"').next()
}

/// `words in /path/file.conf:12`, taken apart.
fn place_in(message: &str) -> Option<(&str, &str, u32)> {
    let (before, line) = message.rsplit_once(':')?;
    let line = line.parse().ok()?;
    let (words, file) = before.rsplit_once(" in /")?;
    Some((words, &before[before.len() - file.len() - 1..], line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_file(argv: &str, output: &str) -> Option<String> {
        let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
        main_file_from_test(&argv, output).map(|path| path.display().to_string())
    }

    #[test]
    fn nginx_itself_says_which_file_is_the_main_one() {
        for output in [
            "nginx: the configuration file /a b/nginx.conf syntax is ok\nnginx: configuration file /a b/nginx.conf test is successful\n",
            "2026/11/22 10:00:52 [emerg] 7#7: unexpected \"}\" in /x:2\nnginx: configuration file /a b/nginx.conf test failed\n",
        ] {
            let found = main_file("nginx -t -c /other", output);
            assert_eq!(found.as_deref(), Some("/a b/nginx.conf"));
        }
    }

    #[test]
    fn a_silent_nginx_is_known_by_its_options() {
        for (argv, file) in [
            ("nginx -t", None),
            ("nginx -tc /a/n.conf", Some("/a/n.conf")),
            ("nginx -c/a/n.conf -t", Some("/a/n.conf")),
            (
                "sudo -u web /usr/sbin/nginx -t -c /a/n.conf",
                Some("/a/n.conf"),
            ),
            ("nginx -t -c /srv/nginx.conf", Some("/srv/nginx.conf")),
            ("nginx-debug -t -c /a", Some("/a")),
            ("docker exec -c /no web nginx -t", None),
            ("nginx -t -c n.conf", None),
            ("nginx -t -p /srv/ -c n.conf", Some("/srv/n.conf")),
            ("nginx -p /srv -t", Some("/srv/conf/nginx.conf")),
            ("nginx -g x -e /log -q -t -c /a", Some("/a")),
            ("true -c /a", None),
            ("nginx -c", None),
        ] {
            assert_eq!(main_file(argv, "").as_deref(), file, "{argv}");
        }
    }

    #[test]
    fn a_file_and_line_are_blamed_with_and_without_a_date() {
        for line in [
            "nginx: [emerg] duplicate location \"/a/\" in /etc/nginx/x y.conf:12",
            "2026/11/22 10:00:52 [emerg] 13656#13656: duplicate location \"/a/\" in /etc/nginx/x y.conf:12",
        ] {
            let output = format!("nginx: [warn] nothing \"/of\" it in /w:1\n{line}\nnginx: …");
            let blame = blamed(&output).unwrap();
            assert_eq!(blame.file, Path::new("/etc/nginx/x y.conf"));
            assert_eq!(blame.line, Some(12));
            assert_eq!(blame.message, "duplicate location \"/a/\"");
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_blamed_itself() {
        for (message, file) in [
            (
                "cannot load certificate \"/x/fullchain.pem\": BIO_new_file() failed (SSL: …)",
                "/x/fullchain.pem",
            ),
            (
                "cannot load certificate key \"/x/privkey.pem\": PEM_read_bio_PrivateKey() failed",
                "/x/privkey.pem",
            ),
            (
                "SSL_CTX_use_PrivateKey(\"/x/privkey.pem\") failed (SSL: … key values mismatch)",
                "/x/privkey.pem",
            ),
            (
                "open() \"/run/nginx.pid\" failed (13: Permission denied)",
                "/run/nginx.pid",
            ),
        ] {
            let blame = blamed(&format!("nginx: [emerg] {message}\n")).unwrap();
            assert_eq!(blame.file, Path::new(file));
            assert_eq!(blame.line, None);
            assert_eq!(blame.to_string(), message);
        }
    }

    #[test]
    fn nobody_is_blamed_for_a_warning_or_success() {
        assert_eq!(blamed(""), None);
        assert_eq!(
            blamed("nginx: [warn] conflicting server name \"a\" on 0.0.0.0:80, ignored"),
            None
        );
        assert_eq!(blamed("nginx: [emerg] still could not bind()"), None);
    }
}
