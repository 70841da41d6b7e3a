//! What a recovery works on: the database of a daemon that is stopped, or an export; and the keys of now.

use super::backup::{self, Source};
use super::keys::Missing;
use super::services::Services;
use super::store::Place;
use super::{Error, client, keys};
use crate::config::Config;
use crate::crypto::age::Identity;
use crate::store::Look;
use crate::vault::Recovery;
pub use crate::vault::{Drilled, Recovered};

/// Asks no KMS. On an export, nothing is left of it but what it has found.
pub async fn drill(
    config: &Config,
    from: Option<Source<'_>>,
    identity: Identity,
    sample: u32,
) -> Result<Drilled, Error> {
    let (_made, recovery) = match from {
        None => (None, open(config, identity).await?),
        Some(from) => {
            let (made, store) = backup::look_by(config, from, &identity).await?;
            (Some(made), Recovery::new(store, identity)?)
        }
    };
    let drilled = recovery.drill(sample).await?;
    if drilled.total == 0 { Err(for_nobody(&recovery)) } else { Ok(drilled) }
}

/// The default key must do its part before anything is changed. An export becomes the database first; from then on it is
/// as with any.
pub async fn recover(
    config: &Config,
    from: Option<Source<'_>>,
    identity: Identity,
    tell: impl FnMut(&Recovered),
) -> Result<Recovered, Error> {
    if from.is_none() {
        there(config).await?;
    }
    let (keyring, _) = keys::build(config, Services::new(client(&config.outbound)?), Missing::Made).await?;
    let broken = keyring.check().await;
    let (needed, wanted): (Vec<_>, Vec<_>) = broken.into_iter().partition(|error| error.key() == config.kms.default);
    keys::start_without(&needed, &wanted)?;
    if let Some(from) = from {
        backup::import_by(config, from, &identity).await?;
    }
    let recovery = open(config, identity).await?;
    let recovered = recovery.recover(keyring, tell).await?;
    if recovered.total == 0 { Err(for_nobody(&recovery)) } else { Ok(recovered) }
}

fn for_nobody(recovery: &Recovery) -> Error {
    Error::Unopened(format!("nothing in it is wrapped for {}, whose identity this is", recovery.recipient()))
}

async fn open(config: &Config, identity: Identity) -> Result<Recovery, Error> {
    there(config).await?;
    Ok(Recovery::new(Place::of(config)?.open().await?, identity)?)
}

/// No new database is made.
async fn there(config: &Config) -> Result<(), Error> {
    let place = Place::of(config)?;
    match place.look().await? {
        Look::Absent => Err(place.refused(crate::store::Error::Unavailable("there is no database".into()))),
        _ => Ok(()),
    }
}
