//! Reads what is sent in; what takes long, off the threads that serve.

use std::sync::Arc;

use crate::providers::Parsed;
use crate::vault::{Error, Provider, Upload, Vault};

/// A locked key says itself how much work unlocking is: seconds of a processor, at the most that is accepted. Whoever
/// sends many of them waits in line with their like, and takes the daemon from nobody else.
pub const UNLOCKED_AT_ONCE: usize = 2;

/// Up to this size, an upload without a private key is read where it is: another thread would take longer to wake up.
const SHORT: usize = 4 * 1024;

impl Vault {
    pub(super) async fn parse(&self, provider: &Arc<Provider>, upload: &Upload) -> Result<Parsed, Error> {
        if upload.size() <= SHORT && !provider.may_hold_a_key() {
            return Ok(provider.parse(upload)?);
        }
        let place = match provider.may_be_locked() {
            true => Some(Arc::clone(&self.unlocking).acquire_owned().await.map_err(Error::bug)?),
            false => None,
        };
        let (provider, upload) = (Arc::clone(provider), upload.clone());
        // It goes on when the caller hangs up, and so does its place.
        let reading = tokio::task::spawn_blocking(move || {
            let _place = place;
            provider.parse(&upload)
        });
        // A panic's words may quote what was read.
        let parsed = reading.await.map_err(|_| Error::bug("the reading of an upload did not end"))?;
        Ok(parsed?)
    }
}
