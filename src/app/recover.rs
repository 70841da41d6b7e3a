//! What a recovery works on: the database of a daemon that is stopped, and the keys of now.

use std::path::Path;
use std::sync::Arc;

use super::keys::Missing;
use super::services::Services;
use super::{Error, client, keys, store};
use crate::config::Config;
use crate::crypto::age::Identity;
use crate::store::{Look, Sqlite};
use crate::vault::Recovery;
pub use crate::vault::{Drilled, Recovered};

/// Asks no KMS.
pub async fn drill(config: &Config, identity: Identity, sample: u32) -> Result<Drilled, Error> {
    let recovery = open(config, identity)?;
    let drilled = recovery.drill(sample).await?;
    if drilled.total == 0 { Err(for_nobody(&recovery)) } else { Ok(drilled) }
}

/// The default key must do its part before anything is changed.
pub async fn recover(config: &Config, identity: Identity, tell: impl FnMut(&Recovered)) -> Result<Recovered, Error> {
    there(config)?;
    let (keyring, _) = keys::build(config, Services::new(client(&config.outbound)?), Missing::Made).await?;
    let broken = keyring.check().await;
    let (needed, wanted): (Vec<_>, Vec<_>) = broken.into_iter().partition(|error| error.key() == config.kms.default);
    keys::start_without(&needed, &wanted)?;
    let recovery = open(config, identity)?;
    let recovered = recovery.recover(keyring, tell).await?;
    if recovered.total == 0 { Err(for_nobody(&recovery)) } else { Ok(recovered) }
}

fn for_nobody(recovery: &Recovery) -> Error {
    Error::Unopened(format!("nothing in it is wrapped for {}, whose identity this is", recovery.recipient()))
}

fn open(config: &Config, identity: Identity) -> Result<Recovery, Error> {
    there(config)?;
    Ok(Recovery::new(store(config)? as Arc<_>, identity)?)
}

/// No new database is made.
fn there(config: &Config) -> Result<(), Error> {
    let url = &config.store.url;
    let absent = |path: &str| matches!(Sqlite::look(Path::new(path)), Look::Absent);
    match url.strip_prefix("sqlite://").is_some_and(absent) {
        true => {
            let cause = crate::store::Error::Unavailable("there is no database".into());
            Err(Error::Store { url: url.clone(), cause })
        }
        false => Ok(()),
    }
}
