//! Client certificates: whose one is, by the names that its authority put into it.
//!
//! The names are those of the subject alternative name: a SPIFFE id, or DNS names, or an e-mail address. The common name
//! is never looked at. A connection may outlive its certificate, so each request asks anew whether it still proves
//! something; only where nothing can have changed since the last time is the last answer taken.

use std::sync::Arc;

use rustls_pki_types::UnixTime;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::authorities::Authorities;
use super::callers::{Attributes, Binding, Callers, Unknown};
use super::presented::Certificate;
use crate::vault::{Principal, Proof};

/// As callers.toml calls this proof.
pub const FROM: &str = "mtls";
pub const ATTRIBUTES: &[&str] = &[SPIFFE, DNS, EMAIL];
const SPIFFE: &str = "spiffe";
const DNS: &str = "dns";
const EMAIL: &str = "email";

/// The longest SPIFFE id and the longest trust domain that its standard allows.
const LONGEST_ID: usize = 2048;
const LONGEST_DOMAIN: usize = 255;
const LONGEST_DNS: usize = 253;

/// What was found out about a certificate: it holds under these authorities and callers, and in these seconds.
pub struct Weighed {
    authorities: Arc<Authorities>,
    callers: Arc<Callers>,
    from: u64,
    until: u64,
    pub found: Result<Bearer, String>,
}

/// Whose certificate it is.
pub struct Bearer {
    /// A SPIFFE id, or `dns:NAME`, or `email:ADDRESS`.
    pub identity: Arc<str>,
    /// Who that is here; or why that is nobody.
    pub principal: Result<Arc<Principal>, String>,
}

impl Weighed {
    /// What holds of a certificate now.
    pub fn of(certificate: &Certificate, authorities: &Arc<Authorities>, callers: &Arc<Callers>) -> Arc<Self> {
        let now = UnixTime::now();
        let last = certificate.weighed.load_full();
        if let Some(last) = last.filter(|last| last.holds(authorities, callers, now.as_secs())) {
            return last;
        }
        let new = Arc::new(Self::weigh(certificate, authorities, callers, now));
        certificate.weighed.store(Some(Arc::clone(&new)));
        new
    }

    /// Who comes with it; or why that is nobody.
    pub fn principal(&self) -> Result<Arc<Principal>, &str> {
        let bearer = self.found.as_ref().map_err(String::as_str)?;
        bearer.principal.as_ref().map(Arc::clone).map_err(String::as_str)
    }

    fn holds(&self, authorities: &Arc<Authorities>, callers: &Arc<Callers>, now: u64) -> bool {
        Arc::ptr_eq(&self.authorities, authorities)
            && Arc::ptr_eq(&self.callers, callers)
            && (self.from..=self.until).contains(&now)
    }

    fn weigh(certificate: &Certificate, authorities: &Arc<Authorities>, callers: &Arc<Callers>, now: UnixTime) -> Self {
        let verified = authorities.verify(&certificate.chain, now);
        // A clock can be set right: a refusal is not remembered beyond the second.
        let until = verified.as_ref().map_or(now.as_secs(), |until| *until);
        let found = verified.and_then(|_| {
            let own = certificate.chain.first().ok_or("there is no certificate")?;
            bearer(names(own)?, callers)
        });
        let (authorities, callers) = (Arc::clone(authorities), Arc::clone(callers));
        Self { authorities, callers, from: now.as_secs(), until, found }
    }
}

/// The names of one certificate. Only one DNS name at a time is shown to a caller's conditions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    spiffe: Option<String>,
    dns: Vec<String>,
    email: Option<String>,
}

impl Names {
    /// What the certificate says about its bearer, and in which words: once for each DNS name.
    fn sayings(&self) -> Vec<(String, Attributes)> {
        let fixed = [(SPIFFE, self.spiffe.as_ref()), (EMAIL, self.email.as_ref())];
        let with = |dns: Option<&String>| {
            let all = fixed.into_iter().chain([(DNS, dns)]);
            let attributes: Attributes =
                all.filter_map(|(key, value)| Some((key.to_owned(), value?.clone()))).collect();
            let identity = match (&self.spiffe, dns, &self.email) {
                (Some(id), ..) => id.clone(),
                (None, Some(name), _) => format!("{DNS}:{name}"),
                (None, None, Some(address)) => format!("{EMAIL}:{address}"),
                (None, None, None) => String::new(),
            };
            (identity, attributes)
        };
        match self.dns.as_slice() {
            [] => vec![with(None)],
            names => names.iter().map(|name| with(Some(name))).collect(),
        }
    }
}

fn bearer(names: Names, callers: &Callers) -> Result<Bearer, String> {
    let sayings = names.sayings();
    let (first, _) = sayings.first().filter(|(identity, _)| !identity.is_empty()).ok_or(
        "the certificate has no SPIFFE id, DNS name or e-mail address among its subject alternative names; its common \
         name counts for nothing",
    )?;
    let first = first.as_str();
    let mut found: Vec<(&Binding, &str, &Attributes)> = Vec::new();
    for (identity, attributes) in &sayings {
        match callers.find(FROM, attributes) {
            Ok(caller) if found.iter().all(|(other, ..)| !std::ptr::eq(*other, caller)) => {
                found.push((caller, identity, attributes));
            }
            Ok(_) | Err(Unknown::None) => {}
            Err(unknown @ Unknown::Ambiguous(_)) => {
                return Ok(Bearer { identity: identity.as_str().into(), principal: Err(unknown.of(identity)) });
            }
        }
    }
    let (identity, principal) = match found.as_slice() {
        [(caller, identity, attributes)] => {
            let principal = caller.principal(format!("{FROM}:{identity}"), Proof::Mtls, (*attributes).clone());
            (*identity, Ok(Arc::new(principal)))
        }
        [] => (first, Err(Unknown::None.of(first))),
        several => {
            let names = several.iter().map(|(caller, ..)| caller.name.clone()).collect();
            (first, Err(Unknown::Ambiguous(names).of(first)))
        }
    };
    Ok(Bearer { identity: identity.into(), principal })
}

/// Whether an attribute can ever have this value.
pub fn check(attribute: &str, value: &str) -> Result<(), &'static str> {
    match attribute {
        SPIFFE if !is_spiffe_id(value) => Err("is no SPIFFE id: spiffe://TRUST-DOMAIN/PATH"),
        DNS if !dns(value).is_ok_and(|name| name == value) => Err("is no host's name in lower case"),
        EMAIL if !value.contains('@') => Err("is no e-mail address"),
        _ => Ok(()),
    }
}

fn names(der: &[u8]) -> Result<Names, String> {
    let certificate = x509_cert::Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
    let alternatives = certificate.tbs_certificate().get_extension::<SubjectAltName>();
    let alternatives = alternatives.map_err(|_| "the certificate's subject alternative names cannot be read")?;
    let Some((_, SubjectAltName(alternatives))) = alternatives else { return Ok(Names::default()) };
    let mut names = Names::default();
    let (mut uris, mut emails) = (Vec::new(), Vec::new());
    for name in &alternatives {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.as_str()),
            GeneralName::Rfc822Name(address) => emails.push(address.as_str()),
            GeneralName::DnsName(name) => names.dns.push(dns(name.as_str())?),
            _ => {}
        }
    }
    names.spiffe = spiffe(&uris)?;
    names.email = match emails.as_slice() {
        [] => None,
        [one] => Some((*one).to_owned()),
        _ => return Err("the certificate has more than one e-mail address".to_owned()),
    };
    Ok(names)
}

/// A certificate that bears a SPIFFE id bears no other URI. Other URIs say nothing to us.
fn spiffe(uris: &[&str]) -> Result<Option<String>, String> {
    let scheme = |uri: &str| uri.split(':').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE));
    match uris {
        [id] if scheme(id) => match is_spiffe_id(id) {
            true => Ok(Some((*id).to_owned())),
            false => {
                Err("the certificate's SPIFFE id is none: spiffe://TRUST-DOMAIN/PATH, with nothing to decode in it"
                    .to_owned())
            }
        },
        several if several.iter().any(|uri| scheme(uri)) => {
            Err("the certificate has a SPIFFE id and another URI; it must have the one alone".to_owned())
        }
        _ => Ok(None),
    }
}

/// As the standard writes it, and no looser: what two readers could understand in two ways is no id.
fn is_spiffe_id(id: &str) -> bool {
    let Some((domain, path)) = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else { return false };
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_segment = |segment: &str| !["", ".", ".."].contains(&segment) && segment.bytes().all(in_path);
    id.len() <= LONGEST_ID
        && (1..=LONGEST_DOMAIN).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.split('/').all(is_segment)
}

/// A host's name in lower case, as names are compared. A wildcard is nobody's name.
fn dns(name: &str) -> Result<String, String> {
    let in_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(in_label);
    match name.len() <= LONGEST_DNS && name.split('.').all(is_label) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err("the certificate has a DNS name that is no host's, such as one with a wildcard".to_owned()),
    }
}
