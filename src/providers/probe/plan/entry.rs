//! A test as it is written. What each key means stands at the top of `config/providers.yml`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::providers::probe::Verdict;

pub type Texts = BTreeMap<String, Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub hosts: Vec<Spanned<String>>,
    #[serde(default)]
    pub names: Vec<Name>,
    pub steps: Vec<Spanned<Step>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    pub name: Spanned<String>,
    pub of: Spanned<String>,
    pub pattern: Option<Spanned<String>>,
    #[serde(default)]
    pub replace: BTreeMap<String, String>,
    pub choose: Option<BTreeMap<String, String>>,
    pub default: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    pub when: Texts,
    pub get: Option<Spanned<String>>,
    pub post: Option<Spanned<String>>,
    pub headers: Texts,
    pub form: Option<Texts>,
    pub json: Option<Spanned<Value>>,
    pub basic: Option<Basic>,
    pub assert: Option<Spanned<Assert>>,
    pub sign: Option<Spanned<Sign>>,
    pub answers: Vec<Answer>,
    pub keep: Texts,
    pub identity: Texts,
    pub expires: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    pub user: Spanned<String>,
    pub password: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assert {
    #[serde(rename = "as")]
    pub name: String,
    pub by: AssertBy,
    pub audience: Option<Spanned<String>>,
    pub scope: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertBy {
    GoogleServiceAccount,
    AzureCertificate,
    SnowflakeKeyPair,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    pub by: SignBy,
    pub service: Option<Spanned<String>>,
    pub region: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignBy {
    Aws,
    Oci,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(default)]
    pub status: Vec<Spanned<u16>>,
    #[serde(default)]
    pub at: Texts,
    #[serde(default)]
    pub lacks: Vec<Spanned<String>>,
    #[serde(default)]
    pub headers: Texts,
    pub outcome: Spanned<Verdict>,
    pub reason: Option<Spanned<String>>,
    pub hint: Option<Spanned<String>>,
    pub warn: Option<Spanned<String>>,
    pub go: Option<Go>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Go {
    On,
    End,
}

impl AssertBy {
    /// The fields that are read whether or not a template names them. `?` where one may be absent.
    pub const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::GoogleServiceAccount => &["client_email", "private_key_id", "private_key"],
            Self::AzureCertificate => &["client_id", "certificate", "private_key"],
            Self::SnowflakeKeyPair => &["account", "user", "private_key", "pass_phrase?"],
        }
    }
}

impl SignBy {
    pub const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::Aws => &["access_key_id", "secret_access_key", "session_token?"],
            Self::Oci => &["tenancy", "user", "fingerprint", "private_key", "pass_phrase?"],
        }
    }
}
