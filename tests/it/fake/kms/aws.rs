//! AWS KMS and the STS beside it. A blob is the version, then `crypto::wrap` bound to the encryption context.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom::cloud::platform::Variables;
use strongroom::cloud::platform::aws::Chain;
use strongroom::crypto;
use strongroom::kms::{Aws, Kms};

use super::{Service, State, Told, Trouble, asked_of, client, material};
use crate::fake::{Answer, Asked, World, platform, sigv4};

pub const REGION: &str = "eu-central-1";
pub const ARN: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab";
pub const HOST: &str = "kms.eu-central-1.amazonaws.com";
pub const ID: &str = "AKIAY34FZKBOKMUTVV7A";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub const ROLE: &str = "arn:aws:iam::123456789012:role/strongroom";
pub const WEB_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdHJvbmdyb29tIn0.c2lnbmVk";
pub const SESSION_ID: &str = "ASIAY34FZKBOKMUTVV7A";
pub const SESSION_SECRET: &str = "c2Vzc2lvbiBzZWNyZXQgb2YgZm9ydHkgbGV0dGVycyE";
pub const SESSION_TOKEN: &str = "FwoGZXIvYXdzEXAMPLE";

pub struct Amazon {
    pub world: World,
    told: Arc<Mutex<Told>>,
}

impl Amazon {
    pub fn start() -> Self {
        let told = Told::new();
        let own = Arc::clone(&told);
        let world = World::start(move |asked| match asked.host.as_str() {
            HOST => {
                let told = own.lock().unwrap();
                told.answer(|| kms(&told, asked))
            }
            "sts.eu-central-1.amazonaws.com" => sts(asked),
            _ => Answer::status(404),
        });
        Self { world, told }
    }

    pub fn key_by(&self, arn: &str, variables: Arc<Variables>) -> Aws {
        let chain = Arc::new(Chain::new(variables, client(&self.world), platform::none()));
        Aws::new(arn.to_owned(), REGION, client(&self.world), chain).unwrap()
    }
}

/// Of a user.
pub fn fixed() -> Arc<Variables> {
    let pairs = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    Arc::new(Variables::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}

impl Service for Amazon {
    fn key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(ARN, fixed()))
    }

    fn other_key(&self) -> Arc<dyn Kms> {
        Arc::new(self.key_by(OTHER, fixed()))
    }

    fn rotate(&self) {
        self.told.lock().unwrap().rotate();
    }

    /// Key material has no state of its own.
    fn set(&self, _: &str, state: State) {
        self.told.lock().unwrap().versions.fill(state);
    }

    fn trouble(&self, trouble: Trouble) {
        self.told.lock().unwrap().trouble = trouble;
    }

    fn calls(&self) -> usize {
        asked_of(&self.world, HOST).len()
    }
}

/// As ECS, EKS and the machine's metadata write a session.
pub fn session(expires: &str) -> Value {
    json!({"Code": "Success", "AccessKeyId": SESSION_ID, "SecretAccessKey": SESSION_SECRET, "Token": SESSION_TOKEN, "Expiration": expires})
}

fn kms(told: &Told, asked: &Asked) -> Answer {
    let operation = asked.header("x-amz-target").strip_prefix("TrentService.").unwrap_or_default().to_owned();
    if let Err(refused) = known(asked) {
        return refused;
    }
    if asked.header("content-type") != "application/x-amz-json-1.1" || asked.path != "/" || asked.method != "POST" {
        return fails(400, "UnknownOperationException", "");
    }
    let body: Value = serde_json::from_slice(&asked.body).expect("JSON");
    let arn = body["KeyId"].as_str().unwrap_or_default();
    match told.trouble {
        Trouble::Throttled => return fails(400, "ThrottlingException", "Rate exceeded"),
        Trouble::Forbidden => {
            let message = format!(
                "User: {ROLE} is not authorized to perform: kms:{operation} on resource: {arn} because no \
                 identity-based policy allows the kms:{operation} action"
            );
            return fails(400, "AccessDeniedException", &message);
        }
        Trouble::Expired => {
            return fails(400, "ExpiredTokenException", "The security token included in the request is expired");
        }
        Trouble::WrongPurpose => return fails(400, "InvalidKeyUsageException", ""),
        Trouble::Missing => return fails(400, "NotFoundException", "Key does not exist"),
        _ => {}
    }
    if ![ARN, OTHER].contains(&arn) {
        return fails(400, "NotFoundException", "Key does not exist");
    }
    match told.versions[told.newest() - 1] {
        State::Enabled => {}
        State::Disabled => return fails(400, "DisabledException", &format!("{arn} is disabled.")),
        State::Destroyed => return fails(400, "KMSInvalidStateException", &format!("{arn} is pending deletion.")),
    }
    // Sorted, as serde_json's map is.
    let bound = body["EncryptionContext"].to_string();
    let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap_or_default()).unwrap_or_default();
    match operation.as_str() {
        "Encrypt" => {
            let newest = told.newest();
            let key = material(arn, newest);
            let sealed = crypto::wrap(&key, crypto::random().unwrap(), bound.as_bytes(), &bytes("Plaintext")).unwrap();
            // The whole ARN is inside what AWS writes; its last letters tell them apart here.
            let blob = [&(newest as u32).to_be_bytes(), &arn.as_bytes()[arn.len() - 4..], sealed.as_slice()].concat();
            let blob = STANDARD.encode(told.carried(blob));
            json_1_1(200, &json!({"CiphertextBlob": blob, "KeyId": arn, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}))
        }
        "Decrypt" => {
            let blob = bytes("CiphertextBlob");
            let Some((head, sealed)) = blob.split_first_chunk::<8>() else {
                return fails(400, "InvalidCiphertextException", "");
            };
            let (version, of) = head.split_at(4);
            let known = [ARN, OTHER].into_iter().find(|known| known.ends_with(std::str::from_utf8(of).unwrap_or("-")));
            if known.is_some_and(|known| known != arn) {
                return fails(400, "IncorrectKeyException", "The key ID in the request does not identify a CMK that …");
            }
            let version = u32::from_be_bytes(version.try_into().unwrap()) as usize;
            let fine = known.is_some() && (1..=told.newest()).contains(&version);
            let opened = crypto::unwrap(&material(arn, version), bound.as_bytes(), sealed).ok().filter(|_| fine);
            let Some(plaintext) = opened else { return fails(400, "InvalidCiphertextException", "") };
            let answer = json!({
                "Plaintext": STANDARD.encode(plaintext.as_ref() as &[u8]),
                "KeyId": arn,
                "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "KeyMaterialId": format!("{version:064x}"),
            });
            json_1_1(200, &answer)
        }
        _ => fails(400, "UnknownOperationException", ""),
    }
}

fn known(asked: &Asked) -> Result<(), Answer> {
    let token = asked.header("x-amz-security-token");
    let (id, secret) = if token.is_empty() { (ID, SECRET) } else { (SESSION_ID, SESSION_SECRET) };
    if !(token.is_empty() || token == SESSION_TOKEN) || !asked.header("authorization").contains(id) {
        return Err(fails(
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ));
    }
    sigv4::judge(asked, id, secret, REGION, "kms").map_err(|_| fails(400, "InvalidSignatureException", "The request …"))
}

fn sts(asked: &Asked) -> Answer {
    let form: std::collections::BTreeMap<_, _> = asked.form().into_iter().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    assert_eq!(asked.header("authorization"), "", "it is unsigned");
    if (field("Action"), field("Version")) != ("AssumeRoleWithWebIdentity", "2011-06-15") {
        return Answer::status(400);
    }
    if field("RoleArn") != ROLE || field("RoleSessionName").is_empty() {
        return sts_fails(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    }
    match field("WebIdentityToken") {
        WEB_TOKEN => Answer::xml(
            200,
            &format!(
                "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{SESSION_ID}</AccessKeyId>\
                 <SecretAccessKey>{SESSION_SECRET}</SecretAccessKey><SessionToken>{SESSION_TOKEN}</SessionToken>\
                 <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>"
            ),
        ),
        "ended" => sts_fails(400, "ExpiredTokenException", "Token expired"),
        "unverified" => {
            sts_fails(400, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider")
        }
        _ => sts_fails(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account"),
    }
}

fn sts_fails(status: u16, code: &str, message: &str) -> Answer {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    Answer::xml(
        status,
        &format!("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{error}</ErrorResponse>"),
    )
}

fn fails(status: u16, kind: &str, message: &str) -> Answer {
    json_1_1(status, &json!({"__type": kind, "message": message}))
}

fn json_1_1(status: u16, body: &Value) -> Answer {
    let Answer::Reply { status, body, .. } = Answer::json(status, body) else { unreachable!() };
    Answer::Reply { status, headers: vec![("content-type".into(), "application/x-amz-json-1.1".into())], body }
}
