//! What is read: nginx and the crate agree on words, includes, duplicates, and on what nginx's test says.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sidedoor::nginx::configuration::Configuration;
use sidedoor::nginx::syntax::{self, Word};
use sidedoor::nginx::verdict::{blamed, main_file_from_test};

use crate::private_nginx::{Site, binary, samples};

/// Serves each word under its number, and checks that nginx serves what the crate reads.
fn serves_what_we_read(words: &[(Vec<u8>, Word)]) {
    let mut locations = b"server { listen 127.0.0.1:{port};\n".to_vec();
    for (at, (written, _)) in words.iter().enumerate() {
        locations.extend(format!("location = /{at} {{ return 200 ").bytes());
        locations.extend(written);
        locations.extend(b";\n}\n");
    }
    locations.push(b'}');
    let site = Site::new("include words.conf;\nserver { listen 127.0.0.1:{port}; }");
    let locations = String::from_utf8(locations).unwrap();
    let nginx = site.with("words.conf", &locations).start();
    for (at, (written, word)) in words.iter().enumerate() {
        let body = nginx.get("a", &format!("/{at}")).1;
        let written = String::from_utf8_lossy(written);
        assert_eq!(Word::from(body.as_slice()), *word, "{written:?}");
    }
}

#[test]
fn nginx_reads_back_the_words_we_write() {
    let words: Vec<_> = samples("[ab\\\\\"'{};# \n\r\ttrnä)}]{0,10}", 400)
        .map(|text| Word::from(text.as_bytes()))
        .map(|word| (word.written(), word))
        .collect();
    serves_what_we_read(&words);
}

#[test]
fn nginx_reads_the_words_that_we_read() {
    let words: Vec<_> = samples("[\"'ab\\\\][ab\\\\\"'{};# \n\r\ttrnä)}]{0,8}[\"'ab]", 6000)
        .filter_map(|written| {
            let line = format!("return 200 {written};");
            let directives = syntax::parse(line.as_bytes(), &Path::new("x").into()).ok()?;
            match directives.as_slice() {
                [directive] if directive.words.len() == 3 => {
                    Some((written.into_bytes(), directive.words[2].clone()))
                }
                _ => None,
            }
        })
        .collect();
    assert!(words.len() > 300, "only {} words", words.len());
    serves_what_we_read(&words);
}

#[test]
fn nginx_and_we_refuse_the_same_syntax() {
    let mut runs = [0, 0];
    for source in samples("(a|b|\"c\"|'d'| |;|\n|\\}|#|\\)|\\$\\{x|\\\\;){1,9}", 150) {
        let ours = syntax::parse(source.as_bytes(), &Path::new("x").into());
        // In this table nginx takes any words for data.
        let site = Site::new("types { include words; }").with("words", &source);
        let (_, words) = site.test();
        let theirs = !words.contains("unexpected");
        assert_eq!(ours.is_ok(), theirs, "{source:?}: {words}");
        runs[usize::from(theirs)] += 1;
    }
    assert!(runs.iter().all(|count| *count > 10), "{runs:?}");
}

#[test]
fn files_are_included_in_nginx_s_order_from_nginx_s_directory() {
    let nginx = Site::new(
        "server { listen 127.0.0.1:{port}; set $x ''; include sub/one.conf; include s*/[ab]/*.conf; return 200 $x; }",
    )
    .with("sub/one.conf", "include two.conf;")
    .with("two.conf", "set $x $x-two;")
    .with("sub/two.conf", "set $x $x-wrong;")
    .with("sites/b/A.conf", "set $x $x-bA;")
    .with("sites/a/a.conf", "set $x $x-aa;")
    .with("sites/a/Z.conf", "set $x $x-aZ;")
    .with("sites/a/.h.conf", "set $x $x-wrong;")
    .with("sites/c/c.conf", "set $x $x-wrong;")
    .start();
    let configuration = nginx.site.configuration();
    let server = configuration.servers().next().unwrap();
    let set: String = server
        .directives()
        .filter(|d| d.is("set"))
        .map(|d| d.arguments()[1].to_str().replace("$x", ""))
        .collect();
    assert_eq!(nginx.body("a"), "-two-aZ-aa-bA");
    assert_eq!(set, "-two-aZ-aa-bA");
}

#[test]
fn a_pattern_takes_in_the_files_that_nginx_includes() {
    const PATTERNS: [&str; 18] = [
        "*", "?", "??", "[a-c]", "[!a]*", "[^a]*", ".*h", "[]]", "[]a]*", "[[]*", "a\\*", "*a*",
        "[a-]", "[--z]", "*[.]c*", "[a", "[.]h", "*?*",
    ];
    const NAMES: [&str; 14] = [
        "a", "b", "ab", "B", "]", "[", "-", "a*", "a\\", ".h", "a.conf", "c.d", "[a", "\u{e4}",
    ];
    let mut servers = "server { listen 127.0.0.1:{port}; }".to_owned();
    for (at, pattern) in PATTERNS.iter().enumerate() {
        servers += &format!(
            "server {{ listen 127.0.0.1:{{port}}; server_name {at}.x; set $x ''; include 'files/{}'; return 200 $x; }}\n",
            pattern.replace('\\', "\\\\")
        );
    }
    let mut site = Site::new(&servers);
    for (at, name) in NAMES.iter().enumerate() {
        let letter = char::from(b'A' + at as u8);
        site = site.with(&format!("files/{name}"), &format!("set $x $x-{letter};"));
    }
    let nginx = site.start();
    let configuration = nginx.site.configuration();
    for (server, (at, pattern)) in configuration
        .servers()
        .skip(1)
        .zip(PATTERNS.iter().enumerate())
    {
        let ours: String = server
            .directives()
            .filter(|d| d.is("set"))
            .map(|d| {
                d.arguments()[1]
                    .to_str()
                    .replace("$x", "")
                    .replace("''", "")
            })
            .collect();
        assert_eq!(ours, nginx.body(&format!("{at}.x")), "{pattern}");
    }
}

#[test]
fn nginx_refuses_a_byte_order_mark_which_we_read_as_part_of_the_first_word() {
    let site = Site::new("include bom.conf;").with("bom.conf", "\u{feff}# comment\nserver { }");
    assert!(site.test().1.contains("unknown directive"));
    let configuration = site.configuration();
    assert_eq!(configuration.servers().count(), 0);
}

#[test]
fn a_duplicate_location_is_found_exactly_where_nginx_finds_it() {
    for (location, clashes) in [
        ("location /.well-known/acme-challenge/ { }", true),
        ("location ^~ /.well-known/acme-challenge/ { }", true),
        ("location ^~/.well-known/acme-challenge/ { }", true),
        ("location \"/.well-known/acme-challenge/\" { }", true),
        ("include other.conf;", true),
        ("location = /.well-known/acme-challenge/ { }", false),
        ("location ~ /.well-known/acme-challenge/ { }", false),
        ("location ~* ^/.well-known/acme-challenge/ { }", false),
        ("location /.well-known/acme-challenge { }", false),
        ("location ^~ /.well-known/ { }", false),
        ("location /.well-known/acme-challenge/x { }", false),
        ("location /.Well-Known/acme-challenge/ { }", false),
        (
            "location / { location /.well-known/acme-challenge/ { } }",
            false,
        ),
    ] {
        let site = Site::new(&format!(
            "server {{ listen 127.0.0.1:{{port}};\ninclude door/*.conf;\n{location}\n}}"
        ))
        .with("other.conf", "location /.well-known/acme-challenge/ { }")
        .with(
            "door/00-sidedoor.conf",
            "location ^~ /.well-known/acme-challenge/ { }",
        );
        let (fine, words) = site.test();
        assert_eq!(!fine, clashes, "{location}: {words}");
        let configuration = site.configuration();
        let server = configuration.servers().next().unwrap();
        let found = server.challenge_location(&site.path("door"));
        assert_eq!(found.is_some(), clashes, "{location}");
        assert_eq!(blamed(&words).is_some(), clashes, "{words}");
    }
}

#[test]
fn the_main_file_is_read_from_nginx_s_own_words() {
    let broken = Site::new("server {");
    for site in [Site::new(""), broken] {
        let argv = ["nginx".to_owned(), "-t".to_owned()];
        let found = main_file_from_test(&argv, &site.test().1);
        assert_eq!(found, Some(site.path("nginx.conf")));
    }
}

#[test]
fn nginx_s_blame_is_read_with_and_without_a_date() {
    let site = Site::new("include bad.conf;").with("bad.conf", "server {\n\nnonsense 1;\n}");
    let dated = Command::new(binary())
        .arg("-t")
        .arg("-c")
        .arg(site.path("nginx.conf"))
        .output()
        .unwrap();
    let dated = String::from_utf8(dated.stderr).unwrap();
    for words in [site.test().1, dated] {
        let blame = blamed(&words).unwrap();
        assert_eq!(blame.file, site.path("bad.conf"), "{words}");
        assert_eq!(blame.line, Some(3));
        assert_eq!(blame.message, "unknown directive \"nonsense\"");
    }
}

#[test]
fn the_certificate_or_key_that_nginx_cannot_use_is_blamed() {
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (one, other) = (made("a.x"), made("b.x"));
    let key = one.signing_key.serialize_pem();
    let mismatched = other.signing_key.serialize_pem();
    for (certificate, key, blames) in [
        (None, Some(key.as_str()), "cert.pem"),
        (Some("nonsense"), Some(key.as_str()), "cert.pem"),
        (Some(one.cert.pem().as_str()), None, "key.pem"),
        (Some(one.cert.pem().as_str()), Some("nonsense"), "key.pem"),
        (
            Some(one.cert.pem().as_str()),
            Some(mismatched.as_str()),
            "key.pem",
        ),
    ] {
        let mut site = Site::new(
            "server { listen 127.0.0.1:{port} ssl; ssl_certificate cert.pem; ssl_certificate_key {root}/key.pem; }",
        );
        for (name, content) in [("cert.pem", certificate), ("key.pem", key)] {
            if let Some(content) = content {
                site = site.with(name, content);
            }
        }
        let (fine, words) = site.test();
        assert!(!fine);
        let blame = blamed(&words).unwrap();
        assert_eq!(blame.file, site.path(blames), "{words}");
        assert_eq!(blame.line, None);
    }
}

#[test]
fn what_debian_ships_is_read() {
    let main = Path::new("/etc/nginx/nginx.conf");
    if !main.exists() {
        return;
    }
    let configuration = Configuration::read(main).unwrap();
    assert!(configuration.directives().any(|d| d.is("http")));
    let mut unread = vec![main.parent().unwrap().to_owned()];
    while let Some(directory) = unread.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                unread.push(path);
                continue;
            }
            let Ok(source) = std::fs::read(&path) else {
                continue;
            };
            let file: Arc<Path> = path.into();
            syntax::parse(&source, &file).unwrap();
        }
    }
}
