//! Requests that a key of ours signs, where instant-acme has no words for them (RFC 8555 6.2).

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

use super::ca::Ca;
use super::call::{Answer, CallError};
use crate::certificate::{KeyError, PrivateKey};

/// So often a request is repeated whose nonce is refused.
const NONCE_ATTEMPTS: usize = 36;

/// Whose signature a request carries.
pub(super) struct Signed<'a> {
    key: &'a PrivateKey,
    /// The account's URL; nothing where the key speaks for itself.
    account: Option<&'a str>,
}

impl<'a> Signed<'a> {
    /// As this account, whose key it is.
    pub(super) fn by_account(url: &'a str, key: &'a PrivateKey) -> Self {
        Self {
            key,
            account: Some(url),
        }
    }

    /// As whoever has this key, which goes along.
    pub(super) fn by_key(key: &'a PrivateKey) -> Self {
        Self { key, account: None }
    }

    /// The body of a request to `url`; without a nonce where it is part of another (RFC 8555 7.3.5).
    pub(super) fn body(
        &self,
        url: &str,
        nonce: Option<&str>,
        payload: &[u8],
    ) -> Result<Value, KeyError> {
        let mut header = json!({ "url": url });
        match self.account {
            Some(account) => header["kid"] = account.into(),
            None => header["jwk"] = self.key.jwk()?,
        }
        if let Some(nonce) = nonce {
            header["nonce"] = nonce.into();
        }
        self.key.sign_json(header, payload)
    }
}

impl Ca {
    /// Posts a payload, again while the nonce is refused. An empty payload is a reading (RFC 8555 6.3).
    pub(super) async fn post(
        &self,
        what: &'static str,
        url: &str,
        signed: Signed<'_>,
        payload: &[u8],
    ) -> Result<Answer, CallError> {
        let broken = |reason: String| CallError::Broken { what, reason };
        let directory = self.directory().await?;
        let mut left = NONCE_ATTEMPTS;
        loop {
            let nonce = self.client().fresh_nonce(what, &directory).await?;
            let body = signed
                .body(url, Some(&nonce), payload)
                .map_err(|error| broken(error.to_string()))?;
            let mut request = Request::post(url)
                .body(Bytes::from(body.to_string()))
                .map_err(|error| broken(error.to_string()))?;
            let content = HeaderValue::from_static("application/jose+json");
            request.headers_mut().insert(CONTENT_TYPE, content);
            let answer = self.client().answer(what, request).await?;
            left -= 1;
            if left == 0 || !answer.refuses_nonce() {
                return answer.success();
            }
        }
    }
}
