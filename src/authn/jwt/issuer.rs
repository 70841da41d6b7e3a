//! An `[[issuer]]` of callers.toml: whose signatures are believed, and what their claims are called here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use jiff::fmt::serde::unsigned_duration::friendly::compact::optional as duration;
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::jwks::{self, ALGORITHMS, KeySet};
use super::preset::{PRESETS, Preset, preset};
use crate::authn::callers::Values;
use crate::http::Hosts;

/// As the file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    name: String,
    preset: Option<String>,
    issuer: Option<String>,
    audience: Values,
    algorithms: Option<Vec<String>>,
    jwks: Option<String>,
    jwks_hosts: Option<Vec<String>>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    #[serde(default, with = "duration")]
    leeway: Option<Duration>,
    #[serde(default, with = "duration")]
    max_age: Option<Duration>,
    #[serde(default, with = "duration")]
    refresh: Option<Duration>,
    #[serde(default, with = "duration")]
    keep: Option<Duration>,
    #[serde(default)]
    step_up: StepUpRule,
}

/// As it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub name: String,
    /// What `iss` must be, to the letter.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub source: Source,
    /// Where each attribute comes from.
    pub claims: BTreeMap<String, Place>,
    /// An attribute that counts only while this claim is true.
    pub vouched: Option<(&'static str, &'static str)>,
    pub tenancy: &'static [&'static str],
    pub common: &'static str,
    /// How much clocks may differ.
    pub leeway: Duration,
    /// The longest life that a token may have been given.
    pub max_age: Duration,
    pub step_up: StepUpRule,
}

/// The values of `amr` and `acr` that tell of a second factor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepUpRule {
    pub amr: Vec<String>,
    pub acr: Vec<String>,
}

/// A claim: a member of the whole, or deeper by a JSON pointer (RFC 6901), which is told by its `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Member(String),
    Pointer(String),
}

/// Where an issuer's keys come from, and for how long they are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub jwks: Jwks,
    /// Law 7: nobody else is asked.
    pub hosts: Hosts,
    pub refresh: Duration,
    /// Without a good answer.
    pub keep: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    /// The issuer's configuration tells, and must bear its name.
    Discover {
        configuration: Uri,
        issuer: String,
    },
    At(Uri),
    File(PathBuf),
}

const LONGEST_LEEWAY: Duration = Duration::from_secs(2 * 60);
const LONGEST_AGE: Duration = Duration::from_secs(25 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Names that callers of other kinds begin with.
const TAKEN: [&str; 8] = ["anonymous", "grant", "jwt", "mtls", "none", "system", "token", "unix"];
const LONGEST_NAME: usize = 63;
const LONGEST_TEXT: usize = 512;

/// What every token says, by its own name.
pub const SUBJECT: &str = "sub";
/// No file of keys is longer.
pub const LONGEST_JWKS: usize = 256 * 1024;

impl Issuer {
    pub fn new(written: Written) -> Result<Self, String> {
        let Written { name, audience, claims, step_up, .. } = &written;
        if !is_name(name) || name.len() > LONGEST_NAME || TAKEN.contains(&name.as_str()) {
            return Err(format!(
                "name: must be lower-case letters, digits, `-` and `_`, and none of {}",
                TAKEN.join(", ")
            ));
        }
        let known = written.preset.as_deref().map(known_preset).transpose()?;
        let issuer = written.issuer.clone().or_else(|| known?.issuer.map(str::to_owned));
        let issuer = issuer.ok_or("issuer: is missing: what `iss` is in this issuer's tokens")?;
        check_text("issuer", &issuer)?;
        if known.is_some_and(|known| known.name == "azure") {
            check_azure(&issuer)?;
        }
        let audience = audience.all().map(str::to_owned).collect::<Vec<_>>();
        if audience.is_empty() {
            return Err("audience: must name at least one".to_owned());
        }
        audience.iter().try_for_each(|one| check_text("audience", one))?;
        let source = source(&written, known, &issuer)?;
        let default = known.map_or(HOUR, |known| known.max_age);
        let max_age = within("max_age", written.max_age.unwrap_or(default), Duration::from_secs(1), LONGEST_AGE)?;
        let leeway = written.leeway.unwrap_or(Duration::from_secs(30));
        let leeway = within("leeway", leeway, Duration::ZERO, LONGEST_LEEWAY)?;
        step_up.amr.iter().chain(&step_up.acr).try_for_each(|one| check_text("step_up", one))?;
        Ok(Self {
            name: name.clone(),
            issuer,
            audience,
            algorithms: algorithms(written.algorithms.as_deref())?,
            source,
            claims: places(known, claims)?,
            vouched: known.and_then(|known| known.vouched).filter(|(attribute, _)| !claims.contains_key(*attribute)),
            tenancy: known.map_or(&[], |known| known.tenancy),
            common: known.map_or("", |known| known.common),
            leeway,
            max_age,
            step_up: step_up.clone(),
        })
    }

    /// What a `when` may ask of this issuer's callers.
    pub fn attributes(&self) -> BTreeSet<&str> {
        self.claims.keys().map(String::as_str).chain([SUBJECT]).collect()
    }

    /// Two that no token could be told apart by.
    pub fn collides(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.audience.iter().any(|one| other.audience.contains(one))
    }

    /// Keys in a file are read at once, so that a wrong one is told like a wrong line here.
    pub fn check_file(&self) -> Result<(), String> {
        match &self.source.jwks {
            Jwks::File(file) => read(file)
                .and_then(|bytes| KeySet::parse(&bytes))
                .map(|_| ())
                .map_err(|why| format!("issuer {}: jwks: {}: {why}", self.name, file.display())),
            Jwks::Discover { .. } | Jwks::At(_) => Ok(()),
        }
    }
}

/// The whole file, unless it is too long.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let unread = |cause: std::io::Error| format!("cannot be read: {cause}");
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(unread)?;
    opened.take(LONGEST_JWKS as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > LONGEST_JWKS { Err(format!("is longer than {LONGEST_JWKS} bytes")) } else { Ok(bytes) }
}

fn known_preset(name: &str) -> Result<&'static Preset, String> {
    let names = || PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    preset(name).ok_or_else(|| format!("preset: must be one of {}", names()))
}

/// Of all tenants together there is no one issuer.
fn check_azure(issuer: &str) -> Result<(), String> {
    let is_tenant = |part: &str| part.len() == 36 && uuid::Uuid::try_parse(part).is_ok();
    if issuer.split('/').any(is_tenant) {
        return Ok(());
    }
    Err("issuer: must hold the tenant's id: https://login.microsoftonline.com/TENANT/v2.0, or https://sts.windows.net/TENANT/"
        .to_owned())
}

fn source(written: &Written, known: Option<&Preset>, issuer: &str) -> Result<Source, String> {
    let mut hosts = Vec::new();
    let jwks = match written.jwks.as_deref() {
        Some(jwks) if written.jwks_hosts.is_some() => {
            return Err(format!(
                "jwks_hosts: are for keys that the issuer's configuration names, and `jwks` is {jwks}"
            ));
        }
        Some(jwks) => match jwks.strip_prefix("file:") {
            Some("") => return Err("jwks: must be file:PATH".to_owned()),
            Some(file) => Jwks::File(file.into()),
            None => {
                let (url, host) = https("jwks", jwks)?;
                hosts.push(host);
                Jwks::At(url)
            }
        },
        None => {
            if issuer.contains('?') {
                return Err("issuer: must have no query, or `jwks` must say where the keys are".to_owned());
            }
            let configuration = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            let (configuration, host) = https("issuer", &configuration)?;
            hosts.push(host);
            match &written.jwks_hosts {
                Some(written) => hosts.extend(written.iter().cloned()),
                None => hosts.extend(known.map_or(&[][..], |known| known.jwks_hosts).iter().map(ToString::to_string)),
            }
            Jwks::Discover { configuration, issuer: issuer.to_owned() }
        }
    };
    let hosts = Hosts::new(hosts).map_err(|why| format!("jwks_hosts: {why}"))?;
    let refresh = written.refresh.unwrap_or(Duration::from_secs(5 * 60));
    let refresh = within("refresh", refresh, Duration::from_secs(1), DAY)?;
    let keep = within("keep", written.keep.unwrap_or(HOUR.max(refresh)), refresh, DAY)?;
    Ok(Source { name: written.name.clone(), jwks, hosts, refresh, keep })
}

/// The URL and its host, which the client lets through because it stands here.
fn https(key: &str, text: &str) -> Result<(Uri, String), String> {
    let why = || format!("{key}: must be https://HOST/PATH, with a host's lower-case name and without a port");
    let url: Uri = text.parse().map_err(|_| why())?;
    let host = url.authority().map(|authority| authority.as_str().to_owned()).ok_or_else(why)?;
    let is_https = url.scheme_str() == Some("https") && !text.contains('#');
    if !is_https || host.starts_with('*') || Hosts::new(vec![host.clone()]).is_err() {
        return Err(why());
    }
    Ok((url, host))
}

fn algorithms(names: Option<&[String]>) -> Result<Vec<Algorithm>, String> {
    let Some(names) = names else { return Ok(vec![Algorithm::RS256, Algorithm::ES256]) };
    let known = || ALGORITHMS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let one = |name: &String| {
        let found = jwks::algorithm(name).map(|(algorithm, _)| algorithm);
        found.ok_or_else(|| format!("algorithms: `{name}` is none of {}", known()))
    };
    if names.is_empty() {
        return Err("algorithms: must name at least one".to_owned());
    }
    names.iter().map(one).collect()
}

fn places(known: Option<&Preset>, claims: &BTreeMap<String, String>) -> Result<BTreeMap<String, Place>, String> {
    let mut places = BTreeMap::new();
    for (attribute, claim) in known.map_or(&[][..], |known| known.claims) {
        places.insert((*attribute).to_owned(), Place::new(claim));
    }
    for (attribute, claim) in claims {
        let is_attribute = is_name(attribute) && !attribute.contains('-') && attribute.len() <= LONGEST_NAME;
        if !is_attribute || attribute == SUBJECT {
            return Err(format!(
                "claims: `{attribute}` must be lower-case letters, digits and `_`, beginning with a letter, and not `sub`"
            ));
        }
        check_text("claims", claim)?;
        places.insert(attribute.clone(), Place::new(claim));
    }
    Ok(places)
}

impl Place {
    fn new(text: &str) -> Self {
        if text.starts_with('/') { Self::Pointer(text.to_owned()) } else { Self::Member(text.to_owned()) }
    }
}

fn within(key: &str, value: Duration, least: Duration, most: Duration) -> Result<Duration, String> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(format!("{key}: must be from {} s to {} s", least.as_secs(), most.as_secs()))
}

fn check_text(key: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err(format!("{key}: must be 1 to {LONGEST_TEXT} characters, none of them a control character"));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(fits)
}
