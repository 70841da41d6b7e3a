//! Key services that do as they are told: each speaks its own protocol, as its documents say, and can be made to fail.
//!
//! What they do not prove: that the services themselves answer so. `tests/peers` asks others' fakes, and an account.

pub mod aws;
pub mod azure;
pub mod gcp;
pub mod transit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom::http::{Client, Limits};
use strongroom::kms::Kms;

use super::{Answer, Asked, World};

/// What every fake can do, so that one suite is run over all adapters.
pub trait Service: Send + Sync {
    /// An adapter for the service's key, as after a start of the daemon.
    fn key(&self) -> Arc<dyn Kms>;

    /// An adapter for another key of the same service.
    fn other_key(&self) -> Arc<dyn Kms>;

    /// A new version, which wraps from now on.
    fn rotate(&self);

    /// What becomes of a version, by the name that a wrap gives it; or of the key, where only keys have states.
    fn set(&self, version: &str, state: State);

    /// What goes wrong from now on.
    fn trouble(&self, trouble: Trouble);

    /// How often it was asked.
    fn calls(&self) -> usize;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Enabled,
    Disabled,
    Destroyed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    Throttled,
    /// An error on its side.
    Broken,
    /// The connection is closed without an answer.
    Gone,
    /// The answer takes this long.
    Slow(Duration),
    /// Nothing is ever answered.
    Silent,
    /// The answer's body ends in the middle.
    Truncated,
    /// The answer is a web page with status 200.
    Foreign,
    /// The answer does not end.
    Endless,
    /// A byte of a wrap is another one when it arrives.
    Corrupted,
    /// The caller's credentials have expired.
    Expired,
    /// The caller may not use the key.
    Forbidden,
    /// There is no such key.
    Missing,
    /// The key is for something else, such as signatures.
    WrongPurpose,
}

/// What a service that the vault asks over its own way out is told.
pub struct Told {
    /// Of each version of `k`, the first being 1.
    pub versions: Vec<State>,
    pub trouble: Trouble,
}

impl Told {
    pub fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { versions: vec![State::Enabled], trouble: Trouble::Nothing }))
    }

    pub fn rotate(&mut self) {
        self.versions.push(State::Enabled);
    }

    pub fn newest(&self) -> usize {
        self.versions.len()
    }

    /// The troubles that are alike everywhere, around what is the service's own to say.
    pub fn answer(&self, own: impl FnOnce() -> Answer) -> Answer {
        match &self.trouble {
            Trouble::Broken => Answer::text(503, "<html>Something went wrong</html>"),
            Trouble::Gone => Answer::Cut,
            Trouble::Silent => Answer::Hang,
            Trouble::Foreign => Answer::text(200, "<html>Sign in to the network</html>"),
            Trouble::Endless => Answer::Endless,
            Trouble::Slow(pause) => Answer::Late(*pause, Box::new(own())),
            Trouble::Truncated => {
                let Answer::Reply { status, headers, mut body } = own() else { panic!("a reply") };
                body.truncate(body.len() / 2);
                Answer::Reply { status, headers, body }
            }
            _ => own(),
        }
    }

    /// A wrap, as it arrives.
    pub fn carried(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.trouble == Trouble::Corrupted {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        bytes
    }
}

/// Who is not answered in two seconds is not waited for.
pub fn client(world: &World) -> Client {
    let limits = Limits { connect: Duration::from_secs(2), total: Duration::from_secs(2), ..Limits::default() };
    world.client_with(limits)
}

pub fn asked_of(world: &World, host: &str) -> Vec<Asked> {
    world.asked().into_iter().filter(|asked| asked.host == host).collect()
}

/// Of a version of a fake's key.
pub fn material(name: &str, version: usize) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(format!("{name} {version}")).into()
}
