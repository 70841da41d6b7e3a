//! Azure Key Vault with real RSA keys, and the Entra ID that gives the tokens it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use strongroom::cloud::platform::Variables;
use strongroom::cloud::platform::azure::Chain;
use strongroom::kms::{Azure, Kms};

use super::{Service, State, Told, Trouble, asked_of, client};
use crate::fake::{Answer, Asked, World, platform};

pub const HOST: &str = "contoso.vault.azure.net";
pub const KEY: &str = "strongroom";
const OTHER: &str = "other";
pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "66666666-7777-8888-9999-000000000000";
pub const SECRET: &str = "abc8Q~0123456789012345678901234567890123";
pub const FEDERATED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdHJvbmdyb29tIn0.c2lnbmVk";
pub const TOKEN: &str = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJodHRwczovL3ZhdWx0LmF6dXJlLm5ldCJ9.c2lnbmVk";
pub const SCOPE: &str = "https://vault.azure.net/.default";

pub struct Vault {
    pub world: World,
    held: Arc<Mutex<Held>>,
}

struct Held {
    told: Told,
    size: KeySize,
    keys: BTreeMap<String, PrivateDecryptingKey>,
    /// What was last unwrapped, as it was inside.
    inside: Vec<u8>,
}

impl Vault {
    pub fn start() -> Self {
        Self::with(KeySize::Rsa2048)
    }

    /// With a version of `k` that it has had before, as PKCS #8.
    pub fn with_kept(number: usize, key: &[u8]) -> Self {
        let vault = Self::start();
        let mut held = vault.held.lock().unwrap();
        while held.told.newest() < number {
            held.told.rotate();
        }
        held.keys.insert(kid(KEY, number), PrivateDecryptingKey::from_pkcs8(key).unwrap());
        drop(held);
        vault
    }

    pub fn with(size: KeySize) -> Self {
        let told = Told { versions: vec![State::Enabled], trouble: Trouble::Nothing };
        let mut held = Held { told, size, keys: BTreeMap::new(), inside: Vec::new() };
        // Long to make: before anybody waits for it.
        held.private(&kid(KEY, 1));
        let held = Arc::new(Mutex::new(held));
        let own = Arc::clone(&held);
        let world = World::start(move |asked| match asked.host.as_str() {
            HOST => {
                let mut held = own.lock().unwrap();
                let answer = held.answer(asked);
                held.told.answer(|| answer)
            }
            "login.microsoftonline.com" => entra(asked),
            _ => Answer::status(404),
        });
        Self { world, held }
    }

    pub fn key_by(&self, key: &str, variables: Arc<Variables>) -> Azure {
        let chain = Arc::new(Chain::new(variables, client(&self.world), platform::none()));
        Azure::new("contoso", key, client(&self.world), chain).unwrap()
    }

    pub fn inside(&self) -> Vec<u8> {
        self.held.lock().unwrap().inside.clone()
    }
}

/// Of an application with a secret.
pub fn application() -> Arc<Variables> {
    let pairs = [("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)];
    Arc::new(Variables::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}

impl Service for Vault {
    fn key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(KEY, application()))
    }

    fn other_key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(OTHER, application()))
    }

    fn rotate(&self) {
        let mut held = self.held.lock().unwrap();
        held.told.rotate();
        let newest = kid(KEY, held.told.newest());
        held.private(&newest);
    }

    fn set(&self, version: &str, state: State) {
        let number = usize::from_str_radix(version, 16).unwrap();
        self.held.lock().unwrap().told.versions[number - 1] = state;
    }

    fn trouble(&self, trouble: Trouble) {
        self.held.lock().unwrap().told.trouble = trouble;
    }

    fn calls(&self) -> usize {
        asked_of(&self.world, HOST).len()
    }
}

/// As the services print it: 32 hex digits.
pub fn version(number: usize) -> String {
    format!("{number:032x}")
}

fn kid(name: &str, number: usize) -> String {
    format!("https://{HOST}/keys/{name}/{}", version(number))
}

impl Held {
    fn answer(&mut self, asked: &Asked) -> Answer {
        match self.told.trouble {
            Trouble::Expired => return fails(401, "Unauthorized", "", "AKV10032: Invalid issuer."),
            Trouble::Throttled => return fails(429, "TooManyRequests", "", "").header("retry-after", "1"),
            Trouble::Forbidden => {
                let why = "Caller is not authorized to perform action on resource.";
                return fails(403, "Forbidden", "ForbiddenByRbac", why);
            }
            Trouble::WrongPurpose => {
                let why = "Key and signing algorithm are incompatible. Key is of type EC.";
                return fails(400, "BadParameter", "", why);
            }
            _ => {}
        }
        if asked.header("authorization") != format!("Bearer {TOKEN}") {
            return fails(401, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.");
        }
        let Some((path, "api-version=7.4")) = asked.path.split_once('?') else {
            return fails(400, "BadParameter", "", "api-version must be specified");
        };
        let mut parts: Vec<&str> = path.split('/').skip(1).collect();
        let operation = parts.pop().unwrap_or_default();
        let known = |wanted: &str| (1..=self.told.newest()).find(|number| version(*number) == wanted);
        let found = match parts[..] {
            ["keys", key @ KEY] => Some((key, self.told.newest())),
            ["keys", key @ KEY, wanted] => known(wanted).map(|number| (key, number)),
            // This one's versions are its own.
            ["keys", key @ OTHER] => Some((key, 1)),
            _ => None,
        };
        let missing = || fails(404, "KeyNotFound", "", "A key with (name/id) was not found in this key vault.");
        let Some((name, number)) = found.filter(|_| self.told.trouble != Trouble::Missing) else { return missing() };
        match self.told.versions[number - 1] {
            State::Enabled => {}
            State::Disabled => {
                return fails(403, "Forbidden", "KeyDisabled", "Operation is not allowed on a disabled key.");
            }
            State::Destroyed => return missing(),
        }
        let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
        assert_eq!(body["alg"], "RSA-OAEP-256");
        let value = URL_SAFE_NO_PAD.decode(body["value"].as_str().expect("a text")).expect("base64url");
        let kid = kid(name, number);
        let done = match operation {
            "wrapkey" => Some(self.wrap(&kid, &value)),
            "unwrapkey" => self.unwrap(&kid, &value),
            _ => return fails(404, "NotFound", "", ""),
        };
        match done {
            Some(done) => Answer::json(200, &json!({"kid": kid, "value": URL_SAFE_NO_PAD.encode(done)})),
            None => fails(400, "BadParameter", "", "The parameter is incorrect."),
        }
    }

    fn wrap(&mut self, kid: &str, value: &[u8]) -> Vec<u8> {
        let key = OaepPublicEncryptingKey::new(self.private(kid).public_key()).unwrap();
        let mut wrapped = vec![0; key.ciphertext_size()];
        self.told.carried(key.encrypt(&OAEP_SHA256_MGF1SHA256, value, &mut wrapped, None).unwrap().to_vec())
    }

    fn private(&mut self, kid: &str) -> &PrivateDecryptingKey {
        let size = self.size;
        self.keys.entry(kid.to_owned()).or_insert_with(|| PrivateDecryptingKey::generate(size).unwrap())
    }

    fn unwrap(&mut self, kid: &str, value: &[u8]) -> Option<Vec<u8>> {
        let key = OaepPrivateDecryptingKey::new(self.keys.get(kid)?.clone()).unwrap();
        let mut opened = vec![0; key.min_output_size()];
        let opened = key.decrypt(&OAEP_SHA256_MGF1SHA256, value, &mut opened, None).ok()?.to_vec();
        self.inside.clone_from(&opened);
        Some(opened)
    }
}

fn entra(asked: &Asked) -> Answer {
    let form: BTreeMap<_, _> = asked.form().into_iter().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if asked.path != format!("/{TENANT}/oauth2/v2.0/token") {
        return entra_fails(90_002);
    }
    if (field("grant_type"), field("scope")) != ("client_credentials", SCOPE) {
        return entra_fails(500_011);
    }
    if field("client_id") != CLIENT {
        return entra_fails(700_016);
    }
    let jwt = field("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    match (field("client_secret"), field("client_assertion")) {
        (SECRET, "") => {}
        ("", FEDERATED) if jwt => {}
        // Of a certificate. Who signs it well is tested where connection tests are.
        ("", assertion) if jwt && assertion.starts_with("eyJ") && assertion.len() > 500 => {}
        ("", _) => return entra_fails(700_213),
        _ => return entra_fails(7_000_215),
    }
    Answer::json(
        200,
        &json!({"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": TOKEN}),
    )
}

fn entra_fails(code: u32) -> Answer {
    let words = format!("AADSTS{code}: Something {SECRET} is wrong. Trace ID: 0");
    Answer::json(400, &json!({"error": "invalid_client", "error_description": words, "error_codes": [code]}))
}

fn fails(status: u16, code: &str, inner: &str, message: &str) -> Answer {
    let mut error = json!({"code": code, "message": message});
    if !inner.is_empty() {
        error["innererror"] = json!({"code": inner});
    }
    Answer::json(status, &json!({"error": error}))
}
