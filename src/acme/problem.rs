//! What a CA says is wrong (RFC 7807, RFC 8555 6.7).

use std::fmt;

use http::StatusCode;
use serde_json::json;

/// The namespace of the problem types that RFC 8555 and its extensions define.
const NAMESPACE: &str = "urn:ietf:params:acme:error:";
/// Longer explanations are cut; CAs write two sentences.
const LONGEST_DETAIL: usize = 600;
/// As much of a page that is no problem document says what it is about.
const LONGEST_PAGE: usize = 200;

/// A CA's explanation of why something failed, fit for a terminal: no control characters, no markup, bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The type without its namespace, as in `rateLimited`; `about:blank` if it has none (RFC 8555 6.7).
    pub kind: String,
    /// The explanation in words.
    pub detail: String,
    /// The HTTP status it came with, if it says so.
    pub status: Option<u16>,
    /// What is wrong with single identifiers (RFC 8555 6.7.1).
    pub parts: Vec<ProblemPart>,
}

/// What is wrong with one identifier (RFC 8555 6.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProblemPart {
    /// The identifier as the CA writes it.
    pub identifier: Option<String>,
    /// The type, as in [`Problem::kind`].
    pub kind: String,
    /// The explanation in words.
    pub detail: String,
}

/// Problems that may go away by themselves: they lie in the network, in the order of things, or are none of ACME's.
const PASSING: [&str; 8] = [
    "about:blank",
    "caa",
    "conflict",
    "connection",
    "dns",
    "incorrectResponse",
    "orderNotReady",
    "tls",
];

impl Problem {
    /// Whether it may go away without anything being changed on our side.
    pub fn is_passing(&self) -> bool {
        PASSING.contains(&self.kind.as_str())
    }
}

impl From<&instant_acme::Problem> for Problem {
    fn from(problem: &instant_acme::Problem) -> Self {
        let part = |part: &instant_acme::Subproblem| ProblemPart {
            identifier: part
                .identifier
                .as_ref()
                .map(|identifier| plain(&identifier.authorized(false).to_string(), LONGEST_DETAIL)),
            kind: kind(part.r#type.as_deref()),
            detail: plain(part.detail.as_deref().unwrap_or_default(), LONGEST_DETAIL),
        };
        Self {
            kind: kind(problem.r#type.as_deref()),
            detail: plain(
                problem.detail.as_deref().unwrap_or_default(),
                LONGEST_DETAIL,
            ),
            status: problem.status,
            parts: problem.subproblems.iter().map(part).collect(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        said(f, &self.detail, &self.kind)?;
        for part in &self.parts {
            f.write_str("; ")?;
            if let Some(identifier) = &part.identifier {
                write!(f, "{identifier}: ")?;
            }
            said(f, &part.detail, &part.kind)?;
        }
        Ok(())
    }
}

fn said(f: &mut fmt::Formatter<'_>, detail: &str, kind: &str) -> fmt::Result {
    match (detail, kind) {
        ("", "about:blank") => f.write_str("no reason given"),
        ("", kind) => f.write_str(kind),
        (detail, "about:blank") => f.write_str(detail),
        (detail, kind) => write!(f, "{detail} ({kind})"),
    }
}

fn kind(urn: Option<&str>) -> String {
    let urn = urn.filter(|urn| !urn.is_empty()).unwrap_or("about:blank");
    plain(urn.strip_prefix(NAMESPACE).unwrap_or(urn), LONGEST_DETAIL)
}

/// Text that can be shown: control characters and runs of white space become one space, and what is too long is cut.
pub(super) fn plain(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() && !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(word);
    }
    if let Some((end, _)) = shown.char_indices().nth(limit) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// The body of an error answer as a problem document: itself if it is one, else one made from the status and the page's words.
pub(super) fn document(status: StatusCode, body: &[u8]) -> (Problem, Vec<u8>) {
    if let Ok(problem) = serde_json::from_slice::<instant_acme::Problem>(body)
        && (problem.detail.is_some() || problem.r#type.is_some())
    {
        return (Problem::from(&problem), body.to_vec());
    }
    let page = plain(
        &without_markup(&String::from_utf8_lossy(body)),
        LONGEST_PAGE,
    );
    let problem = Problem {
        kind: "about:blank".to_owned(),
        detail: match page.as_str() {
            "" => format!("HTTP {status}"),
            page => format!("HTTP {status}: {page}"),
        },
        status: Some(status.as_u16()),
        parts: Vec::new(),
    };
    let document =
        json!({ "type": problem.kind, "detail": problem.detail, "status": problem.status });
    (problem, document.to_string().into_bytes())
}

/// The words of a page: tags, and what style sheets and scripts hold, are left out.
fn without_markup(page: &str) -> String {
    let mut words = String::new();
    let mut rest = page;
    while let Some((text, tag)) = rest.split_once('<') {
        words.push_str(text);
        words.push(' ');
        let silent = ["script", "style", "!--"].iter().find(|name| {
            tag.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        let end = match silent {
            Some(&"!--") => "-->",
            Some(&"script") => "</script>",
            Some(_) => "</style>",
            None => ">",
        };
        rest = tag.split_once(end).map_or("", |(_, after)| after);
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_read_with_its_parts() {
        let body = json!({
            "type": "urn:ietf:params:acme:error:malformed",
            "detail": "Some of the identifiers\nrequested were rejected",
            "subproblems": [{
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "This CA will not issue for \"example.net\"",
                "identifier": { "type": "dns", "value": "example.net" },
            }],
        });
        let (problem, kept) = document(StatusCode::BAD_REQUEST, body.to_string().as_bytes());
        assert_eq!(kept, body.to_string().into_bytes());
        assert_eq!(
            problem.to_string(),
            "Some of the identifiers requested were rejected (malformed); \
             example.net: This CA will not issue for \"example.net\" (rejectedIdentifier)"
        );
    }

    #[test]
    fn a_page_becomes_a_problem_document_of_its_words() {
        let page = "<html><head><title>503 Service Unavailable</title><style>a > b {}</style></head>\r\n\
                    <body>\x1b[31m<h1 class=\"x\">Back&nbsp;soon</h1><script>if (a<b) {}</script></body></html>";
        let (problem, body) = document(StatusCode::SERVICE_UNAVAILABLE, page.as_bytes());
        let shown = "HTTP 503 Service Unavailable: 503 Service Unavailable [31m Back&nbsp;soon";
        assert_eq!(problem.to_string(), shown);
        let read: instant_acme::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(read.status, Some(503));
    }

    #[test]
    fn whatever_an_error_holds_becomes_a_readable_problem() {
        for (body, shown) in [
            ("", "HTTP 404 Not Found"),
            ("{}", "HTTP 404 Not Found: {}"),
            ("[1]", "HTTP 404 Not Found: [1]"),
            ("not <here", "HTTP 404 Not Found: not"),
            ("{\"type\":3}", "HTTP 404 Not Found: {\"type\":3}"),
        ] {
            let (problem, _) = document(StatusCode::NOT_FOUND, body.as_bytes());
            assert_eq!(problem.to_string(), shown);
        }
        let long = "x ".repeat(100_000);
        let (problem, _) = document(StatusCode::NOT_FOUND, long.as_bytes());
        assert!(problem.detail.len() < 300);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_gets_past_as_anything_but_a_problem_fit_for_a_terminal(body: Vec<u8>, page: String) {
            for body in [body.as_slice(), page.as_bytes()] {
                let (problem, document) = document(StatusCode::BAD_GATEWAY, body);
                let shown = problem.to_string();
                assert!(!shown.chars().any(char::is_control));
                assert!(!shown.is_empty());
                serde_json::from_slice::<instant_acme::Problem>(&document).unwrap();
            }
        }
    }
}
