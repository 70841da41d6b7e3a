//! The transports. One handler per rpc, in [`credentials`], [`admin`] and their neighbours, serves gRPC and REST alike: it turns the
//! request into the vault's words, asks, and turns the answer back. Everything that every request needs (an id, a
//! caller, a deadline, a measurement, an error in the client's terms) is in [`serve`], once.
//!
//! ```text
//!   gRPC ── grpc ──────────────┐                        ┌─ credentials ─┐
//!                              ├─► serve ─► one handler ┤               ├─► vault
//!   REST ── rest ── assemble ──┘                        ├─ admin ───────┤
//!                                                       └─ grants ──────┘
//! ```

mod admin;
mod assemble;
mod convert;
mod credentials;
mod digest;
mod explain;
mod grants;
mod grpc;
mod json;
mod keys;
pub mod listen;
mod ops;
mod orgs;
mod rest;
mod rpc;
mod serve;
mod status;
mod stepup;
mod words;

use std::sync::Arc;
use std::time::Duration;

pub use explain::wire as explained;
pub use grpc::grpc;
pub use ops::ops;
pub use rest::rest;
use tokio::sync::watch;

use crate::authn::Authenticator;
use crate::authn::grant::Grants;
use crate::authn::token::Tokens;
use crate::vault::{Error, Vault};

/// What the handlers work with.
pub struct Api {
    vault: Arc<Vault>,
    authenticator: Arc<Authenticator>,
    tokens: Arc<Tokens>,
    grants: Grants,
    settings: Settings,
    /// Becomes true when the daemon drains: streams end, so that they do not hold it up.
    closing: watch::Receiver<bool>,
    rpcs: rpc::Rpcs,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A request may be this long.
    pub request_bytes: usize,
    /// A request may take this long; a client can ask for less.
    pub deadline: Duration,
}

impl Api {
    /// Install the metrics recorder before: the meters are made here.
    pub fn new(
        vault: Arc<Vault>,
        authenticator: Arc<Authenticator>,
        tokens: Arc<Tokens>,
        settings: Settings,
        closing: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, Error> {
        let rpcs = rpc::Rpcs::read()?;
        let grants = Grants::new(Arc::clone(&vault));
        Ok(Arc::new(Self { vault, authenticator, tokens, grants, settings, closing, rpcs }))
    }

    /// Resolves when the daemon begins to drain.
    fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.clone();
        async move {
            // An error means that whoever could say so is gone: closed as well.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }
}
