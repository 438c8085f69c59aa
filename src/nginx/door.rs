//! The text of a door: the include file that routes an app's challenge path to us. Pure; nothing but parsed values reaches it.

use std::fmt::{self, Write};

use crate::address::Address;
use crate::challenge::PREFIX;
use crate::identifier::AppName;
use crate::upstream::{Upstream, UpstreamHost};

/// What a door's text depends on.
#[derive(Debug, Clone)]
pub struct Door<'a> {
    /// Whose door it is.
    pub app: &'a AppName,
    /// Where we listen.
    pub to: &'a Address,
    /// Where the app is reached should we be gone; used only if it is an address, since an unresolved name would keep nginx from starting.
    pub app_upstream: Option<&'a Upstream>,
    /// Who opened it and until when, for whoever reads the file. Nothing for a permanent door, whose text has to stay the same.
    pub note: Option<String>,
    /// Whether the server uses `auth_request`, whose module not every nginx has.
    pub auth_request: bool,
}

impl Door<'_> {
    /// The file's bytes.
    pub fn text(&self) -> String {
        self.to_string()
    }

    /// The `proxy_pass` by which nginx reaches the app itself.
    fn fallback(&self) -> Option<String> {
        match self.app_upstream? {
            Upstream::Unix(path) => Some(format!("http://unix:{}", path.display())),
            Upstream::Tcp {
                host: UpstreamHost::Name(_),
                ..
            } => None,
            address => Some(address.to_string()),
        }
    }
}

/// What both locations say of the way a request is passed on. A server's own `proxy_*` lines would be inherited otherwise.
const PASSED_ON: &str = "\
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_bind off;
    proxy_cache off;
    proxy_intercept_errors off;
    proxy_redirect off;
";

impl fmt::Display for Door<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, to, .. } = self;
        writeln!(
            f,
            "# A door of sidedoor's: routes the ACME challenge path of the app {app} to {to}."
        )?;
        match &self.note {
            Some(note) => writeln!(
                f,
                "# {note} It closes by itself; by hand: sidedoor close {app}"
            )?,
            None => writeln!(f, "# It is permanent; by hand: sidedoor close {app}")?,
        }
        let escaped = PREFIX.replace('.', "\\.");
        write!(
            f,
            "
# Ends the server's rewrite phase for this path, so that a later \"return 301\" doesn't win; the path stays as it came.
if ($uri ~ \"^{escaped}\") {{
    break;
}}

location ^~ {PREFIX} {{
    allow all;
    auth_basic off;
"
        )?;
        if self.auth_request {
            f.write_str("    auth_request off;\n")?;
        }
        f.write_str("    gzip off;\n")?;
        f.write_str(PASSED_ON)?;
        write!(
            f,
            "    proxy_set_header X-Sidedoor-App {app};\n    proxy_pass http://{to};\n"
        )?;
        let Some(fallback) = self.fallback() else {
            return f.write_str("}\n");
        };
        write!(
            f,
            "    error_page 502 504 = @sidedoor_app;
}}

# Should sidedoor be gone, the app answers.
location @sidedoor_app {{
{PASSED_ON}    proxy_pass {fallback};
}}
"
        )
    }
}

/// The note in a transient door.
pub fn note(process: u32, opened: time::OffsetDateTime, until: time::OffsetDateTime) -> String {
    let mut note = String::new();
    let format = &time::format_description::well_known::Rfc3339;
    // invariant: RFC 3339 writes every date that the system's clock can show; writing to a string can't fail.
    let text = |time: time::OffsetDateTime| {
        time.replace_nanosecond(0)
            .unwrap_or(time)
            .format(format)
            .unwrap_or_default()
    };
    let _ = write!(
        note,
        "Opened {} by process {process}, good until {}.",
        text(opened),
        text(until)
    );
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door<'a>(app: &'a AppName, to: &'a Address, app_upstream: Option<&'a Upstream>) -> Door<'a> {
        Door {
            app,
            to,
            app_upstream,
            note: None,
            auth_request: false,
        }
    }

    #[test]
    fn leads_to_us_and_falls_back_to_an_app_that_has_an_address() {
        let app: AppName = "shop".parse().unwrap();
        let to: Address = "unix:/run/sidedoor/http.sock".parse().unwrap();
        for (upstream, fallback) in [
            ("http://127.0.0.1:5000", "proxy_pass http://127.0.0.1:5000;"),
            ("https://[::1]:5000", "proxy_pass https://[::1]:5000;"),
            (
                "unix:/run/shop.sock",
                "proxy_pass http://unix:/run/shop.sock;",
            ),
        ] {
            let upstream = upstream.parse().unwrap();
            let text = door(&app, &to, Some(&upstream)).text();
            assert!(
                text.contains("proxy_pass http://unix:/run/sidedoor/http.sock;"),
                "{text}"
            );
            assert!(text.contains(fallback), "{text}");
        }
    }

    #[test]
    fn the_snippet_for_hand_made_doors_says_the_same() {
        let app = "shop".parse().unwrap();
        let to = "127.0.0.1:8888".parse().unwrap();
        let snippet = include_str!("../../nginx-snippets/door.conf");
        let rules = |text: &str| {
            let lines = text.lines().map(str::trim);
            let rules = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            // Whoever includes it by hand may do so in any app's servers.
            let rules = rules.filter(|rule| !rule.contains("X-Sidedoor-App"));
            rules.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(rules(snippet), rules(&door(&app, &to, None).text()));
    }

    #[test]
    fn never_writes_a_name_into_proxy_pass() {
        let app: AppName = "shop".parse().unwrap();
        let to: Address = "127.0.0.1:8888".parse().unwrap();
        let upstream = "http://app.internal:5000".parse().unwrap();
        let text = door(&app, &to, Some(&upstream)).text();
        assert!(!text.contains("app.internal"), "{text}");
        assert!(!text.contains("error_page"), "{text}");
    }
}
