//! Whom the way out trusts: the system's authorities and the configured ones, for TLS 1.2 and 1.3.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// The system's are where OpenSSL would look for them.
pub(super) fn connector(authorities: Option<&str>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for cause in &system.errors {
        tracing::warn!(%cause, "some of the system's authorities cannot be read");
    }
    // A system may carry one that cannot be read as an authority; the others serve.
    roots.add_parsable_certificates(system.certs);
    for authority in configured(authorities)? {
        roots.add(authority).map_err(|cause| format!("holds a certificate that is no authority's: {cause}"))?;
    }
    if roots.is_empty() {
        // Not the end: without connection tests nothing goes out, and whoever has them sees each fail for this.
        tracing::warn!(
            "no authority is trusted, so no provider can be asked: install the system's CA certificates, or set \
             outbound.authorities"
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| cause.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn configured(pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Err(cause) => Err(format!("is not PEM: {cause}")),
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".into()),
        Ok(found) => Ok(found),
    }
}
