//! Where nginx's configuration names files of a directory.

use std::path::Path;

use super::configuration::{Configuration, in_force};
use super::syntax::{Directive, Place};

impl Configuration {
    /// The first directive that names something in this directory, at any level. A path that nginx puts together from variables is not seen.
    pub fn mention(&self, directory: &Path) -> Option<Place> {
        let mut blocks = vec![self.directives()];
        while let Some(block) = blocks.pop() {
            for directive in block {
                if self.names(directive, directory) {
                    return Some(directive.place.clone());
                }
                blocks.push(in_force(directive.block()));
            }
        }
        None
    }

    fn names(&self, directive: &Directive, directory: &Path) -> bool {
        let within = format!("{}/", directory.display());
        directive.arguments().iter().any(|word| {
            let path = self.path(word.as_path());
            path.starts_with(directory) || word.to_str().contains(&within)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mention(configuration: &str) -> Option<u32> {
        let main = Path::new("/etc/nginx/nginx.conf");
        let read = Configuration::read_with(main, |_| Ok(configuration.as_bytes().to_vec()));
        let place = read
            .unwrap()
            .mention(Path::new("/var/lib/sidedoor/live/shop"));
        place.map(|place| place.line)
    }

    #[test]
    fn a_file_is_named_at_any_level_and_in_any_form() {
        let tls = |path: &str| format!("http {{\nserver {{\nssl_certificate {path};\n}}\n}}\n");
        for named in [
            "/var/lib/sidedoor/live/shop/fullchain.pem",
            "\"/var/lib/sidedoor/live/shop/fullchain.pem\"",
            "/var/lib/sidedoor/live//shop/fullchain.pem",
            "file:/var/lib/sidedoor/live/shop/fullchain.pem",
        ] {
            assert_eq!(mention(&tls(named)), Some(3), "{named}");
        }
        for other in [
            "/var/lib/sidedoor/live/shop2/fullchain.pem",
            "/var/lib/sidedoor/live/wiki/fullchain.pem",
            "/var/lib/sidedoor/live/$ssl_server_name/fullchain.pem",
        ] {
            assert_eq!(mention(&tls(other)), None, "{other}");
        }
        let stream = "stream {\nserver {\nlisten 1;\nssl_certificate_key /var/lib/sidedoor/live/shop/privkey.pem;\n}\n}\n";
        assert_eq!(mention(stream), Some(4));
    }
}
