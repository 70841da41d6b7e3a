//! The transit engine of OpenBao and Vault. A ciphertext is `crypto::wrap` bound to the associated data.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom::cloud::platform::Variables;
use strongroom::cloud::platform::transit::Chain;
use strongroom::crypto;
use strongroom::kms::{Kms, Transit};

use super::{Service, State, Told, Trouble, asked_of, client, material};
use crate::fake::{Answer, Asked, World};

pub const SERVER: &str = "bao.example.com:8200";
pub const TOKEN: &str = "s.0123456789abcdefghijklmn";
pub const KEY: &str = "strongroom";
const OTHER: &str = "other";

pub struct Bao {
    pub world: World,
    told: Arc<Mutex<Told>>,
}

impl Bao {
    pub fn start() -> Self {
        let told = Told::new();
        let own = Arc::clone(&told);
        let world = World::start(move |asked| match asked.host.as_str() {
            SERVER => {
                let told = own.lock().unwrap();
                told.answer(|| engine(&told, asked))
            }
            _ => Answer::status(404),
        });
        Self { world, told }
    }

    pub fn key_by(&self, key: &str, variables: Arc<Variables>) -> Transit {
        let place = ("bao.example.com", Some(8200));
        Transit::new(place, "team/transit", key, client(&self.world), Chain::new(variables)).unwrap()
    }
}

pub fn token() -> Arc<Variables> {
    let pairs = [("BAO_ADDR", "https://bao.example.com:8200"), ("BAO_TOKEN", TOKEN)];
    Arc::new(Variables::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}

impl Service for Bao {
    fn key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(KEY, token()))
    }

    fn other_key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(OTHER, token()))
    }

    fn rotate(&self) {
        self.told.lock().unwrap().rotate();
    }

    /// Keys are deleted, softly or for good; a version is not.
    fn set(&self, _: &str, state: State) {
        self.told.lock().unwrap().versions.fill(state);
    }

    fn trouble(&self, trouble: Trouble) {
        self.told.lock().unwrap().trouble = trouble;
    }

    fn calls(&self) -> usize {
        asked_of(&self.world, SERVER).len()
    }
}

fn engine(told: &Told, asked: &Asked) -> Answer {
    match told.trouble {
        Trouble::Throttled => return fails(429, "request path \"team/transit\": rate limit quota exceeded"),
        Trouble::Forbidden | Trouble::Expired => return fails(403, "1 error occurred:\n\t* permission denied\n\n"),
        Trouble::WrongPurpose => {
            return fails(400, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048");
        }
        Trouble::Missing => return fails(400, "encryption key not found"),
        _ => {}
    }
    if asked.header("x-vault-token") != TOKEN || asked.header("x-vault-request") != "true" {
        return fails(403, "permission denied");
    }
    let path = asked.path.strip_prefix("/v1/team/transit/").and_then(|rest| rest.split_once('/'));
    let Some((operation, name)) = path.filter(|(_, name)| [KEY, OTHER].contains(name)) else {
        return Answer::json(404, &json!({"errors": []}));
    };
    let newest = told.newest();
    match told.versions[newest - 1] {
        State::Enabled => {}
        State::Disabled => return fails(400, "key is soft-deleted"),
        State::Destroyed => return fails(400, "encryption key not found"),
    }
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap_or_default()).expect("base64");
    let bound = bytes("associated_data");
    match operation {
        "encrypt" => {
            let key = material(name, newest);
            let sealed = crypto::wrap(&key, crypto::random().unwrap(), &bound, &bytes("plaintext")).unwrap();
            let text = format!("vault:v{newest}:{}", STANDARD.encode(told.carried(sealed)));
            says(&json!({"ciphertext": text, "key_version": newest}))
        }
        "decrypt" => {
            let text = body["ciphertext"].as_str().unwrap_or_default();
            let Some((version, sealed)) = text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')) else {
                return fails(400, "invalid ciphertext: no prefix");
            };
            let version: usize = version.parse().expect("a number");
            if version > newest {
                return fails(400, "invalid ciphertext: version is too new");
            }
            let Ok(sealed) = STANDARD.decode(sealed) else {
                return fails(400, "invalid ciphertext: could not decode base64");
            };
            match crypto::unwrap(&material(name, version), &bound, &sealed) {
                Ok(opened) => says(&json!({"plaintext": STANDARD.encode(opened.as_ref() as &[u8])})),
                Err(_) => fails(400, "cipher: message authentication failed"),
            }
        }
        _ => Answer::json(404, &json!({"errors": []})),
    }
}

fn says(data: &Value) -> Answer {
    Answer::json(
        200,
        &json!({"request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data}),
    )
}

fn fails(status: u16, error: &str) -> Answer {
    Answer::json(status, &json!({"errors": [error]}))
}
