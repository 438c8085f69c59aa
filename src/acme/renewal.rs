//! When the CA suggests to renew a certificate (RFC 9773). Needs no account.

use std::time::SystemTime;

use time::OffsetDateTime;

use super::ca::Ca;
use super::call::CallError;
use super::problem::plain;

const WHAT: &str = "the question when to renew";

/// A CA's suggestion for one certificate (RFC 9773 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    /// The window's beginning; if it is over, renew now.
    pub start: OffsetDateTime,
    /// The window's end, after its beginning.
    pub end: OffsetDateTime,
    /// Where the CA explains an unusual window.
    pub explanation_url: Option<String>,
    /// When to ask again; six hours from now is recommended where the CA says nothing (RFC 9773 4.3).
    pub retry_after: Option<SystemTime>,
}

impl Ca {
    /// The CA's suggestion for a certificate, by its [id](crate::certificate::Chain::certificate_id). None if the CA makes none:
    /// it has no renewal information, or not for this certificate (RFC 9773 4.1).
    pub async fn renewal_info(
        &self,
        certificate_id: &str,
    ) -> Result<Option<RenewalInfo>, CallError> {
        let directory = self.directory().await?;
        let Some(url) = &directory.renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{certificate_id}", url.trim_end_matches('/'));
        let answer = match self.client().get(WHAT, &url).await {
            Err(CallError::Refused(problem))
                if problem.status.is_none_or(|status| status == 404) =>
            {
                return Ok(None);
            }
            answer => answer?,
        };
        let broken = |reason: String| CallError::Broken { what: WHAT, reason };
        let info: instant_acme::RenewalInfo = serde_json::from_slice(&answer.body)
            .map_err(|error| broken(plain(&error.to_string(), 200)))?;
        let window = info.suggested_window;
        if window.end <= window.start {
            return Err(broken(format!(
                "the window ends at {}, before it begins at {}",
                window.end, window.start
            )));
        }
        Ok(Some(RenewalInfo {
            start: window.start,
            end: window.end,
            explanation_url: info.explanation_url.map(|url| plain(&url, 500)),
            retry_after: answer.retry_after,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;
    use crate::acme::fake_ca::{FakeCa, Reply, usual};

    const ID: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

    async fn asked(reply: Reply) -> Result<Option<RenewalInfo>, CallError> {
        let fake = FakeCa::start(move |request, base| match request.line.as_str() {
            "GET /renewal-info/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" => reply.clone(),
            _ => usual(request, base),
        })
        .await;
        let ca = Ca::new(&fake.url("/directory"), b"").unwrap();
        ca.renewal_info(ID).await
    }

    fn window(start: &str, end: &str) -> Value {
        json!({
            "suggestedWindow": { "start": start, "end": end },
            "explanationURL": "https://ca.example/incident",
        })
    }

    #[tokio::test]
    async fn the_window_and_the_next_question_are_told() {
        let body = window("2026-11-20T04:00:00Z", "2026-11-21T04:00:00Z");
        let info = asked(Reply::json(200, &body).with("retry-after: 21600")).await;
        let info = info.unwrap().unwrap();
        assert_eq!(info.start, datetime!(2026-11-20 4:00 UTC));
        assert_eq!(info.end, datetime!(2026-11-21 4:00 UTC));
        assert_eq!(
            info.explanation_url.as_deref(),
            Some("https://ca.example/incident")
        );
        assert!(info.retry_after.is_some());
    }

    #[tokio::test]
    async fn no_retry_after_is_no_failure() {
        let body = window("2026-11-20T04:00:00Z", "2026-11-21T04:00:00Z");
        let info = asked(Reply::json(200, &body)).await.unwrap().unwrap();
        assert_eq!(info.retry_after, None);
    }

    #[tokio::test]
    async fn a_window_that_is_over_is_told_as_it_is_since_it_means_now() {
        let body = window("2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z");
        let info = asked(Reply::json(200, &body)).await.unwrap().unwrap();
        assert!(info.end < OffsetDateTime::now_utc());
    }

    #[tokio::test]
    async fn a_window_that_is_none_is_broken() {
        for body in [
            window("2026-11-21T04:00:00Z", "2026-11-20T04:00:00Z"),
            window("2026-11-21T04:00:00Z", "2026-11-21T04:00:00Z"),
            window("soon", "later"),
            json!({}),
        ] {
            let error = asked(Reply::json(200, &body)).await.unwrap_err();
            assert!(matches!(error, CallError::Broken { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_ca_that_suggests_nothing_is_no_failure() {
        let unknown = Reply::problem(404, "malformed", "certificate not found");
        assert_eq!(asked(unknown).await.unwrap(), None);
        let fake = FakeCa::start(|_, base| {
            Reply::json(
                200,
                &json!({ "newNonce": format!("{base}/nonce"), "newOrder": format!("{base}/new-order") }),
            )
        })
        .await;
        let ca = Ca::new(&fake.url("/directory"), b"").unwrap();
        assert_eq!(ca.renewal_info(ID).await.unwrap(), None);
        assert_eq!(fake.lines(), ["GET /directory"]);
    }

    #[tokio::test]
    async fn being_told_to_wait_is_passed_on() {
        let busy = Reply::text(429, "slow down").with("retry-after: 60");
        let error = asked(busy).await.unwrap_err();
        assert!(
            matches!(error, CallError::RateLimited { until: Some(_), .. }),
            "{error}"
        );
        assert!(error.retry_after().is_some());
    }
}
