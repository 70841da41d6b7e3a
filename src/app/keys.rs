//! The keys that wrap data keys, as the configuration names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::services::Services;
use super::{Error, read, unreadable};
use crate::config::{self, Config};
use crate::crypto::Secret;
use crate::crypto::age::Recipient;
use crate::kms::gcp::{self, Gcp};
use crate::kms::{self, KeyUri, Keyring, Kms, Local, PerOrg, Prices, Steady, WrongUri};
use crate::vault;

/// What becomes of a key file that is not there, where `kms.local.create` lets it be made.
#[derive(Clone, Copy)]
pub enum Missing {
    Made,
    /// In memory alone, for a check.
    Rehearsed,
}

/// The keys, and the files that some of them are in.
pub async fn build(config: &Config, services: Services, missing: Missing) -> Result<(Keyring, Arc<Files>), Error> {
    // What is spelled wrong is told before a file is made or anybody asked.
    let kms = &config.kms;
    parse(config, "kms.default", &kms.default)?;
    for (org, uri) in &kms.orgs {
        let setting = of_org(org);
        vault::check_name("org", org).map_err(|fault| config.wrong(&setting, format!("names no org: {fault}")))?;
        parse(config, &setting, uri)?;
    }
    for uri in &kms.others {
        parse(config, "kms.others", uri)?;
    }
    let recipients = recipients(config)?;
    let mut making = Making::begin(config, services, missing)?;
    let default = making.key("kms.default", &kms.default, kms.local.create).await?;
    let mut orgs = BTreeMap::new();
    for (org, uri) in &kms.orgs {
        orgs.insert(org.clone(), making.key(&of_org(org), uri, kms.local.create).await?);
    }
    for uri in &kms.others {
        making.key("kms.others", uri, false).await?;
    }
    making.every_file().await?;
    let Making { keys, files, .. } = making;
    let files = Arc::new(Files { config: kms.local.clone(), files });
    Ok((Keyring::new(default, orgs, keys.into_values()).with_recipients(recipients), files))
}

/// Adds a version to a local key.
pub fn rotate(config: &Config, name: &str) -> Result<Local, Error> {
    let local = &config.kms.local;
    Ok(Local::rotate(&local.directory, name, passphrase(local)?.as_ref())?)
}

/// Makes a local key.
pub fn create(config: &Config, name: &str) -> Result<Local, Error> {
    let local = &config.kms.local;
    Ok(Local::create(&local.directory, name, passphrase(local)?.as_ref())?)
}

/// The open key files.
pub struct Files {
    config: config::LocalKms,
    files: Vec<(String, Arc<Local>)>,
}

impl Files {
    /// The names of those that are rehearsed.
    pub fn missing(&self) -> Vec<&str> {
        self.files.iter().filter(|(_, file)| !file.is_on_disk()).map(|(name, _)| name.as_str()).collect()
    }

    /// Reads them again: all of them, or the error of the first that does not open what it opened before.
    pub async fn read_again(self: Arc<Self>) -> Result<Newer, Error> {
        // A passphrase is slow to hash.
        tokio::task::spawn_blocking(move || self.read()).await.map_err(vault::Error::bug)?
    }

    fn read(&self) -> Result<Newer, Error> {
        let passphrase = passphrase(&self.config)?;
        let mut newer = Vec::new();
        for (name, file) in &self.files {
            let read = Local::open(&self.config.directory, name, passphrase.as_ref())?;
            file.is_followed_by(&read)?;
            newer.push((Arc::clone(file), read));
        }
        Ok(Newer(newer))
    }
}

/// Key files read again, not in force yet.
pub struct Newer(Vec<(Arc<Local>, Local)>);

impl Newer {
    pub fn take_over(self) {
        for (file, newer) in self.0 {
            file.follow(&newer);
        }
    }
}

/// What a request costs by the public price lists of November 2026, in millionths of a dollar: an estimate, for the metric.
const REQUEST: u64 = 3;
/// A wrap is opened before it counts.
const TWO_REQUESTS: u64 = 2 * REQUEST;

struct Making<'a> {
    config: &'a Config,
    missing: Missing,
    passphrase: Option<Secret>,
    services: Services,
    /// By URI: what is named twice is one key, with one breaker.
    keys: BTreeMap<String, Arc<dyn Kms>>,
    files: Vec<(String, Arc<Local>)>,
    google: Option<gcp::Client>,
}

impl<'a> Making<'a> {
    fn begin(config: &'a Config, services: Services, missing: Missing) -> Result<Self, Error> {
        let passphrase = passphrase(&config.kms.local)?;
        Ok(Self { config, missing, passphrase, services, keys: BTreeMap::new(), files: Vec::new(), google: None })
    }

    async fn key(&mut self, setting: &str, text: &str, create: bool) -> Result<Arc<dyn Kms>, Error> {
        if let Some(made) = self.keys.get(text) {
            return Ok(Arc::clone(made));
        }
        let uri = parse(self.config, setting, text)?;
        let unusable = |why: String| self.config.wrong(setting, format!("names `{uri}`, which cannot be asked: {why}"));
        // A call that ends before its key does would say that it is late, and not why.
        let deadline = self.config.kms.deadline.min(self.config.limits.deadline);
        let steady = |key, wrap, unwrap| Arc::new(Steady::new(key, deadline, Prices { wrap, unwrap }));
        let key: Arc<dyn Kms> = match &uri {
            KeyUri::Local { name } => steady(self.file(name, create)?, 0, 0),
            KeyUri::Gcp { .. } => {
                let client = match &self.google {
                    Some(client) => client.clone(),
                    None => google(&self.config.kms.gcp).await.map_err(unusable)?,
                };
                self.google = Some(client.clone());
                steady(Arc::new(Gcp::new(&uri, client).map_err(unusable)?), REQUEST, REQUEST)
            }
            KeyUri::Aws { partition, region, account, id } => {
                let arn = format!("arn:{partition}:kms:{region}:{account}:key/{id}");
                steady(Arc::new(self.services.aws(arn, region).map_err(unusable)?), TWO_REQUESTS, REQUEST)
            }
            KeyUri::Azure { vault, key } => {
                steady(Arc::new(self.services.azure(vault, key).map_err(unusable)?), TWO_REQUESTS, REQUEST)
            }
            KeyUri::Transit { host, port, mount, key } => {
                steady(Arc::new(self.services.transit((host, *port), mount, key).map_err(unusable)?), 0, 0)
            }
            KeyUri::PerOrg(inner) => {
                let inner = Box::pin(self.key(setting, &inner.to_string(), create)).await?;
                Arc::new(PerOrg::new(inner, self.config.cache.ttl))
            }
        };
        self.keys.insert(text.to_owned(), Arc::clone(&key));
        Ok(key)
    }

    fn file(&mut self, name: &str, create: bool) -> Result<Arc<Local>, Error> {
        let open = match self.missing {
            _ if !create => Local::open,
            Missing::Made => Local::open_or_create,
            Missing::Rehearsed => Local::open_or_rehearse,
        };
        let file = Arc::new(open(&self.config.kms.local.directory, name, self.passphrase.as_ref())?);
        self.files.push((name.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    /// What was wrapped under another key of the directory still opens.
    async fn every_file(&mut self) -> Result<(), Error> {
        let directory = &self.config.kms.local.directory;
        if !directory.exists() {
            return Ok(());
        }
        for name in Local::names(directory).map_err(|cause| unreadable(directory, cause))? {
            self.key("kms.local.directory", &format!("local://{name}"), false).await?;
        }
        Ok(())
    }
}

/// One client for all of Google's keys: one token, one pool of connections.
async fn google(config: &config::GcpKms) -> Result<gcp::Client, String> {
    let endpoint = Some(config.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
    gcp::client(endpoint, gcp::credentials()?).await
}

/// Whoever can be told by its place is not repeated: it may be the private half.
fn recipients(config: &Config) -> Result<Vec<Recipient>, Error> {
    const SETTING: &str = "kms.recovery.recipients";
    let mut recipients = Vec::<Recipient>::new();
    for (number, text) in (1..).zip(&config.kms.recovery.recipients) {
        let wrong = |why: &dyn std::fmt::Display| config.wrong(SETTING, format!("is wrong: number {number} {why}"));
        let recipient = text.parse::<Recipient>().map_err(|why| wrong(&why))?;
        if recipients.contains(&recipient) {
            return Err(wrong(&"is there twice").into());
        }
        recipients.push(recipient);
    }
    Ok(recipients)
}

fn of_org(org: &str) -> String {
    format!("kms.orgs.{org}")
}

fn parse(config: &Config, setting: &str, text: &str) -> Result<KeyUri, Error> {
    text.parse().map_err(|wrong: WrongUri| config.wrong(setting, format!("names {wrong}")).into())
}

/// Without the default key nothing could be stored. An org's own key, or one of the past, is no reason to leave all others
/// without their credentials.
pub fn start_without(needed: &[kms::Error], wanted: &[kms::Error]) -> Result<(), Error> {
    for error in wanted {
        tracing::warn!(%error, "what is wrapped under this key does not open until this is mended");
    }
    all_do_their_part(needed)
}

/// In words, for the operator.
pub fn lacking(key: &str, count: u64) -> String {
    format!("{count} keys are wrapped under {key}, which is not configured: name it in kms.others")
}

pub fn all_do_their_part(broken: &[kms::Error]) -> Result<(), Error> {
    if broken.is_empty() {
        return Ok(());
    }
    let causes = broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Err(Error::Kms { causes, may_pass: broken.iter().all(|error| matches!(error, kms::Error::Unavailable { .. })) })
}

fn passphrase(config: &config::LocalKms) -> Result<Option<Secret>, Error> {
    match &config.passphrase_file {
        // An editor ends a file with a newline; nobody means it.
        Some(file) => Ok(Some(Secret::from(read(file)?.trim_end_matches(['\r', '\n']).to_owned()))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::Dek;
    use crate::http::{Client, Settings};
    use crate::kms::Context;

    use super::*;

    const DEK: Dek = Dek::new([5; 32]);

    #[tokio::test]
    async fn key_files_are_read_again_while_all_that_was_wrapped_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.kms.local.directory = dir.path().to_owned();
        create(&config, "default").unwrap();
        let services = Services::new(Client::new(Settings::default()).unwrap());
        let (ring, files) = build(&config, services, Missing::Made).await.unwrap();
        let context = Context::for_org_key("acme");
        let old = ring.wrap(&DEK, &context).await.unwrap();
        let file = dir.path().join("default.key");
        let before = std::fs::read(&file).unwrap();

        assert_eq!(rotate(&config, "default").unwrap().newest(), 2);
        assert_eq!(ring.wrap(&DEK, &context).await.unwrap().key_version, "1", "not before it is told");
        Arc::clone(&files).read_again().await.unwrap().take_over();
        let new = ring.wrap(&DEK, &context).await.unwrap();
        assert_eq!(new.key_version, "2");

        // A backup from before the rotation would lose what was wrapped since.
        std::fs::write(&file, before).unwrap();
        let error = files.read_again().await.err().unwrap().to_string();
        assert!(error.contains("default.key: version 2 is another one or gone"), "{error}");
        for wrapped in [old, new] {
            assert_eq!(ring.unwrap(&[wrapped], &context).await.unwrap().expose(), DEK.expose());
        }
    }
}
