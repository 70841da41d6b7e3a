//! `azure-kv://VAULT/KEY`: an RSA key of an Azure Key Vault or Managed HSM, by `wrapKey` and `unwrapKey`. These take no
//! context, so it is inside, as `bound.rs` draws it, with the limit that it tells: RSA-OAEP-256 under the version that the
//! reply's kid names.
//!
//! The services give no checksum of what they answer, so a wrap is opened before it counts.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Cause, Context, Error, Kms, Wrapped, bound, opened, outbound};
use crate::cloud::platform::Lease;
use crate::cloud::platform::azure::Chain;
use crate::crypto::{Dek, Secret};
use crate::http::{Client, Hosts, Request, Response};

/// Of what RSA keys of 2048, 3072 and 4096 bits make.
const SIZES: [usize; 3] = [256, 384, 512];
const API: &str = "7.4";

pub struct Azure {
    uri: String,
    host: String,
    key: String,
    /// What a token must be for: the vault's domain.
    resource: String,
    hosts: Hosts,
    client: Client,
    chain: Arc<Chain>,
}

impl Azure {
    /// For `azure-kv://VAULT/KEY`, taken apart. The error says what is wrong with the vault.
    pub fn new(vault: &str, key: &str, client: Client, chain: Arc<Chain>) -> Result<Self, String> {
        let host = if vault.contains('.') { vault.to_owned() } else { format!("{vault}.vault.azure.net") };
        let domain = host.split_once('.').map_or("", |(_, domain)| domain);
        Ok(Self {
            uri: format!("azure-kv://{vault}/{key}"),
            resource: format!("https://{domain}"),
            hosts: Hosts::new(vec![host.clone()])?,
            key: key.to_owned(),
            host,
            client,
            chain,
        })
    }

    /// With the value that comes back, and the version of the key that made it.
    async fn ask(&self, operation: &'static str, version: &str, value: &[u8]) -> Result<(Secret, String), Cause> {
        let token = self.chain.token(&self.resource).await?;
        let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token.value.expose()].concat())
            .map_err(|_| Cause::Unavailable("the access token cannot be sent".into()))?;
        bearer.set_sensitive(true);
        let version = if version.is_empty() { String::new() } else { format!("/{version}") };
        let url = format!("https://{}/keys/{}{version}/{operation}?api-version={API}", self.host, self.key);
        let value = Zeroizing::new(URL_SAFE_NO_PAD.encode(value));
        let request = Request {
            method: Method::POST,
            url: url.parse().map_err(|_| Cause::Refused("no such vault".into()))?,
            headers: HeaderMap::from_iter([
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::AUTHORIZATION, bearer),
            ]),
            body: Zeroizing::new(json!({"alg": "RSA-OAEP-256", "value": *value}).to_string().into_bytes()),
        };
        let answer = self.client.send(request, &self.hosts).await.map_err(|error| outbound(&error))?;
        if answer.status != StatusCode::OK {
            return Err(self.fails(operation, &answer, &token));
        }
        let said: Said = serde_json::from_slice(&answer.body).map_err(|_| unreadable())?;
        let value = Zeroizing::new(said.value);
        let value = URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).map_err(|_| unreadable())?;
        let prefix = format!("https://{}/keys/{}/", self.host, self.key);
        let version = said.kid.strip_prefix(&prefix).filter(|version| is_version(version)).ok_or_else(unreadable)?;
        Ok((Secret::from(value), version.to_owned()))
    }

    fn fails(&self, operation: &str, answer: &Response, token: &Lease<Secret>) -> Cause {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (code, inner, message) = (text("/error/code"), text("/error/innererror/code"), text("/error/message"));
        let says = |word: &str| message.to_ascii_lowercase().contains(word);
        let refused = |why: &str| Cause::Refused(why.to_owned());
        let status = answer.status.as_u16();
        match (status, inner) {
            (401, _) => {
                self.chain.forget(&self.resource, token);
                if token.is_new() {
                    let why =
                        format!("the vault does not take a token for {}: is it of another tenant?", self.resource);
                    Cause::Refused(why)
                } else {
                    Cause::Unavailable("the access token has ended; a new one is fetched".into())
                }
            }
            (403, "KeyDisabled") => refused("the key, or this version of it, is disabled: enable it"),
            (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => {
                refused("the vault's network rules keep this machine out")
            }
            (403, _) if says("disabled") => refused("the key, or this version of it, is disabled: enable it"),
            (403, _) if says("expired") || says("not yet valid") => {
                refused("the key, or this version of it, is outside its dates: change its `exp` or `nbf`")
            }
            (403, "KeyOperationForbidden") => refused(KEY_OPS),
            (403, _) if says("not permitted on this key") => refused(KEY_OPS),
            (403, _) => Cause::Refused(format!(
                "no permission for {operation}: give strongroom's identity the role Key Vault Crypto Service Encryption \
                 User on the key, or wrapKey and unwrapKey in the vault's access policy"
            )),
            (404, _) => refused("the vault has no such key, or not this version of it"),
            (409, _) => refused("the key is deleted: recover it"),
            (400, _) if says("incompatible") || says("algorithm") || says("key type") => refused(TYPE),
            (400, _) if operation == "unwrapkey" && (code == "BadParameter" || code.is_empty()) => Cause::Mismatch,
            (429, _) => Cause::Unavailable("the vault answers 429 (throttled)".into()),
            (408 | 500.., _) => Cause::Unavailable(format!("the vault answers {status}")),
            _ => Cause::Refused(format!("the vault answers {status}, which is not expected here")),
        }
    }
}

const TYPE: &str = "the key is of a type that does not wrap: an RSA key of 2048 bits or more is needed";
const KEY_OPS: &str = "the key's operations do not have wrapKey and unwrapKey: add them to its `key_ops`";

#[async_trait]
impl Kms for Azure {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        let asked = self.ask("wrapkey", "", &*bound::seal(dek, context)).await;
        let (value, key_version) = asked.map_err(|cause| cause.of(&self.uri))?;
        if !SIZES.contains(&value.len()) {
            return Err(Cause::Refused(TYPE.to_owned()).of(&self.uri));
        }
        let wrapped = Wrapped { key: self.uri.clone(), key_version, bytes: value.expose().to_vec() };
        opened(self, wrapped, dek, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        let mismatch = || Cause::Mismatch.of(&self.uri);
        if wrapped.key != self.uri || !is_version(&wrapped.key_version) || !SIZES.contains(&wrapped.bytes.len()) {
            return Err(mismatch());
        }
        let asked = self.ask("unwrapkey", &wrapped.key_version, &wrapped.bytes).await;
        let (inside, version) = asked.map_err(|cause| cause.of(&self.uri))?;
        let dek = bound::open(inside.expose(), context).ok_or_else(mismatch)?;
        match version == wrapped.key_version {
            true => Ok(dek),
            false => Err(mismatch()),
        }
    }
}

/// It becomes a part of an address.
fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn unreadable() -> Cause {
    Cause::Unavailable("the vault answers not as documented".into())
}

#[derive(Deserialize)]
struct Said {
    kid: String,
    value: String,
}
