//! Whoever opened a stream. It outlives its request: the proof that opened it must still be good for each piece of it.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::mpsc::Receiver;

use crate::vault::{Caller, Error, Vault};

pub struct Opener {
    vault: Arc<Vault>,
    caller: Caller,
    checked: Option<Checked>,
}

/// Their token was good.
#[derive(Clone, Copy)]
struct Checked {
    epoch: u64,
    /// Its end.
    until: Timestamp,
}

impl Opener {
    /// Holds the caller's turn as long as the stream is open.
    pub fn new(vault: &Arc<Vault>, caller: Caller) -> Self {
        Self { vault: Arc::clone(vault), caller, checked: None }
    }

    /// What becomes ready, for as long as the proof is good.
    pub fn pass<T: Send + 'static>(self, ready: Receiver<Result<T, Error>>) -> BoxStream<'static, Result<T, Error>> {
        let pieces = stream::unfold(Some((ready, self)), |open| async {
            let (mut ready, mut opener) = open?;
            let piece = ready.recv().await?;
            match opener.still_may().await {
                Ok(()) => Some((piece, Some((ready, opener)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        pieces.boxed()
    }

    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    pub async fn still_may(&mut self) -> Result<(), Error> {
        if !self.caller.standing.holds() {
            return Err(Error::Unauthenticated);
        }
        // Before the look: what is revoked behind it is seen next time.
        let (epoch, now) = (self.vault.guard.epoch(), Timestamp::now());
        if self.caller.principal.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::Unauthenticated);
        }
        let Some(id) = self.caller.principal.token else { return Ok(()) };
        // What another process revokes is not counted here.
        let is_known = self.checked.is_some_and(|checked| checked.epoch == epoch && now < checked.until);
        if is_known && !self.vault.store.is_shared() {
            return Ok(());
        }
        let token = self.vault.store.token(id).await?.filter(|token| token.revoked_at.is_none());
        let until = token.map(|token| token.expires_at).filter(|end| now < *end).ok_or(Error::Unauthenticated)?;
        self.checked = Some(Checked { epoch, until });
        Ok(())
    }
}
