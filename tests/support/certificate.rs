//! Certificates: those our own servers use, and those which nginx serves.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme, StreamOwned,
};
use std::net::TcpStream;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::eventually;
use super::exchange::connect;

/// A private CA, for servers (Pebble's own API) which have to be trusted through a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its certificate, to be trusted.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate and key.
    pub fn certify(&self, names: &[&str]) -> Identity {
        self.identify(server(names))
    }

    /// The same, valid until then.
    pub fn certify_until(&self, names: &[&str], end: OffsetDateTime) -> Identity {
        let mut params = server(names);
        params.not_after = end;
        self.identify(params)
    }

    fn identify(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: self.sign(params, &key),
            key: key.serialize_pem(),
        }
    }

    /// A certificate for somebody's key, in PEM.
    pub fn sign(&self, params: CertificateParams, key: &impl PublicKeyData) -> String {
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A certificate and its key, in PEM.
pub struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    /// What somebody has who has no certificate yet.
    pub fn self_signed(names: &[&str]) -> Self {
        Self::self_signed_until(names, OffsetDateTime::now_utc() + time::Duration::days(90))
    }

    /// One that ends then.
    pub fn self_signed_until(names: &[&str], not_after: OffsetDateTime) -> Self {
        let names: Vec<_> = names.iter().copied().map(str::to_owned).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = not_after - time::Duration::days(90);
        params.not_after = not_after;
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A TLS server that shows it.
    pub fn server(&self) -> ServerConfig {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap()
    }

    /// Writes `fullchain.pem` and `privkey.pem`.
    pub fn write_to(&self, directory: &Path) {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("fullchain.pem"), &self.certificate).unwrap();
        fs::write(directory.join("privkey.pem"), &self.key).unwrap();
    }
}

/// A certificate as a TLS server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The DNS names in it.
    pub names: Vec<String>,
    /// Who signed it (common name).
    pub issuer: String,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// The one that is served for `name` on this port, trusted or not. A worker that retires closes what it has only just accepted, so
    /// it is asked for again.
    pub fn served(port: u16, name: &str) -> Self {
        eventually("a TLS server", Duration::from_secs(5), || {
            Self::seen(port, name)
        })
    }

    /// The same, if there is a server and it has one for this name.
    pub fn seen(port: u16, name: &str) -> Option<Self> {
        let stream = connect_tls(port, name, &TRUSTING_ANYBODY).ok()?;
        let chain = stream.conn.peer_certificates()?;
        Some(Self::parse(chain[0].clone().into_owned()))
    }

    /// The first one in a PEM file.
    pub fn in_file(file: &Path) -> Self {
        Self::parse(CertificateDer::from_pem_file(file).unwrap())
    }

    fn parse(der: CertificateDer<'static>) -> Self {
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let names = parsed
            .subject_alternative_name()
            .unwrap()
            .into_iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        let issuer = parsed
            .issuer()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect();
        let not_after = parsed.validity().not_after.to_datetime();
        let serial = parsed.raw_serial_as_string();
        Self {
            names,
            issuer,
            not_after,
            serial,
            der,
        }
    }
}

/// A TLS connection to 127.0.0.1, its handshake done.
pub(super) fn connect_tls(
    port: u16,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = connect(port)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// For users of a test's nginx, whose certificate may be a placeholder.
pub(super) static TRUSTING_ANYBODY: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
});

/// Trusts what one PEM text says.
pub(super) fn trusting(pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
