//! The bootstrap token: how the first admin comes into a vault that knows nobody.
//!
//! ```text
//!   srb_ ‖ base64url( secret 32 )       kept = SHA-256( secret ), in this process's memory alone
//! ```
//!
//! It issues one token, the first admin's, and nothing else is allowed to it whatever the policies say. The store takes
//! a first admin only while there is none, so that of any number of uses at the same time one wins. It ends with that,
//! with the first callers in callers.toml, and with the process. Whoever reads what the daemon prints can use it, so a
//! daemon that knows nobody is not reachable from other machines, unless its configuration wants that.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use super::text::{self, TokenSecret};
use super::{Unproven, refused};
use crate::crypto::{self, Secret};
use crate::vault::{Error, Principal, Proof};

const PREFIX: &str = "srb_";

/// Its hash, while it can be used.
#[derive(Default)]
pub struct Bootstrap(ArcSwapOption<[u8; 32]>);

pub fn is_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl Bootstrap {
    /// A new one; an older one ends.
    pub fn offer(&self) -> Result<Secret, Error> {
        let secret: TokenSecret = Zeroizing::new(crypto::random().map_err(Error::bug)?);
        let mut text = String::with_capacity(PREFIX.len() + 43);
        text.push_str(PREFIX);
        BASE64.encode_string(secret.as_slice(), &mut text);
        self.0.store(Some(Arc::new(text::hash(&secret))));
        Ok(Secret::from(text))
    }

    pub fn end(&self) {
        self.0.store(None);
    }

    pub fn is_offered(&self) -> bool {
        self.0.load().is_some()
    }

    pub fn prove(&self, text: &str) -> Result<Arc<Principal>, Unproven> {
        let kept = self.0.load_full().ok_or_else(|| refused("there is no bootstrap token, or no longer"))?;
        let mut secret: TokenSecret = Zeroizing::new([0; 32]);
        let encoded = text.strip_prefix(PREFIX).unwrap_or_default();
        let is_whole = BASE64.decode_slice(encoded, secret.as_mut_slice()).is_ok_and(|length| length == secret.len());
        if !is_whole || !text::matches(&secret, &kept) {
            return Err(refused("the bootstrap token is wrong"));
        }
        let word = || Proof::Bootstrap.as_str().to_owned();
        let principal = Principal { id: word(), name: word(), proof: Proof::Bootstrap, ..Principal::default() };
        Ok(Arc::new(principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_that_was_offered_last_is_taken_until_it_ends() {
        let bootstrap = Bootstrap::default();
        assert!(bootstrap.prove("srb_").is_err());
        let first = bootstrap.offer().unwrap();
        let second = bootstrap.offer().unwrap();
        let second = second.expose_text().unwrap();
        assert!(is_one(second) && !is_one("srt_x"));
        assert!(bootstrap.prove(first.expose_text().unwrap()).is_err());
        assert!(bootstrap.prove(&second[..second.len() - 1]).is_err());
        assert!(bootstrap.prove(&format!("{second}A")).is_err());
        let who = bootstrap.prove(second).unwrap();
        assert_eq!((who.role.as_str(), who.proof), ("", Proof::Bootstrap));
        bootstrap.end();
        assert!(bootstrap.prove(second).is_err());
    }
}
