//! `aws-kms://ARN`: a symmetric key of AWS KMS, with `Context::parts` as its encryption context. CloudTrail shows that
//! context to whoever may read the account's trail: names of orgs and credentials, and no secret.
//!
//! Encrypt says neither which key material it took nor a checksum of what it answers; Decrypt names the material. So a
//! wrap is opened before it counts, at the price of a second call for each new data key.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Cause, Context, Error, Kms, Wrapped, outbound, same, unsound};
use crate::cloud::aws::{Keys, host, sign};
use crate::cloud::platform::Lease;
use crate::cloud::platform::aws::{Chain, Session};
use crate::crypto::Dek;
use crate::http::{Client, Hosts, Request, Response};

/// Where AWS names no key material: keys of external stores, and before 2025.
const UNNAMED: &str = "unnamed";

pub struct Aws {
    uri: String,
    arn: String,
    region: String,
    host: String,
    hosts: Hosts,
    client: Client,
    chain: Arc<Chain>,
}

impl Aws {
    /// For `aws-kms://arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, taken apart. The error says what is wrong with the region.
    pub fn new(arn: String, region: &str, client: Client, chain: Arc<Chain>) -> Result<Self, String> {
        let host = host("kms", region);
        let hosts = Hosts::new(vec![host.clone()])?;
        Ok(Self { uri: format!("aws-kms://{arn}"), arn, region: region.to_owned(), host, hosts, client, chain })
    }

    async fn encrypt(&self, dek: &Dek, context: &Context) -> Result<Vec<u8>, Cause> {
        let plaintext = Zeroizing::new(STANDARD.encode(dek.expose()));
        let body = json!({"KeyId": self.arn, "Plaintext": *plaintext, "EncryptionContext": pairs(context)});
        let answer: Encrypted = self.ask("Encrypt", body).await?;
        self.is_ours(&answer.key_id)?;
        STANDARD.decode(answer.ciphertext_blob).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(unreadable)
    }

    async fn decrypt(&self, bytes: &[u8], context: &Context) -> Result<(Dek, Option<String>), Cause> {
        let blob = STANDARD.encode(bytes);
        let body = json!({"KeyId": self.arn, "CiphertextBlob": blob, "EncryptionContext": pairs(context)});
        let answer: Decrypted = self.ask("Decrypt", body).await?;
        self.is_ours(&answer.key_id)?;
        let plaintext = Zeroizing::new(answer.plaintext);
        let plaintext = Zeroizing::new(STANDARD.decode(&*plaintext).map_err(|_| unreadable())?);
        let dek = plaintext.as_slice().try_into().map_err(|_| Cause::Mismatch)?;
        Ok((Dek::new(dek), answer.key_material_id))
    }

    async fn ask<A: for<'a> Deserialize<'a>>(&self, operation: &'static str, body: Value) -> Result<A, Cause> {
        const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
        let session = self.chain.session(&self.region).await?;
        let target = HeaderValue::from_str(&format!("TrentService.{operation}")).map_err(|_| unreadable())?;
        let kind = HeaderValue::from_static("application/x-amz-json-1.1");
        let mut request = Request {
            method: Method::POST,
            url: format!("https://{}/", self.host).parse().map_err(|_| Cause::Refused("no such region".into()))?,
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, kind), (TARGET, target)]),
            body: Zeroizing::new(body.to_string().into_bytes()),
        };
        let keys = Keys {
            access_key_id: &session.value.access_key_id,
            secret_access_key: session.value.secret_access_key.expose_text().unwrap_or_default(),
            session_token: session.value.session_token.as_ref().and_then(|token| token.expose_text()),
        };
        sign(&mut request, &keys, "kms", &self.region, SystemTime::now())
            .map_err(|cause| Cause::Refused(cause.to_string()))?;
        let answer = self.client.send(request, &self.hosts).await.map_err(|error| outbound(&error))?;
        if answer.status != StatusCode::OK {
            return Err(self.fails(operation, &answer, &session));
        }
        serde_json::from_slice(&answer.body).map_err(|_| unreadable())
    }

    fn is_ours(&self, key: &str) -> Result<(), Cause> {
        if key == self.arn { Ok(()) } else { Err(Cause::Unavailable("AWS KMS answers for another key".into())) }
    }

    fn fails(&self, operation: &str, answer: &Response, session: &Lease<Session>) -> Cause {
        let said: Fault = serde_json::from_slice(&answer.body).unwrap_or_default();
        // `com.amazonaws.kms#DisabledException`, or without what is before the `#`.
        let code = said.code.rsplit('#').next().unwrap_or_default();
        let (arn, region, status) = (&self.arn, &self.region, answer.status.as_u16());
        let refused = |why: String| Cause::Refused(why);
        let later = |why: &str| Cause::Unavailable(format!("AWS KMS answers {status} ({why})"));
        match code {
            "AccessDeniedException" => refused(format!(
                "{} has no permission: allow kms:Encrypt and kms:Decrypt on {arn}, in the key's policy and in the role's; \
                 kms:{operation} was denied",
                caller(&said.message)
            )),
            "NotFoundException" => refused(format!("there is no such key in its account in {region}")),
            "DisabledException" => refused("the key is disabled: enable it".into()),
            "KMSInvalidStateException" => refused(state(&said.message).into()),
            "InvalidKeyUsageException" => refused(
                "the key is not made for this: KeyUsage ENCRYPT_DECRYPT and KeySpec SYMMETRIC_DEFAULT are needed"
                    .into(),
            ),
            "InvalidCiphertextException" | "IncorrectKeyException" => Cause::Mismatch,
            "ExpiredTokenException" | "ExpiredToken" if session.value.is_renewed() => {
                self.chain.forget(session);
                later("the session has ended; a new one is fetched")
            }
            "ExpiredTokenException" | "ExpiredToken" => {
                // Somebody may have written another one into the shared files.
                self.chain.forget(session);
                refused(format!("the session token in {} has ended", session.value.source))
            }
            "UnrecognizedClientException" | "InvalidClientTokenId" | "MissingAuthenticationTokenException" => {
                self.chain.forget(session);
                refused(format!("AWS does not take the access key from {}", session.value.source))
            }
            "InvalidSignatureException" | "SignatureDoesNotMatch" => {
                let clock = ["Signature expired", "not yet current"].iter().any(|text| said.message.contains(text));
                self.chain.forget(session);
                refused(if clock {
                    "the clock of this machine is wrong: AWS takes five minutes at most".into()
                } else {
                    format!("the secret access key from {} is not the one that belongs to its id", session.value.source)
                })
            }
            "ThrottlingException"
            | "Throttling"
            | "LimitExceededException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded" => later("throttled"),
            "KeyUnavailableException" => later("the key is not available"),
            "DependencyTimeoutException" | "KMSInternalException" => later("a fault of its own"),
            _ if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS => later("busy"),
            _ => refused(format!("AWS KMS answers {status}, which is not expected here")),
        }
    }
}

#[async_trait]
impl Kms for Aws {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        let wrapped = async {
            let bytes = self.encrypt(dek, context).await?;
            match self.decrypt(&bytes, context).await {
                Ok((opened, material)) if same(&opened, dek) => Ok((bytes, material)),
                Ok(_) | Err(Cause::Mismatch) => Err(unsound()),
                Err(cause) => Err(cause),
            }
        };
        let (bytes, material) = wrapped.await.map_err(|cause: Cause| cause.of(&self.uri))?;
        let key_version = material.filter(|id| is_id(id)).unwrap_or_else(|| UNNAMED.to_owned());
        Ok(Wrapped { key: self.uri.clone(), key_version, bytes })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        if wrapped.key != self.uri || wrapped.bytes.is_empty() {
            return Err(Cause::Mismatch.of(&self.uri));
        }
        self.decrypt(&wrapped.bytes, context).await.map(|(dek, _)| dek).map_err(|cause| cause.of(&self.uri))
    }
}

fn pairs(context: &Context) -> Map<String, Value> {
    context.parts().map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

fn unreadable() -> Cause {
    Cause::Unavailable("AWS KMS answers not as documented".into())
}

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Of `User: ARN is not authorized to perform: …`, for the operator to know whom to allow. Nothing else is repeated.
fn caller(message: &str) -> &str {
    let arn = message.strip_prefix("User: ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let plain = arn.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/+=,.@_-".contains(&byte));
    if arn.starts_with("arn:") && arn.len() <= 2048 && plain { arn } else { "strongroom's identity" }
}

fn state(message: &str) -> &'static str {
    if message.contains("pending deletion") {
        "the key is scheduled for deletion: cancel that with kms:CancelKeyDeletion, then enable the key"
    } else if message.contains("pending import") {
        "the key has no material: import it"
    } else {
        "the key is in a state in which it does not work: see KeyState in kms:DescribeKey"
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: String,
    key_id: String,
    key_material_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct Fault {
    #[serde(default, rename = "__type", alias = "code")]
    code: String,
    #[serde(default, alias = "Message")]
    message: String,
}
