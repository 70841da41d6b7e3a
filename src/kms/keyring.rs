//! The configured keys, by URI.

use std::collections::BTreeMap;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::{Context, Error, Kms, Wrapped};
use crate::crypto::{self, Dek};

/// Several keys live side by side: new data keys are wrapped under the default, old ones open under their own.
#[derive(Clone)]
pub struct Keyring {
    default: Arc<dyn Kms>,
    keys: BTreeMap<String, Arc<dyn Kms>>,
}

impl Keyring {
    /// `others` are the keys that rows may name besides the default.
    pub fn new(default: Arc<dyn Kms>, others: impl IntoIterator<Item = Arc<dyn Kms>>) -> Self {
        let keys = others.into_iter().chain([default.clone()]).map(|key| (key.uri().to_owned(), key)).collect();
        Self { default, keys }
    }

    /// Wraps under the default key.
    pub async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        self.default.wrap(dek, context).await
    }

    /// Unwraps under the key that the wrap names.
    pub async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        let key = self.keys.get(&wrapped.key).ok_or_else(|| Error::Unknown { key: wrapped.key.clone() })?;
        key.unwrap(wrapped, context).await
    }

    /// The URIs, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// Has every key wrap and unwrap something. The error names the first that cannot.
    pub async fn check(&self) -> Result<(), Error> {
        let context = Context::new(vec![("purpose", "check".to_owned())]);
        for (uri, key) in &self.keys {
            let random = crypto::random().map_err(|e| Error::Unavailable { key: uri.clone(), cause: e.to_string() })?;
            let dek = Dek::new(random);
            let opened = key.unwrap(&key.wrap(&dek, &context).await?, &context).await?;
            if !bool::from(opened.expose().ct_eq(dek.expose())) {
                return Err(Error::Mismatch { key: uri.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tempfile::TempDir;

    use super::*;
    use crate::kms::Local;

    const DEK: Dek = Dek::new([5; 32]);

    fn local(dir: &TempDir, name: &str) -> Arc<dyn Kms> {
        Arc::new(Local::open_or_create(dir.path(), name, None).unwrap())
    }

    #[tokio::test]
    async fn old_wraps_open_under_a_new_default() {
        let dir = TempDir::new().unwrap();
        let context = Context::for_org_key("acme");
        let before = Keyring::new(local(&dir, "old"), []);
        let wrapped = before.wrap(&DEK, &context).await.unwrap();

        let after = Keyring::new(local(&dir, "new"), [local(&dir, "old")]);
        assert_eq!(after.keys().collect::<Vec<_>>(), ["local://new", "local://old"]);
        assert_eq!(after.unwrap(&wrapped, &context).await.unwrap().expose(), DEK.expose());
        assert_eq!(after.wrap(&DEK, &context).await.unwrap().key, "local://new");
        after.check().await.unwrap();
    }

    #[tokio::test]
    async fn a_key_that_is_not_configured_is_named() {
        let dir = TempDir::new().unwrap();
        let context = Context::for_org_key("acme");
        let wrapped = Keyring::new(local(&dir, "gone"), []).wrap(&DEK, &context).await.unwrap();
        let error = Keyring::new(local(&dir, "here"), []).unwrap(&wrapped, &context).await.unwrap_err();
        assert_eq!(error.to_string(), "local://gone is not configured");
    }

    #[tokio::test]
    async fn a_wrap_that_claims_another_key_does_not_open() {
        let dir = TempDir::new().unwrap();
        let context = Context::for_org_key("acme");
        let ring = Keyring::new(local(&dir, "one"), [local(&dir, "two")]);
        let wrapped = Wrapped { key: "local://two".into(), ..ring.wrap(&DEK, &context).await.unwrap() };
        assert!(matches!(ring.unwrap(&wrapped, &context).await, Err(Error::Mismatch { key }) if key == "local://two"));
    }

    /// A service that answers, but wrongly.
    struct Forgetful;

    #[async_trait]
    impl Kms for Forgetful {
        fn uri(&self) -> &str {
            "test://forgetful"
        }

        async fn wrap(&self, _: &Dek, _: &Context) -> Result<Wrapped, Error> {
            Ok(Wrapped { key: self.uri().into(), key_version: "1".into(), bytes: vec![] })
        }

        async fn unwrap(&self, _: &Wrapped, _: &Context) -> Result<Dek, Error> {
            Ok(DEK)
        }
    }

    #[tokio::test]
    async fn check_finds_a_key_that_does_not_give_back_what_it_took() {
        let dir = TempDir::new().unwrap();
        let ring = Keyring::new(local(&dir, "good"), [Arc::new(Forgetful) as Arc<dyn Kms>]);
        let error = ring.check().await.unwrap_err();
        assert!(matches!(error, Error::Mismatch { key } if key == "test://forgetful"));
    }
}
