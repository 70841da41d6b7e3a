//! The configured keys, by URI.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use subtle::ConstantTimeEq as _;

use super::{Cause, Context, Error, Kms, Wrapped, recovery};
use crate::crypto::age::Recipient;
use crate::crypto::{self, Dek};

/// Several keys live side by side: new data keys are wrapped under their org's own key or the default, old ones open under
/// the keys that wrapped them.
#[derive(Clone)]
pub struct Keyring {
    default: Arc<dyn Kms>,
    orgs: BTreeMap<String, Arc<dyn Kms>>,
    keys: BTreeMap<String, Arc<dyn Kms>>,
    recipients: Vec<Recipient>,
}

impl Keyring {
    /// `orgs` are the keys of those who brought their own; `others` are what wraps may name besides.
    pub fn new(
        default: Arc<dyn Kms>,
        orgs: BTreeMap<String, Arc<dyn Kms>>,
        others: impl IntoIterator<Item = Arc<dyn Kms>>,
    ) -> Self {
        let all = others.into_iter().chain(orgs.values().cloned()).chain([Arc::clone(&default)]);
        let keys = all.map(|key| (key.uri().to_owned(), key)).collect();
        Self { default, orgs, keys, recipients: Vec::new() }
    }

    /// What is new is wrapped to these too.
    pub fn with_recipients(self, recipients: Vec<Recipient>) -> Self {
        Self { recipients, ..self }
    }

    /// Wraps under the key of the context's org.
    pub async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        self.key_of(context).wrap(dek, context).await
    }

    /// Wraps to the offline recipients, but those who have one.
    pub fn wrap_to_recipients(&self, dek: &Dek, context: &Context, has: &[&str]) -> Result<Vec<Wrapped>, Error> {
        let lacking = self.recipients.iter().filter(|recipient| !has.contains(&recovery::uri(recipient).as_str()));
        lacking.map(|recipient| recovery::wrap(recipient, dek, context)).collect()
    }

    /// The offline recipients, as rows name them.
    pub fn recipients(&self) -> Vec<String> {
        self.recipients.iter().map(recovery::uri).collect()
    }

    /// Unwraps what was wrapped several times over: any of the wraps will do, the org's own key is asked first, then the
    /// default. When none opens, the most hopeful of the reasons is told: what may pass, before what somebody must mend.
    /// Offline recipients' wraps are none of its own.
    pub async fn unwrap(&self, wraps: &[Wrapped], context: &Context) -> Result<Dek, Error> {
        let rank = |wrap: &Wrapped| (wrap.key != self.key_of(context).uri(), wrap.key != self.default.uri());
        let offline = wraps.iter().find(|wrap| recovery::is_recovery(&wrap.key));
        let mut wraps: Vec<&Wrapped> = wraps.iter().filter(|wrap| !recovery::is_recovery(&wrap.key)).collect();
        if let (Some(offline), []) = (offline, &wraps[..]) {
            return Err(Cause::Refused("nothing else wraps this: strongroom recover".to_owned()).of(&offline.key));
        }
        wraps.sort_by_key(|wrap| rank(wrap));
        let (mut reason, mut unknown) = (None::<Error>, Vec::new());
        for wrap in wraps {
            let Some(key) = self.keys.get(&wrap.key) else {
                unknown.push(wrap.key.as_str());
                continue;
            };
            match key.unwrap(wrap, context).await {
                Ok(dek) => return Ok(dek),
                Err(error) if reason.as_ref().is_none_or(|reason| hope(&error) > hope(reason)) => reason = Some(error),
                Err(_) => {}
            }
        }
        match reason {
            Some(reason) if unknown.is_empty() || !matches!(reason, Error::Mismatch { .. }) => Err(reason),
            _ => Err(Error::Unknown { key: unknown.join(" and ") }),
        }
    }

    /// The URI of the key that new data keys of this context are wrapped under.
    pub fn newest(&self, context: &Context) -> &str {
        self.key_of(context).uri()
    }

    /// The default key's URI.
    pub fn default(&self) -> &str {
        self.default.uri()
    }

    /// The orgs that have a key of their own, and its URI.
    pub fn owners(&self) -> impl Iterator<Item = (&str, &str)> {
        self.orgs.iter().map(|(org, key)| (org.as_str(), key.uri()))
    }

    /// A configured key.
    pub fn get(&self, uri: &str) -> Option<&Arc<dyn Kms>> {
        self.keys.get(uri)
    }

    /// The URIs, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Has every key wrap and unwrap something, all at once. What cannot is named, in the order of the URIs.
    pub async fn check(&self) -> Vec<Error> {
        join_all(self.keys.values().map(|key| check(&**key))).await.into_iter().filter_map(Result::err).collect()
    }

    fn key_of(&self, context: &Context) -> &Arc<dyn Kms> {
        self.orgs.get(context.org()).unwrap_or(&self.default)
    }
}

async fn check(key: &dyn Kms) -> Result<(), Error> {
    let context = Context::new(vec![("purpose", "check".to_owned())]);
    let uri = || key.uri().to_owned();
    let random = crypto::random().map_err(|e| Error::Unavailable { key: uri(), cause: e.to_string() })?;
    let dek = Dek::new(random);
    let opened = key.unwrap(&key.wrap(&dek, &context).await?, &context).await?;
    let same = bool::from(opened.expose().ct_eq(dek.expose()));
    if same { Ok(()) } else { Err(Error::Mismatch { key: uri() }) }
}

const fn hope(error: &Error) -> u8 {
    match error {
        Error::Unavailable { .. } => 2,
        Error::Refused { .. } => 1,
        Error::Mismatch { .. } | Error::Unknown { .. } => 0,
    }
}

#[cfg(test)]
mod tests;
