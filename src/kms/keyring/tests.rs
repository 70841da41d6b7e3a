use async_trait::async_trait;
use tempfile::TempDir;

use super::*;
use crate::kms::Local;

const DEK: Dek = Dek::new([5; 32]);

fn local(dir: &TempDir, name: &str) -> Arc<dyn Kms> {
    Arc::new(Local::open_or_create(dir.path(), name, None).unwrap())
}

fn ring(default: Arc<dyn Kms>, others: &[Arc<dyn Kms>]) -> Keyring {
    Keyring::new(default, BTreeMap::new(), others.iter().cloned())
}

fn acme() -> Context {
    Context::for_org_key("acme")
}

#[tokio::test]
async fn old_wraps_open_under_a_new_default() {
    let dir = TempDir::new().unwrap();
    let wrapped = ring(local(&dir, "old"), &[]).wrap(&DEK, &acme()).await.unwrap();

    let after = ring(local(&dir, "new"), &[local(&dir, "old")]);
    assert_eq!(after.keys().collect::<Vec<_>>(), ["local://new", "local://old"]);
    assert_eq!(after.unwrap(&[wrapped], &acme()).await.unwrap().expose(), DEK.expose());
    assert_eq!(after.wrap(&DEK, &acme()).await.unwrap().key, "local://new");
    assert!(after.check().await.is_empty());
}

#[tokio::test]
async fn an_org_with_a_key_of_its_own_is_sealed_under_it_and_nobody_else_is() {
    let dir = TempDir::new().unwrap();
    let orgs = BTreeMap::from([("acme".to_owned(), local(&dir, "acme"))]);
    let ring = Keyring::new(local(&dir, "default"), orgs, []);
    for (context, key) in [
        (acme(), "local://acme"),
        (Context::for_org_key("acme2"), "local://default"),
        (Context::for_audit_key("acme", 1), "local://default"),
    ] {
        let wrapped = ring.wrap(&DEK, &context).await.unwrap();
        assert_eq!((wrapped.key.as_str(), ring.newest(&context)), (key, key));
        assert_eq!(ring.unwrap(&[wrapped], &context).await.unwrap().expose(), DEK.expose());
    }
}

#[tokio::test]
async fn a_key_that_is_not_configured_is_named() {
    let dir = TempDir::new().unwrap();
    let wrapped = ring(local(&dir, "gone"), &[]).wrap(&DEK, &acme()).await.unwrap();
    let error = ring(local(&dir, "here"), &[]).unwrap(&[wrapped], &acme()).await.unwrap_err();
    assert_eq!(error.to_string(), "local://gone is not configured: name it in kms.others");
}

#[tokio::test]
async fn a_wrap_that_claims_another_key_does_not_open() {
    let dir = TempDir::new().unwrap();
    let ring = ring(local(&dir, "one"), &[local(&dir, "two")]);
    let wrapped = Wrapped { key: "local://two".into(), ..ring.wrap(&DEK, &acme()).await.unwrap() };
    assert!(matches!(ring.unwrap(&[wrapped], &acme()).await, Err(Error::Mismatch { key }) if key == "local://two"));
}

/// A service that answers, but wrongly.
struct Wrong(&'static str, Error);

#[async_trait]
impl Kms for Wrong {
    fn uri(&self) -> &str {
        self.0
    }

    async fn wrap(&self, _: &Dek, _: &Context) -> Result<Wrapped, Error> {
        Ok(Wrapped { key: self.uri().into(), key_version: "1".into(), bytes: vec![] })
    }

    async fn unwrap(&self, _: &Wrapped, _: &Context) -> Result<Dek, Error> {
        match &self.1 {
            Error::Unknown { .. } => Ok(DEK),
            error => Err(error.clone()),
        }
    }
}

fn wrong(uri: &'static str, make: impl Fn(String, String) -> Error) -> Arc<dyn Kms> {
    Arc::new(Wrong(uri, make(uri.to_owned(), "so it is".to_owned())))
}

fn down(uri: &'static str) -> Arc<dyn Kms> {
    wrong(uri, |key, cause| Error::Unavailable { key, cause })
}

fn closed(uri: &'static str) -> Arc<dyn Kms> {
    wrong(uri, |key, cause| Error::Refused { key, cause })
}

fn forgetful(uri: &'static str) -> Arc<dyn Kms> {
    wrong(uri, |key, _| Error::Unknown { key })
}

fn foreign(uri: &'static str) -> Arc<dyn Kms> {
    wrong(uri, |key, _| Error::Mismatch { key })
}

fn wrap_of(uri: &str) -> Wrapped {
    Wrapped { key: uri.to_owned(), key_version: "1".into(), bytes: vec![] }
}

#[tokio::test]
async fn any_wrap_opens_whatever_ails_the_others() {
    let dir = TempDir::new().unwrap();
    let keys = [down("test://down"), closed("test://closed"), foreign("test://foreign"), local(&dir, "last")];
    let good = keys[3].wrap(&DEK, &acme()).await.unwrap();
    let ring = ring(down("test://default"), &keys);
    let wraps = ["test://gone", "test://foreign", "test://closed", "test://down", "test://default"].map(wrap_of);
    let wraps: Vec<_> = wraps.into_iter().chain([good]).collect();
    assert_eq!(ring.unwrap(&wraps, &acme()).await.unwrap().expose(), DEK.expose());
}

#[tokio::test]
async fn when_none_opens_the_most_hopeful_reason_is_told() {
    let (down, closed, foreign) = (down("test://down"), closed("test://closed"), foreign("test://foreign"));
    let ring = ring(foreign, &[down, closed]);
    let of = async |uris: &[&str]| {
        let wraps: Vec<_> = uris.iter().map(|uri| wrap_of(uri)).collect();
        ring.unwrap(&wraps, &acme()).await.unwrap_err()
    };
    assert!(matches!(of(&["test://foreign"]).await, Error::Mismatch { .. }));
    assert!(
        matches!(of(&["test://foreign", "test://x", "test://y"]).await, Error::Unknown { key } if key == "test://x and test://y")
    );
    assert!(matches!(of(&["test://x", "test://closed", "test://foreign"]).await, Error::Refused { .. }));
    assert!(matches!(of(&["test://x", "test://closed", "test://down"]).await, Error::Unavailable { .. }));
}

#[tokio::test]
async fn the_orgs_own_key_is_asked_first_then_the_default() {
    let orgs = BTreeMap::from([("acme".to_owned(), down("test://own"))]);
    let ring = Keyring::new(down("test://default"), orgs, [down("test://a")]);
    let of = async |uris: &[&str], context: Context| {
        let wraps: Vec<_> = uris.iter().map(|uri| wrap_of(uri)).collect();
        // The first of equal reasons is told.
        let Err(Error::Unavailable { key, .. }) = ring.unwrap(&wraps, &context).await else { panic!("opened") };
        key
    };
    assert_eq!(of(&["test://a", "test://default", "test://own"], acme()).await, "test://own");
    assert_eq!(of(&["test://a", "test://own", "test://default"], Context::for_org_key("b")).await, "test://default");
    assert_eq!(of(&["test://a", "test://default"], acme()).await, "test://default");
}

#[tokio::test]
async fn check_finds_every_key_that_does_not_give_back_what_it_took() {
    let dir = TempDir::new().unwrap();
    let ring = ring(local(&dir, "good"), &[down("test://down"), forgetful("test://forgetful")]);
    let errors = ring.check().await;
    assert!(matches!(&errors[0], Error::Unavailable { key, .. } if key == "test://down"));
    assert!(matches!(&errors[1], Error::Mismatch { key } if key == "test://forgetful"));
    assert_eq!(errors.len(), 2);
}
