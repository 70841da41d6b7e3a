//! Local checks that a pattern cannot say, by the names that the registry calls them. They ask no network, and tell what
//! the upload says about itself.

mod keys;
mod tokens;

use std::collections::BTreeMap;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::Invalid;

/// Values that have passed their fields' rules, by field.
pub type Values = BTreeMap<String, Zeroizing<String>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    AwsAccessKey,
    AzureCertificate,
    GithubToken,
    OciApiKey,
    RsaPrivateKey,
    SnowflakeKey,
    StripeKey,
}

/// The field that unlocks a private key.
pub const PASSPHRASE: &str = "pass_phrase";

/// What an upload tells about itself. Nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// To be shown beside the public identity.
    pub identity: BTreeMap<String, String>,
    pub expires_at: Option<Timestamp>,
    /// What its owner should know, in a sentence each.
    pub warnings: Vec<String>,
}

impl Check {
    /// The fields that an entry must have to name this check.
    pub const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::AwsAccessKey => &["access_key_id", "session_token"],
            Self::AzureCertificate => &["certificate", "private_key"],
            Self::GithubToken => &["token"],
            Self::OciApiKey => &["fingerprint", "private_key", "pass_phrase"],
            Self::RsaPrivateKey => &["private_key"],
            Self::SnowflakeKey => &["private_key", "pass_phrase"],
            Self::StripeKey => &["api_key"],
        }
    }

    /// A field that is not there is the business of `required` and `either`: what needs it is left out.
    pub fn run(self, values: &Values, now: Timestamp) -> Result<Told, Invalid> {
        match self {
            Self::AwsAccessKey => tokens::aws_access_key(values),
            Self::AzureCertificate => keys::azure_certificate(values, now),
            Self::GithubToken => tokens::github_token(values),
            Self::OciApiKey => keys::oci_api_key(values),
            Self::RsaPrivateKey => keys::private_key(values).map(|_| Told::default()),
            Self::SnowflakeKey => keys::snowflake_key(values),
            Self::StripeKey => Ok(tokens::stripe_key(values)),
        }
    }
}

impl Told {
    fn identity(name: &str, shown: impl Into<String>) -> Self {
        Self { identity: BTreeMap::from([(name.to_owned(), shown.into())]), ..Self::default() }
    }
}

fn value<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
    values.get(name).map(|value| value.as_str())
}

#[cfg(test)]
fn values<const N: usize>(given: [(&str, &str); N]) -> Values {
    given.into_iter().map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned()))).collect()
}
