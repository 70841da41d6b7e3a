//! A backup of any age comes back: whoever changes the schema lets `import` read this one too, and adds one of their own.

use strongroom::store::Path as Name;
use strongroom::vault::{Decrypt, Error};

use super::*;
use crate::audit::retention::{admin, vault};
use crate::recovery::{recipients, recover};

const SCHEMAS: [&str; 1] = ["schema-10"];
/// Whose recovery identity opens it.
const SEED: u8 = 9;

#[test]
fn exports_of_every_schema_come_back() {
    for schema in SCHEMAS {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/exports");
        let home = tempfile::tempdir().unwrap();
        let config = "[store]\nurl = \"sqlite://strongroom.db\"\n[kms.local]\ndirectory = \".\"\n";
        std::fs::write(home.path().join("strongroom.toml"), format!("{config}{}", recipients(&[SEED]))).unwrap();
        let key = home.path().join("default.key");
        std::fs::copy(vectors.join(format!("{schema}.key")), &key).unwrap();
        // Version control does not keep the mode that a key file must have.
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

        let file = vectors.join(format!("{schema}.jsonl"));
        let (code, found, said) = import(home.path(), &file, &["--apply"]);
        assert_eq!(code, 0, "{schema}: {found} {said}");
        let (code, found, said) = recover(home.path(), SEED, &["--drill"]);
        assert_eq!((code, &found["proven"]), (0, &Json::Bool(true)), "{schema}: {found} {said}");
        runtime().block_on(decrypts(home.path(), schema));
    }
}

async fn decrypts(home: &Path, schema: &str) {
    let (vault, _) = vault(home, None);
    let cloudflare = format!("cfut_{}0123abcd", &"GOLDENexample".repeat(4)[..40]);
    for (org, provider, version, secret) in [
        // Set up twice; AES-256-GCM, then Fernet.
        ("acme", "openai", 2, Some(openai_key("golder"))),
        ("acme", "cloudflare", 1, Some(cloudflare)),
        // Deleted, and an org that was destroyed.
        ("other", "openai", 1, None),
        ("gone", "openai", 1, None),
    ] {
        let [org, provider] = [org, provider].map(str::to_owned);
        let path = Name { org, project: "default".into(), provider, name: "default".into() };
        let found = vault.decrypt(&admin(), Decrypt { path: path.clone(), fresh: false }).await;
        match (found, secret) {
            (Ok(found), Some(secret)) => {
                assert!(found.secret.expose() == secret.as_bytes(), "{schema}: {path:?}");
                assert_eq!(found.version, version, "{schema}: {path:?}");
            }
            (Err(Error::NotFound { .. }), None) => {}
            (found, _) => panic!("{schema}: {path:?}: {:?}", found.map(|found| found.version)),
        }
    }
    let report = vault.verify_audit(&admin()).await.unwrap().remove(0);
    assert!(report.broken.is_none() && report.records > 24, "{schema}: {report:?}");
}
