//! TLS 1.2 and 1.3 from PEM files, which may be read again while connections are open.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::Error;
use crate::authn::Authorities;

/// What handshakes are made with from now on. Those that were made stay.
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    pub fn new(config: Arc<ServerConfig>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(config)))
    }

    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Reads a certificate chain and its key, and checks that they belong together. With authorities, clients are asked for
/// a certificate of theirs; they need not have one.
pub fn tls(cert: &Path, key: &Path, clients: Option<&Authorities>) -> Result<Arc<ServerConfig>, Error> {
    let refused = |field: &'static str, file: &Path, why: String| Error::Tls { key: field, file: file.into(), why };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| refused("tls.cert", cert, words(&error)))?;
    if chain.is_empty() {
        return Err(refused("tls.cert", cert, words(&pem::Error::NoItemsFound)));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refused("tls.key", key, words(&error)))?;

    let verifier = clients.map_or_else(WebPkiClientVerifier::no_client_auth, Authorities::verifier);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, private))
        .map_err(|error| refused("tls.key", key, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if clients.is_some() {
        // A resumed session brings a certificate along that this handshake has not checked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Whether clients would take the daemon's certificate as of now. A start does not ask: whoever comes by another door
/// should not wait for a new one.
pub fn check_still_good(cert: &Path) -> Result<(), Error> {
    let refused = |why: String| Error::Tls { key: "tls.cert", file: cert.into(), why };
    for der in CertificateDer::pem_file_iter(cert).map_err(|error| refused(words(&error)))? {
        let der = der.map_err(|error| refused(words(&error)))?;
        let certificate = Certificate::from_der(&der).map_err(|_| refused("is no X.509 certificate".to_owned()))?;
        let validity = certificate.tbs_certificate().validity();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if validity.not_after.to_unix_duration() < now {
            return Err(refused(format!("has expired: it was good until {}", validity.not_after)));
        }
        if validity.not_before.to_unix_duration() > now {
            return Err(refused(format!("is not good before {}", validity.not_before)));
        }
    }
    Ok(())
}

/// Never the parser's own words: some quote the file, and the file may be the key.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(cause) => format!("cannot be read: {cause}"),
        pem::Error::NoItemsFound => "holds nothing of the kind in PEM".into(),
        _ => "is not well-formed PEM".into(),
    }
}
