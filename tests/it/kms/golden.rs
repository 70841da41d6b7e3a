//! Law 8 for wrapped keys: what a key of any kind has once wrapped, every later build asks to be opened in the same words.
//! The services are fakes with keys that never change, and open nothing that comes under other words.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use strongroom::crypto::age::Identity;
use strongroom::kms::{Context, Kms, Wrapped, recovery};

use crate::crypto::Who;
use crate::daemon::runtime;
use crate::fake::kms::Service as _;
use crate::fake::kms::aws::Amazon;
use crate::fake::kms::azure::Vault;
use crate::fake::kms::gcp::Google;
use crate::fake::kms::transit::Bao;

/// Never changed; another file may come beside it.
const CORPUS: &str = "tests/vectors/wraps/golden-v1.json";

#[derive(Deserialize)]
struct Corpus {
    /// The private half of Azure's key, in hex of PKCS #8.
    azure_key: String,
    recovery_identity: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    key: String,
    key_version: String,
    purpose: Purpose,
    wrapped: String,
    dek: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Credential(Who),
    OrgKey(String),
    AuditKey(String, u32),
}

impl Purpose {
    fn context(&self) -> Context {
        match self {
            Self::Credential(who) => Context::of(&who.into()),
            Self::OrgKey(org) => Context::for_org_key(org),
            Self::AuditKey(instance, number) => Context::for_audit_key(instance, *number),
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn what_every_kind_of_key_has_wrapped_opens() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS)).unwrap();
    let Corpus { azure_key, recovery_identity, cases } = serde_json::from_str(&text).unwrap();
    let (google, amazon, bao) = (Google::start(), Amazon::start(), Bao::start());
    google.rotate();
    amazon.rotate();
    bao.rotate();
    let azure = Vault::with_kept(2, &unhex(&azure_key));
    let identity: Identity = recovery_identity.parse().unwrap();
    runtime().block_on(async {
        let keys: [Arc<dyn Kms>; 4] = [google.key(), amazon.key(), azure.key(), bao.key()];
        let recipient = recovery::uri(&identity.recipient().unwrap());
        let mut opened =
            keys.iter().map(|key| key.uri()).chain([recipient.as_str()]).map(|uri| (uri, 0)).collect::<Vec<_>>();
        for Case { key, key_version, purpose, wrapped, dek } in cases {
            let wrapped = Wrapped { key, key_version, bytes: unhex(&wrapped) };
            let (context, other) = (purpose.context(), Context::for_org_key("another"));
            let (right, wrong) = match keys.iter().find(|key| key.uri() == wrapped.key) {
                Some(key) => (key.unwrap(&wrapped, &context).await, key.unwrap(&wrapped, &other).await),
                None => {
                    (recovery::unwrap(&identity, &wrapped, &context), recovery::unwrap(&identity, &wrapped, &other))
                }
            };
            assert_eq!(right.unwrap().expose().as_slice(), unhex(&dek), "{wrapped:?}");
            assert!(wrong.is_err(), "{wrapped:?}");
            opened.iter_mut().find(|(uri, _)| *uri == wrapped.key).expect("one of the kinds").1 += 1;
        }
        assert!(opened.iter().all(|(_, count)| *count >= 3), "{opened:?}");
    });
}
