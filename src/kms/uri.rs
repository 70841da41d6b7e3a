//! What a key is called. A row names its key by this text for as long as it lives, so every text here is the only one for
//! its key: no default ports, no upper case in hosts, nothing after the parts.
//!
//! ```text
//!   local://NAME
//!   gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K
//!   aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID            an alias moves between keys, and is none
//!   azure-kv://VAULT/KEY                                         VAULT.vault.azure.net, or a HOST with dots in it
//!   transit://HOST[:PORT]/MOUNT/KEY                              OpenBao and Vault; a mount may have more than one part
//!   org+URI                                                      a key for each org, under any but a local one
//! ```

use std::fmt;
use std::str::FromStr;

use super::{per_org, recovery};

/// A key's URI, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyUri {
    Local { name: String },
    Gcp { project: String, location: String, ring: String, key: String },
    Aws { partition: String, region: String, account: String, id: String },
    Azure { vault: String, key: String },
    Transit { host: String, port: Option<u16>, mount: String, key: String },
    PerOrg(Box<Self>),
}

/// Why a text is no key's URI: which part, and what belongs there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{uri}`: {why}")]
pub struct WrongUri {
    pub uri: String,
    pub why: String,
}

const SCHEMES: &str = "local, gcp-kms, aws-kms, azure-kv or transit";
const LONGEST: usize = 512;

impl FromStr for KeyUri {
    type Err = WrongUri;

    fn from_str(uri: &str) -> Result<Self, WrongUri> {
        parse(uri).map_err(|why| WrongUri { uri: uri.chars().take(LONGEST).collect(), why })
    }
}

/// Whether only who may use the key has made what it opens. What is wrapped by a public half, anybody has.
pub fn proves_origin(uri: &str) -> bool {
    let asked = asked(uri);
    !recovery::is_recovery(asked) && !matches!(asked.parse(), Ok(KeyUri::Azure { .. }))
}

/// The key that a service is asked for, also where it only wraps the orgs' keys.
pub fn asked(uri: &str) -> &str {
    uri.strip_prefix(per_org::PREFIX).unwrap_or(uri)
}

fn parse(uri: &str) -> Result<KeyUri, String> {
    if uri.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    if let Some(inner) = uri.strip_prefix(per_org::PREFIX) {
        return match parse(inner)? {
            KeyUri::Local { .. } => Err("a local key costs nothing to ask: leave out org+".to_owned()),
            KeyUri::PerOrg(_) => Err("org+ is there twice".to_owned()),
            inner => Ok(KeyUri::PerOrg(Box::new(inner))),
        };
    }
    let (scheme, rest) = uri.split_once("://").ok_or(format!("not SCHEME://…, with {SCHEMES}"))?;
    match scheme {
        "local" => Ok(KeyUri::Local { name: part("the name", rest, is_local)? }),
        "gcp-kms" => gcp(rest),
        "aws-kms" => aws(rest),
        "azure-kv" => azure(rest),
        "transit" => transit(rest),
        _ => Err(format!("the scheme is not {SCHEMES}")),
    }
}

fn gcp(rest: &str) -> Result<KeyUri, String> {
    let parts: Vec<&str> = rest.split('/').collect();
    let ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key] = parts[..] else {
        let hint = if rest.contains("/cryptoKeyVersions/") { ", and no version: rotation needs them all" } else { "" };
        return Err(format!("not gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K{hint}"));
    };
    Ok(KeyUri::Gcp {
        // A project of a domain reads `example.com:name`.
        project: part("the project", project, |c| is_plain(c) || matches!(c, '.' | ':'))?,
        location: part("the location", location, is_plain)?,
        ring: part("the key ring", ring, is_plain)?,
        key: part("the key", key, is_plain)?,
    })
}

fn aws(rest: &str) -> Result<KeyUri, String> {
    let parts: Vec<&str> = rest.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts[..] else {
        return Err("not aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID".to_owned());
    };
    if service != "kms" {
        return Err(format!("the ARN's service is `{service}`, not `kms`"));
    }
    let Some(id) = resource.strip_prefix("key/") else {
        let hint = if resource.starts_with("alias/") { "; an alias may point elsewhere tomorrow" } else { "" };
        return Err(format!("the ARN's resource is not key/ID{hint}"));
    };
    if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
        return Err("the ARN's account is not 12 digits".to_owned());
    }
    Ok(KeyUri::Aws {
        partition: part("the ARN's partition", partition, is_host)?,
        region: part("the ARN's region", region, is_host)?,
        account: account.to_owned(),
        id: part("the key's id", id, is_plain)?,
    })
}

fn azure(rest: &str) -> Result<KeyUri, String> {
    let parts: Vec<&str> = rest.split('/').collect();
    let [vault, key] = parts[..] else {
        let hint = if parts.len() == 3 { ", and no version: rotation needs them all" } else { "" };
        return Err(format!("not azure-kv://VAULT/KEY{hint}"));
    };
    Ok(KeyUri::Azure {
        vault: part("the vault", vault, |c| is_host(c) || c == '.')?,
        key: part("the key", key, |c| c.is_ascii_alphanumeric() || c == '-')?,
    })
}

fn transit(rest: &str) -> Result<KeyUri, String> {
    let wrong = || "not transit://HOST[:PORT]/MOUNT/KEY".to_owned();
    let (authority, path) = rest.split_once('/').ok_or_else(wrong)?;
    let (mount, key) = path.rsplit_once('/').ok_or_else(wrong)?;
    let (host, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((_, "443")) => return Err("the port 443 is left out".to_owned()),
        Some((host, port)) => (host, Some(port)),
    };
    let number = |port: &str| port.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == port);
    let port = port.map(|port| number(port).ok_or("the port is not a number from 1 to 65535")).transpose()?;
    for piece in mount.split('/') {
        part("the mount", piece, is_plain)?;
    }
    Ok(KeyUri::Transit {
        host: part("the host", host, |c| is_host(c) || c == '.')?,
        port,
        mount: mount.to_owned(),
        key: part("the key", key, |c| is_plain(c) || c == '.').and_then(no_dots)?,
    })
}

fn part(what: &str, text: &str, allowed: impl Fn(char) -> bool) -> Result<String, String> {
    match text.chars().find(|c| !allowed(*c)) {
        _ if text.is_empty() => Err(format!("{what} is empty")),
        Some(c) => Err(format!("{what} has a {c:?}")),
        None => Ok(text.to_owned()),
    }
}

fn no_dots(text: String) -> Result<String, String> {
    if text.chars().all(|c| c == '.') { Err(format!("the key is {text:?}")) } else { Ok(text) }
}

const fn is_local(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

const fn is_host(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { name } => write!(f, "local://{name}"),
            Self::Gcp { project, location, ring, key } => {
                write!(f, "gcp-kms://projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}")
            }
            Self::Aws { partition, region, account, id } => {
                write!(f, "aws-kms://arn:{partition}:kms:{region}:{account}:key/{id}")
            }
            Self::Azure { vault, key } => write!(f, "azure-kv://{vault}/{key}"),
            Self::Transit { host, port: Some(port), mount, key } => write!(f, "transit://{host}:{port}/{mount}/{key}"),
            Self::Transit { host, port: None, mount, key } => write!(f, "transit://{host}/{mount}/{key}"),
            Self::PerOrg(inner) => write!(f, "{}{inner}", per_org::PREFIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_reads_as_it_is_written() {
        for uri in [
            "local://default",
            "gcp-kms://projects/example.com:p-1/locations/global/keyRings/R_1/cryptoKeys/k",
            "aws-kms://arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd",
            "azure-kv://contoso/strongroom",
            "azure-kv://contoso.vault.azure.cn/strongroom",
            "transit://bao.example.com:8200/team/transit/strongroom",
            "transit://bao.example.com/transit/a.b",
            "org+azure-kv://contoso/strongroom",
        ] {
            assert_eq!(uri.parse::<KeyUri>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (uri, why) in [
            ("default", "not SCHEME://…, with local, gcp-kms, aws-kms, azure-kv or transit"),
            ("gcp://p", "the scheme is not local, gcp-kms, aws-kms, azure-kv or transit"),
            ("local://", "the name is empty"),
            ("org+local://default", "a local key costs nothing to ask: leave out org+"),
            ("org+org+azure-kv://contoso/k", "org+ is there twice"),
            ("org+azure-kv://contoso", "not azure-kv://VAULT/KEY"),
            ("local://../etc", "the name has a '.'"),
            (
                "gcp-kms://projects/p/locations/l/keyRings/r",
                "not gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K",
            ),
            ("gcp-kms://projects/p/locations/l/keyRings/r r/cryptoKeys/k", "the key ring has a ' '"),
            (
                "gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
                "not gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K, and no version: rotation needs them all",
            ),
            ("aws-kms://alias/x", "not aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID"),
            ("aws-kms://arn:aws:s3:eu-west-1:123456789012:key/x", "the ARN's service is `s3`, not `kms`"),
            (
                "aws-kms://arn:aws:kms:eu-west-1:123456789012:alias/x",
                "the ARN's resource is not key/ID; an alias may point elsewhere tomorrow",
            ),
            ("aws-kms://arn:aws:kms:eu-west-1:12345:key/x", "the ARN's account is not 12 digits"),
            ("aws-kms://arn:aws:kms:evil.example/:123456789012:key/x", "the ARN's region has a '.'"),
            ("azure-kv://contoso", "not azure-kv://VAULT/KEY"),
            ("azure-kv://contoso/k/0123", "not azure-kv://VAULT/KEY, and no version: rotation needs them all"),
            ("azure-kv://Contoso/k", "the vault has a 'C'"),
            ("transit://bao/key", "not transit://HOST[:PORT]/MOUNT/KEY"),
            ("transit://bao:443/transit/key", "the port 443 is left out"),
            ("transit://bao:08200/transit/key", "the port is not a number from 1 to 65535"),
            ("transit://user@bao/transit/key", "the host has a '@'"),
            ("transit://bao/a/../key", "the mount has a '.'"),
            ("transit://bao/transit/..", "the key is \"..\""),
        ] {
            assert_eq!(uri.parse::<KeyUri>().unwrap_err().why, why, "{uri}");
        }
    }

    proptest! {
        /// Two texts for one key would be two keys to every row.
        #[test]
        fn what_is_read_is_written_as_it_was(
            uri in "(org[+]){0,2}(local|gcp-kms|aws-kms|azure-kv|transit)://(projects/[a.:]{1,3}/locations/[ab]/keyRings/[ab]/cryptoKeys/[ab]\
                    |arn:aws:kms:[a-c]{1,2}:123456789012:key/[ab]|[ab.:0-9]{0,8}/[ab./]{0,4}/?[ab.]{0,2}|[ab_.A]{0,4})"
        ) {
            if let Ok(read) = uri.parse::<KeyUri>() {
                prop_assert_eq!(read.to_string(), uri);
            }
        }
    }
}
