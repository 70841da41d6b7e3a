//! Sealing anew: what the key service is asked for, and what there is when it does not answer.

use futures_util::StreamExt as _;
use strongroom::vault::{Error, Progress, Reseal};

use super::*;

fn resealing(directory: &File, keys: &Arc<Keys>) -> Arc<Vault> {
    let text = include_str!("../../../config/providers.yml");
    let text = text.replacen("  - id: openai\n", "  - id: openai\n    seal: fernet\n", 1);
    Vault::new(Parts {
        store: Arc::new(Sqlite::open(&directory.join("strongroom.db")).unwrap()),
        keyring: Keyring::new(Arc::clone(keys) as Arc<dyn Kms>, [].into(), []),
        registry: Registry::parse("providers.yml", &text).unwrap(),
        policies: Policies::embedded().unwrap(),
        probe: nobody(),
        limits: LIMITS,
        allowances: Allowances::default(),
        testing: TESTING,
        auditing: Auditing::default(),
    })
    .unwrap()
}

async fn reseal(vault: &Arc<Vault>) -> Result<Progress, Error> {
    let news = vault.reseal(&admin(), Reseal::default()).await.unwrap();
    news.collect::<Vec<_>>().await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_costs_one_unwrap_and_no_wrap() {
    const COUNT: u64 = 100;
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let before = vault(home.path(), &keys, nobody(), LIMITS);
    for number in 0..COUNT {
        let name = format!("n{number}");
        before.setup(&admin(), setup(path("acme", &name), &openai_key(&name), true)).await.unwrap();
    }
    drop(before);

    let vault = resealing(home.path(), &keys);
    // Nothing is lost when the keys are out of reach, and a second run begins where it was.
    keys.down.store(true, Ordering::SeqCst);
    let error = reseal(&vault).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    keys.down.store(false, Ordering::SeqCst);
    let (unwraps, wraps) = (keys.unwraps(), keys.wraps());
    let done = reseal(&vault).await.unwrap();
    assert_eq!((done.done, done.total, done.moved, done.failed), (true, COUNT, COUNT, 0));
    assert_eq!((keys.unwraps() - unwraps, keys.wraps() - wraps), (COUNT, 0));
    let again = reseal(&vault).await.unwrap();
    assert_eq!((again.total, again.moved, keys.unwraps() - unwraps), (0, 0, COUNT));
    for number in 0..COUNT {
        let name = format!("n{number}");
        let answer = vault.decrypt(&admin(), decrypt(path("acme", &name))).await.unwrap();
        assert_eq!(answer.secret.expose(), openai_key(&name).as_bytes());
    }
}
