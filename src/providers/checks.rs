//! Local checks that a pattern cannot say, by the names that the registry calls them. They ask no network, and tell what
//! the upload says about itself.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::Invalid;

/// Values that have passed their fields' rules, by field.
pub type Values = BTreeMap<String, Zeroizing<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    AwsAccessKey,
    RsaPrivateKey,
}

impl Check {
    /// The fields that an entry must have to name this check.
    pub const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::AwsAccessKey => &["access_key_id", "session_token"],
            Self::RsaPrivateKey => &["private_key"],
        }
    }

    /// What the values tell about themselves, to be shown beside the public identity.
    pub fn run(self, values: &Values) -> Result<BTreeMap<String, String>, Invalid> {
        match self {
            Self::AwsAccessKey => aws_access_key(values),
            Self::RsaPrivateKey => rsa_private_key(values),
        }
    }
}

fn aws_access_key(values: &Values) -> Result<BTreeMap<String, String>, Invalid> {
    let id = values.get("access_key_id").map_or("", |id| id.as_str());
    match (id.starts_with("ASIA"), values.contains_key("session_token")) {
        (true, false) => {
            Err(Invalid::new("session_token", "is missing: keys that begin with ASIA are temporary and come with one"))
        }
        (false, true) => {
            Err(Invalid::new("session_token", "does not belong here: keys that begin with AKIA come without one"))
        }
        _ => Ok(aws_account_id(id).map(|account| ("account_id".to_owned(), account)).into_iter().collect()),
    }
}

/// The account is 40 bits inside the key id's base32, unless the key is older than 2019.
fn aws_account_id(access_key_id: &str) -> Option<String> {
    let body = access_key_id.get(4..)?;
    if body.starts_with(['I', 'J']) {
        return None;
    }
    let bytes = data_encoding::BASE32.decode(body.as_bytes()).ok()?;
    let first = bytes.get(..6)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some(format!("{:012}", (first & 0x7fff_ffff_ff80) >> 7))
}

/// A key that no library would sign with is refused now and not at the first use.
fn rsa_private_key(values: &Values) -> Result<BTreeMap<String, String>, Invalid> {
    let refuse = |why| Invalid::new("private_key", why);
    let pem = values.get("private_key").map_or("", |pem| pem.as_str());
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| refuse("is not readable as PEM; it may be cut off, upload the whole file"))?;
    let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|rejected| {
        refuse(match rejected.description_() {
            "TooSmall" => "is an RSA key of less than 2048 bits",
            "TooLarge" => "is an RSA key of more than 8192 bits",
            "WrongAlgorithm" => "is not an RSA key",
            _ => "is not readable as an RSA key; it may be cut off, upload the whole file",
        })
    })?;
    if !key.public_key().as_ref().ends_with(&DER_65537) {
        return Err(refuse("is an RSA key with an unusual public exponent; only 65537 is accepted"));
    }
    Ok(BTreeMap::new())
}

/// The last member of an `RSAPublicKey` (RFC 8017) is the exponent: INTEGER, three bytes, 65537.
const DER_65537: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_inside_the_key_id() {
        assert_eq!(aws_account_id("ASIAQNZGKIQY56JQ7WML").as_deref(), Some("029608264753"));
        assert_eq!(aws_account_id("ASIAY34FZKBOKMUTVV7A").as_deref(), Some("609629065308"));
        assert_eq!(aws_account_id("AKIAIOSFODNN7EXAMPLE"), None, "older than 2019");
        assert_eq!(aws_account_id("AKIAJOSFODNN7EXAMPLE"), None, "older than 2019");
        assert_eq!(aws_account_id("AKIA"), None);
    }
}
