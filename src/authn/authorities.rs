//! Whose certificates clients may come with: authorities, and what those have revoked.
//!
//! Each authority may vouch for any name. Trust that was found once ends by itself when a certificate of the chain or a
//! revocation list does, and with the set of authorities that it was found in: see [`super::mtls`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::callers::LoadError;

/// As of one reading of the files.
#[derive(Debug)]
pub struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    /// When each revocation list has to be replaced by a newer one, in seconds of Unix time.
    renewals: Vec<u64>,
    /// Of all that was read, in hexadecimal.
    pub digest: String,
}

impl Authorities {
    /// Reads a PEM bundle of authorities, and the PEM file of their revocation lists. With lists, each certificate below
    /// an authority must be on record as not revoked: an authority without a list that is current vouches for nobody.
    pub fn read(bundle: &Path, lists: Option<&Path>) -> Result<Self, LoadError> {
        let (mut roots, mut digest) = (RootCertStore::empty(), Sha256::new());
        each(bundle, "CERTIFICATE", |der: CertificateDer<'static>| {
            check_authority(&der)?;
            digest.update(&der);
            roots.add(der).map_err(|error| error.to_string())
        })?;
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let (mut crls, mut renewals) = (Vec::new(), Vec::new());
        if let Some(lists) = lists {
            each(lists, "X509 CRL", |der: CertificateRevocationListDer<'static>| {
                let list: CertificateList = CertificateList::from_der(&der).map_err(|_| "is no revocation list")?;
                renewals.extend(list.tbs_cert_list.next_update.map(|time| time.to_unix_duration().as_secs()));
                digest.update(&der);
                // One by one, so that the one that cannot be used is named.
                builder().with_crls([der.clone()]).build().map_err(|error| error.to_string())?;
                crls.push(der);
                Ok(())
            })?;
        }
        let builder = builder().with_crls(crls).enforce_revocation_expiration().allow_unauthenticated();
        let verifier = builder.build().map_err(|error| wrong(bundle, None, error.to_string()))?;
        Ok(Self { verifier, renewals, digest: HEXLOWER.encode(&digest.finalize()) })
    }

    /// For handshakes.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Checks a chain as of now. Answers the last second in which the answer cannot be another.
    pub(super) fn verify(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<u64, String> {
        let (own, above) = chain.split_first().ok_or("there is no certificate")?;
        self.verifier.verify_client_cert(own, above, now).map_err(|error| error.to_string())?;
        let mut end = u64::MAX;
        for der in chain {
            let certificate = Certificate::from_der(der).map_err(|_| "a certificate cannot be read")?;
            let not_after = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
            // What has ended already is not what the trust rests on.
            end = if not_after >= now.as_secs() { end.min(not_after) } else { end };
        }
        let renewals = self.renewals.iter().filter(|renewal| **renewal > now.as_secs());
        Ok(renewals.fold(end, |end, renewal| end.min(renewal - 1)))
    }
}

fn check_authority(der: &[u8]) -> Result<(), String> {
    let certificate = Certificate::from_der(der).map_err(|_| "is no X.509 certificate")?;
    let known = certificate.tbs_certificate();
    let constraints = known.get_extension::<BasicConstraints>().map_err(|_| "has basic constraints that are none")?;
    if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err("is no authority's certificate: its basic constraints do not say CA".to_owned());
    }
    let usage = known.get_extension::<KeyUsage>().map_err(|_| "has a key usage that is none")?;
    if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
        return Err("is no authority's certificate: its key usage does not allow to sign certificates".to_owned());
    }
    Ok(())
}

/// Takes everything of one kind in a PEM file. What is refused is named by the line that it begins at.
fn each<T: PemObject>(
    file: &Path,
    label: &str,
    mut take: impl FnMut(T) -> Result<(), String>,
) -> Result<(), LoadError> {
    let text = fs::read(file).map_err(|cause| wrong(file, None, format!("cannot be read: {cause}")))?;
    let begin = format!("-----BEGIN {label}-----");
    let lines = || text.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| line.starts_with(begin.as_bytes()));
    let mut count = 0;
    for item in T::pem_slice_iter(&text) {
        let line = lines().nth(count).map(|(_, line)| line);
        let taken = item.map_err(|_| "is not well-formed PEM".to_owned()).and_then(&mut take);
        taken.map_err(|why| wrong(file, line, why))?;
        count += 1;
    }
    if count == 0 {
        return Err(wrong(file, None, format!("holds no `{begin}`")));
    }
    Ok(())
}

fn wrong(file: &Path, line: Option<usize>, why: impl Into<String>) -> LoadError {
    LoadError { file: file.display().to_string(), line, why: why.into() }
}
