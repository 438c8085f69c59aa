//! One certificate authority: its directory, and the connection, nonces and trust anchors that all its accounts share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use serde::Deserialize;

use super::call::CallError;
use super::client::{Client, Http};
use super::connect::{CaError, Origin};
use super::order::OrderError;
use super::problem::plain;
use super::transport::{Limits, Transport};
use crate::identifier::Identifier;

/// How long a directory is taken to be as it was. New profiles and terms may wait that long.
const DIRECTORY_LIFETIME: Duration = Duration::from_secs(3600);

/// The profile by which public CAs certify addresses, and no other (Let's Encrypt's name for it).
const FOR_ADDRESSES: &str = "shortlived";

/// A certificate authority, as reached by its directory's URL. Clones share everything.
#[derive(Clone)]
pub struct Ca(Arc<Inner>);

struct Inner {
    url: String,
    client: Arc<Client>,
    directory: Mutex<Option<(Instant, Arc<Directory>)>>,
}

/// What a CA offers (RFC 8555 7.1.1).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    new_nonce: String,
    new_order: String,
    pub(super) new_account: Option<String>,
    pub(super) key_change: Option<String>,
    pub(super) revoke_cert: Option<String>,
    /// Where renewal information is asked for, if the CA has any (RFC 9773 4).
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
    #[serde(skip)]
    text: Bytes,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    terms_of_service: Option<String>,
    #[serde(default)]
    external_account_required: bool,
    #[serde(default)]
    caa_identities: Vec<String>,
    #[serde(default)]
    profiles: BTreeMap<String, String>,
}

impl Ca {
    /// The CA with this directory, trusted by the Web PKI's anchors and those in `extra_roots` (PEM, may be empty). Sends nothing yet.
    pub fn new(directory: &str, extra_roots: &[u8]) -> Result<Self, CaError> {
        Self::with_limits(directory, extra_roots, Limits::default())
    }

    /// The same with other limits than the default ones.
    pub fn with_limits(
        directory: &str,
        extra_roots: &[u8],
        limits: Limits,
    ) -> Result<Self, CaError> {
        let refused = |reason| CaError::Url {
            url: plain(directory, 200),
            reason,
        };
        let uri: Uri = directory.parse().map_err(|_| refused("it is no URL"))?;
        Origin::of(&uri).map_err(refused)?;
        let transport = Transport::new(extra_roots, limits)?;
        Ok(Self(Arc::new(Inner {
            url: directory.to_owned(),
            client: Arc::new(Client::new(transport)),
            directory: Mutex::default(),
        })))
    }

    /// The directory's URL, by which the CA is known.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// The directory, read anew when the last reading is an hour old (RFC 8555 7.1.1).
    pub async fn directory(&self) -> Result<Arc<Directory>, CallError> {
        const WHAT: &str = "the request for the directory";
        if let Some(directory) = self.known() {
            return Ok(directory);
        }
        let text = self.client().get(WHAT, self.url()).await?.body;
        let broken = |reason: String| CallError::Broken { what: WHAT, reason };
        let mut directory: Directory = serde_json::from_slice(&text)
            .map_err(|error| broken(format!("it is no ACME directory: {error}")))?;
        for url in [&directory.new_nonce, &directory.new_order] {
            let uri: Uri = url
                .parse()
                .map_err(|_| broken(format!("{:?} is no URL", plain(url, 200))))?;
            Origin::of(&uri).map_err(|reason| broken(reason.to_owned()))?;
        }
        directory.text = text;
        let directory = Arc::new(directory);
        *self.slot() = Some((Instant::now(), Arc::clone(&directory)));
        Ok(directory)
    }

    fn known(&self) -> Option<Arc<Directory>> {
        let slot = self.slot();
        let (read, directory) = slot.as_ref()?;
        (read.elapsed() < DIRECTORY_LIFETIME).then(|| Arc::clone(directory))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Arc<Directory>)>> {
        self.0
            .directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The client for an account of instant-acme's.
    pub(super) fn http(&self, directory: &Directory) -> Box<Http> {
        Box::new(Http {
            client: Arc::clone(&self.0.client),
            directory: directory.text.clone(),
        })
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ca").field(&self.0.url).finish()
    }
}

impl Directory {
    pub(super) fn new_nonce(&self) -> &str {
        &self.new_nonce
    }

    /// The terms of service that an account has to agree to (RFC 8555 7.3.3).
    pub fn terms(&self) -> Option<&str> {
        self.meta.terms_of_service.as_deref()
    }

    /// Whether accounts need an external account binding (RFC 8555 7.3.4).
    pub fn needs_eab(&self) -> bool {
        self.meta.external_account_required
    }

    /// The names by which CAA records allow this CA (RFC 8659 4.2).
    pub fn caa_identities(&self) -> &[String] {
        &self.meta.caa_identities
    }

    /// The profiles on offer with their descriptions (draft-ietf-acme-profiles 3).
    pub fn profiles(&self) -> &BTreeMap<String, String> {
        &self.meta.profiles
    }

    /// The profile to order by: the one asked for, if the CA has it. An address needs one wherever there are any, and gets the one that
    /// public CAs certify addresses by, unless another is asked for.
    pub(super) fn profile_for(
        &self,
        asked: Option<&str>,
        identifiers: &[Identifier],
    ) -> Result<Option<String>, OrderError> {
        let profiles = self.profiles();
        let offered = || profiles.keys().cloned().collect();
        let address = identifiers
            .iter()
            .find(|identifier| matches!(identifier, Identifier::Ip(_)));
        match (asked, address) {
            (Some(asked), _) if profiles.contains_key(asked) => Ok(Some(asked.to_owned())),
            (Some(asked), _) => Err(OrderError::UnknownProfile {
                profile: asked.to_owned(),
                offered: offered(),
            }),
            (None, Some(_)) if profiles.contains_key(FOR_ADDRESSES) => {
                Ok(Some(FOR_ADDRESSES.to_owned()))
            }
            (None, Some(address)) if !profiles.is_empty() => Err(OrderError::ProfileNeeded {
                identifier: address.clone(),
                offered: offered(),
            }),
            (None, _) => Ok(None),
        }
    }

    /// Whether the CA suggests when to renew (RFC 9773).
    pub fn has_renewal_info(&self) -> bool {
        self.renewal_info.is_some()
    }
}
