//! Google's KMS over REST (`cloudkms.googleapis.com`, v1): `:encrypt` and `:decrypt` of symmetric keys, with additional
//! authenticated data, checksums both ways, versions and their states, and errors as Google words them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use google_cloud_auth::credentials::service_account;
use serde_json::{Value, json};
use strongroom::kms::gcp::{self, Gcp};
use strongroom::kms::{KeyUri, Kms};

use super::super::serve::{self, Running};
use super::super::{Answer, Asked};
use super::{Service, State, Trouble};

const RING: &str = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys";
const ACCOUNT: &str = "strongroom@p.iam.gserviceaccount.com";

pub struct Google {
    pub address: SocketAddr,
    state: Arc<Mutex<Keys>>,
    _running: Running,
}

struct Keys {
    /// By the key's name, then by the number.
    versions: BTreeMap<String, BTreeMap<u32, State>>,
    trouble: Trouble,
    wrong: Wrong,
    asked: Vec<Asked>,
}

/// Lies that only a checksum finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wrong {
    #[default]
    Nothing,
    /// A byte of what came in was altered, and it noticed.
    Received,
    /// It does not say whether what came in was what was sent.
    Unconfirmed,
    /// A byte of what goes out is altered, and its checksum is not.
    Sent,
    /// There is no checksum of what goes out.
    Unsummed,
    /// Another version's name, or one that is none.
    Name(&'static str),
    /// A redirect to another path.
    Redirect,
}

impl Google {
    pub fn start() -> Self {
        let versions = [("k", 1), ("k2", 1)];
        let versions = versions.map(|(key, version)| (key.to_owned(), BTreeMap::from([(version, State::Enabled)])));
        let keys =
            Keys { versions: versions.into(), trouble: Trouble::Nothing, wrong: Wrong::Nothing, asked: Vec::new() };
        let state = Arc::new(Mutex::new(keys));
        let heard = Arc::clone(&state);
        let (address, running) = serve::start(None, move |asked| heard.lock().unwrap().hear(asked));
        Self { address, state, _running: running }
    }

    pub fn wrong(&self, wrong: Wrong) {
        self.state.lock().unwrap().wrong = wrong;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub fn uri(&self) -> String {
        format!("gcp-kms://{RING}/k")
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A file for `GOOGLE_APPLICATION_CREDENTIALS`.
    pub fn credentials(directory: &Path) -> std::path::PathBuf {
        let file = directory.join("google.json");
        std::fs::write(&file, account().to_string()).unwrap();
        file
    }

    fn adapter(&self, key: &str) -> Arc<dyn Kms> {
        let uri: KeyUri = format!("gcp-kms://{RING}/{key}").parse().unwrap();
        // Google's credentials ask the process for its TLS as soon as they are made, as the adapter's own chain sees to.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let credentials = service_account::Builder::new(account()).build().unwrap();
        let endpoint = self.endpoint();
        // The suite's cases may run on a runtime already.
        let made = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(gcp::client(Some(&endpoint), credentials)).unwrap()
        });
        Arc::new(Gcp::new(&uri, made.join().unwrap()).unwrap())
    }
}

/// A service account's key: the client signs its tokens itself, and asks nobody.
fn account() -> Value {
    json!({
        "type": "service_account", "project_id": "p", "client_email": ACCOUNT, "client_id": "1",
        "private_key_id": "kid", "private_key": include_str!("../../cloud/keys/plain.pem"),
        "token_uri": "http://127.0.0.1:9/token", "universe_domain": "googleapis.com",
    })
}

impl Service for Google {
    fn key(&self) -> Arc<dyn Kms> {
        self.adapter("k")
    }

    fn other_key(&self) -> Arc<dyn Kms> {
        self.adapter("k2")
    }

    fn rotate(&self) {
        let mut state = self.state.lock().unwrap();
        let versions = state.versions.get_mut("k").unwrap();
        let next = versions.len() as u32 + 1;
        versions.insert(next, State::Enabled);
    }

    fn set(&self, version: &str, state: State) {
        self.state.lock().unwrap().versions.get_mut("k").unwrap().insert(version.parse().unwrap(), state);
    }

    fn trouble(&self, trouble: Trouble) {
        self.state.lock().unwrap().trouble = trouble;
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }
}

/// An error as it goes out: code, status, message, details.
type Refusal = (u16, &'static str, String, Value);

impl Keys {
    fn hear(&mut self, asked: Asked) -> Answer {
        self.asked.push(asked.clone());
        let trouble = self.trouble.clone();
        let refuse = |code, status, message: &str| failed((code, status, message.to_owned(), json!([])));
        let answer = match trouble {
            Trouble::Throttled => {
                refuse(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Cryptographic requests'")
            }
            Trouble::Broken => refuse(503, "UNAVAILABLE", "The service is currently unavailable."),
            Trouble::Gone => Answer::Cut,
            Trouble::Silent => Answer::Hang,
            Trouble::Foreign => Answer::text(200, "<html>Sign in to the network</html>"),
            Trouble::Expired => refuse(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                 valid authentication credential.",
            ),
            _ => self.say(&asked),
        };
        let answer = match (trouble, answer) {
            (Trouble::Slow(pause), answer) => Answer::Late(pause, Box::new(answer)),
            (Trouble::Truncated, Answer::Reply { body, .. }) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                Answer::Raw([head.as_bytes(), &body[..body.len() / 2]].concat())
            }
            (_, answer) => answer,
        };
        match answer {
            // Each connection is for one request, and the client's pool is told.
            reply @ Answer::Reply { .. } => reply.header("connection", "close"),
            answer => answer,
        }
    }

    fn say(&self, asked: &Asked) -> Answer {
        if self.wrong == Wrong::Redirect {
            return Answer::status(307).header("location", "/elsewhere");
        }
        match self.answer(asked) {
            Ok(answer) => Answer::json(200, &answer),
            Err(refusal) => failed(refusal),
        }
    }

    fn answer(&self, asked: &Asked) -> Result<Value, Refusal> {
        assert_eq!(asked.method, "POST");
        if caller(asked.header("authorization")).as_deref() != Some(ACCOUNT) {
            return Err((
                401,
                "UNAUTHENTICATED",
                "Request is missing required authentication credential.".into(),
                json!([]),
            ));
        }
        let path = asked.path.strip_prefix("/v1/").unwrap().split('?').next().unwrap();
        let (name, verb) = path.rsplit_once(':').unwrap();
        let encrypts = match verb {
            "encrypt" => true,
            "decrypt" => false,
            other => panic!("{other}"),
        };
        self.may(name, if encrypts { "useToEncrypt" } else { "useToDecrypt" })?;
        let key = name.strip_prefix(RING).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        let Some(versions) = self.versions.get(key).filter(|_| self.trouble != Trouble::Missing) else {
            return Err((404, "NOT_FOUND", format!("CryptoKey {name} not found."), json!([])));
        };
        if self.trouble == Trouble::WrongPurpose {
            let message = format!("{name} has purpose ASYMMETRIC_SIGN, which does not support this operation.");
            return Err((400, "FAILED_PRECONDITION", message, json!([])));
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let given = ["plaintext", "ciphertext", "additionalAuthenticatedData"];
        let sums = given.map(|field| format!("{field}Crc32c"));
        for field in body.as_object().unwrap().keys() {
            assert!(given.contains(&field.as_str()) || sums.contains(field), "unknown field {field}");
        }
        let bytes = |field: &str| BASE64_STANDARD.decode(body[field].as_str().unwrap_or_default()).unwrap();
        for field in given.into_iter().filter(|field| !body[*field].is_null()) {
            let sum = body[format!("{field}Crc32c")].as_str().expect("a checksum of everything that is sent");
            if crc32c(&bytes(field)).to_string() != sum || self.wrong == Wrong::Received {
                let message = format!("The checksum in field {field}_crc32c did not match the data in field {field}.");
                return Err((400, "INVALID_ARGUMENT", message, json!([])));
            }
        }
        let bound = bytes("additionalAuthenticatedData");
        if encrypts {
            self.encrypt(name, versions, &bytes("plaintext"), &bound)
        } else {
            self.decrypt(name, versions, &bytes("ciphertext"), &bound)
        }
    }

    fn encrypt(
        &self,
        name: &str,
        versions: &BTreeMap<u32, State>,
        plain: &[u8],
        bound: &[u8],
    ) -> Result<Value, Refusal> {
        let (number, state) = versions.last_key_value().unwrap();
        enabled(name, *number, *state)?;
        let nonce: [u8; 12] = strongroom::crypto::random().unwrap();
        let sealed = cipher(name, *number).encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: bound }).unwrap();
        let mut ciphertext = [&number.to_be_bytes()[..], &nonce, &sealed].concat();
        let sum = crc32c(&ciphertext).to_string();
        let confirmed = self.wrong != Wrong::Unconfirmed;
        if self.wrong == Wrong::Sent || self.trouble == Trouble::Corrupted {
            ciphertext[20] ^= 1;
        }
        let version = match self.wrong {
            Wrong::Name(name) => name.to_owned(),
            _ => format!("{name}/cryptoKeyVersions/{number}"),
        };
        let mut answer = json!({
            "name": version, "ciphertext": BASE64_STANDARD.encode(&ciphertext), "ciphertextCrc32c": sum,
            "verifiedPlaintextCrc32c": confirmed, "verifiedAdditionalAuthenticatedDataCrc32c": confirmed,
            "protectionLevel": "SOFTWARE",
        });
        if self.wrong == Wrong::Unsummed {
            answer.as_object_mut().unwrap().remove("ciphertextCrc32c");
        }
        Ok(answer)
    }

    fn decrypt(
        &self,
        name: &str,
        versions: &BTreeMap<u32, State>,
        sealed: &[u8],
        bound: &[u8],
    ) -> Result<Value, Refusal> {
        let undone = |why: &str| (400, "INVALID_ARGUMENT", format!("Decryption failed: {why}"), json!([]));
        let foreign = || undone("verify that 'name' refers to the correct CryptoKey.");
        let number = sealed.first_chunk().map(|number| u32::from_be_bytes(*number)).ok_or_else(foreign)?;
        let state = versions.get(&number).ok_or_else(foreign)?;
        enabled(name, number, *state)?;
        let nonce: [u8; 12] = sealed.get(4..16).ok_or_else(foreign)?.try_into().unwrap();
        let opened = cipher(name, number).decrypt(&Nonce::from(nonce), Payload { msg: &sealed[16..], aad: bound });
        let mut plain = opened.map_err(|_| undone("the ciphertext is invalid."))?;
        let sum = crc32c(&plain).to_string();
        if self.wrong == Wrong::Sent {
            plain[7] ^= 1;
        }
        let mut answer = json!({
            "plaintext": BASE64_STANDARD.encode(&plain), "plaintextCrc32c": sum,
            "usedPrimary": versions.last_key_value().unwrap().0 == &number, "protectionLevel": "SOFTWARE",
        });
        if self.wrong == Wrong::Unsummed {
            answer.as_object_mut().unwrap().remove("plaintextCrc32c");
        }
        Ok(answer)
    }

    fn may(&self, name: &str, what: &str) -> Result<(), Refusal> {
        if self.trouble != Trouble::Forbidden {
            return Ok(());
        }
        let permission = format!("cloudkms.cryptoKeyVersions.{what}");
        let message = format!("Permission '{permission}' denied on resource '{name}' (or it may not exist).");
        let details = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
            "domain": "cloudkms.googleapis.com", "metadata": {"permission": permission, "resource": name},
        }]);
        Err((403, "PERMISSION_DENIED", message, details))
    }
}

fn failed((code, status, message, details): Refusal) -> Answer {
    Answer::json(code, &json!({"error": {"code": code, "message": message, "status": status, "details": details}}))
}

fn enabled(name: &str, number: u32, state: State) -> Result<(), Refusal> {
    let state = match state {
        State::Enabled => return Ok(()),
        State::Disabled => "DISABLED",
        State::Destroyed => "DESTROYED",
    };
    let message = format!("{name}/cryptoKeyVersions/{number} is not enabled, current state is: {state}.");
    let details = json!([{
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [{"type": format!("KEY_{state}"), "subject": format!("{name}/cryptoKeyVersions/{number}")}],
    }]);
    Err((400, "FAILED_PRECONDITION", message, details))
}

/// Whose token it is, if it holds now. That a signature is right, the peers tell.
fn caller(authorization: &str) -> Option<String> {
    let token = authorization.strip_prefix("Bearer ")?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let holds =
        Duration::from_secs(claims["exp"].as_u64()?) > now && claims["scope"].as_str()?.contains("cloud-platform");
    claims["iss"].as_str().filter(|_| holds).map(str::to_owned)
}

fn cipher(name: &str, number: u32) -> Aes256Gcm {
    let mut key = [0; 32];
    let seed = format!("{number} {name}");
    key.iter_mut().zip(seed.bytes().rev().cycle()).for_each(|(byte, seed)| *byte = seed);
    key[0] = number as u8;
    Aes256Gcm::new(&key.into())
}

/// By a table, unlike ours.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| (0..8).fold(byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }))
        .collect();
    !bytes.iter().fold(!0, |crc: u32, byte| table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}
