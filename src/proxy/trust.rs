//! TLS towards an app: whom its certificate has to be signed by.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use crate::tls;

/// Whose certificates an app may show (for `https://` upstreams).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the CAs that the system trusts, or of Mozilla's where the system names none.
    #[default]
    System,
    /// Those that lead to one of these.
    Roots(Vec<CertificateDer<'static>>),
    /// Any, checked by nobody. Only for who knows the way to the app to be safe.
    Anybody,
}

impl Trust {
    /// The roots in a PEM text.
    ///
    /// # Errors
    /// If there is none in it, or one that can't be used.
    pub fn of_roots(pem: &[u8]) -> io::Result<Self> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let roots = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(error.to_string()))?;
        if roots.is_empty() {
            return Err(invalid("there is no certificate in it".to_owned()));
        }
        let trust = Self::Roots(roots);
        store_of(&trust)?;
        Ok(trust)
    }
}

/// TLS to one upstream.
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// # Errors
    /// If the roots can't be used, or the name can't be in a certificate.
    pub(super) fn new(host: String, trust: &Trust) -> io::Result<Self> {
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let client = match trust {
            Trust::Anybody => tls::unchecked_client(),
            trust => Ok(tls::client()
                .map_err(io::Error::other)?
                .with_root_certificates(store_of(trust)?)),
        };
        let mut config = client.map_err(io::Error::other)?.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn store_of(trust: &Trust) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match trust {
        Trust::Roots(roots) => {
            for root in roots {
                store.add(root.clone()).map_err(io::Error::other)?;
            }
        }
        Trust::System | Trust::Anybody => return Ok(system_roots()),
    }
    Ok(store)
}

/// Read once: the store has hundreds of files on some systems.
fn system_roots() -> RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let read = || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        store
    };
    ROOTS.get_or_init(read).clone()
}
