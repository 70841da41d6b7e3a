//! An authority that nobody trusts unless told, and certificates of it for any name.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

#[derive(Clone)]
pub struct Authority(Arc<CertifiedIssuer<'static, KeyPair>>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// TLS for whatever name the client asks for.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        self.server_with(|name| CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// TLS with certificates of another make.
    pub fn server_with(
        &self,
        make: impl Fn(&str) -> CertificateParams + Send + Sync + 'static,
    ) -> Arc<rustls::ServerConfig> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AnyName { authority: self.clone(), make: Box::new(make) }));
        // Whoever would speak HTTP/2 with it is refused.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn certify(&self, params: &CertificateParams) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let signer = any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], signer)
    }
}

struct AnyName {
    authority: Authority,
    make: Box<dyn Fn(&str) -> CertificateParams + Send + Sync>,
}

impl ResolvesServerCert for AnyName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::new(self.authority.certify(&(self.make)(hello.server_name()?))))
    }
}

impl fmt::Debug for AnyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyName")
    }
}
