//! Authorities that clients come from, what they certify, and what they revoke.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A client's certificate and key.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub pem: String,
    pub key_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn certify(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A list that holds for a day and revokes these serials.
    pub fn list(&self, serials: &[u64]) -> String {
        self.list_until(serials, SystemTime::now() + DAY)
    }

    pub fn list_until(&self, serials: &[u64], end: SystemTime) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: (SystemTime::now() - DAY).into(),
            next_update: end.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a client's certificate says, good for a day.
pub fn client(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "acme-service");
    params.subject_alt_names = names.to_vec();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY).into();
    params
}

/// The daemon's own certificate, as `server.pem` and `server.key`; and what its clients trust then.
pub fn server(home: &Path) -> Arc<RootCertStore> {
    let server = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(home.join("server.pem"), server.cert.pem()).unwrap();
    std::fs::write(home.join("server.key"), server.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    Arc::new(roots)
}

/// How a client speaks TLS, as somebody or as nobody.
pub fn tls(roots: &Arc<RootCertStore>, identity: Option<Identity>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(Arc::clone(roots));
    match identity {
        Some(Identity { chain, key, .. }) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    }
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub fn email(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().unwrap())
}
