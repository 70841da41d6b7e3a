//! `transit://HOST[:PORT]/MOUNT/KEY`: the transit engine of OpenBao or Vault, with `Context::canonical` as associated data.
//! The bytes of a wrap are its text, `vault:vN:…`, and N is the key's version. It is opened before it counts.
//!
//! A token that may `create` on `MOUNT/encrypt/KEY` makes a missing key silently; `update` is what is needed.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Cause, Context, Error, Kms, Wrapped, opened, outbound};
use crate::cloud::platform::transit::Chain;
use crate::crypto::Dek;
use crate::http::{Client, Hosts, Request, Response};

pub struct Transit {
    uri: String,
    /// `HOST[:PORT]`
    server: String,
    mount: String,
    key: String,
    hosts: Hosts,
    client: Client,
    chain: Chain,
}

impl Transit {
    /// For `transit://HOST[:PORT]/MOUNT/KEY`, taken apart. The error says what is wrong with the host.
    pub fn new(
        (host, port): (&str, Option<u16>),
        mount: &str,
        key: &str,
        client: Client,
        chain: Chain,
    ) -> Result<Self, String> {
        let server = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self {
            uri: format!("transit://{server}/{mount}/{key}"),
            server,
            mount: mount.to_owned(),
            key: key.to_owned(),
            hosts: Hosts::at(host.to_owned(), port.unwrap_or(443))?,
            client,
            chain,
        })
    }

    async fn ask<A: for<'a> Deserialize<'a>>(&self, operation: &'static str, body: Value) -> Result<A, Cause> {
        const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
        const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
        const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
        let token = header_value(self.chain.token(&self.server).await?.expose())?;
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (REQUEST, HeaderValue::from_static("true")),
            (TOKEN, token),
        ]);
        if let Some(namespace) = self.chain.namespace() {
            headers.insert(NAMESPACE, header_value(namespace.as_bytes())?);
        }
        let url = format!("https://{}/v1/{}/{operation}/{}", self.server, self.mount, self.key);
        let request = Request {
            method: Method::POST,
            url: url.parse().map_err(|_| Cause::Refused("no such server".into()))?,
            headers,
            body: Zeroizing::new(body.to_string().into_bytes()),
        };
        let answer = self.client.send(request, &self.hosts).await.map_err(|error| outbound(&error))?;
        if answer.status != StatusCode::OK {
            return Err(self.fails(operation, &answer));
        }
        serde_json::from_slice::<Said<A>>(&answer.body).map(|said| said.data).map_err(|_| unreadable())
    }

    fn fails(&self, operation: &str, answer: &Response) -> Cause {
        let said: Faults = serde_json::from_slice(&answer.body).unwrap_or_default();
        let says = |text: &str| said.errors.iter().any(|error| error.contains(text));
        let path = format!("{}/{operation}/{}", self.mount, self.key);
        let refused = |why: &str| Cause::Refused(why.to_owned());
        let status = answer.status.as_u16();
        match status {
            403 => Cause::Refused(format!(
                "no permission: a policy of the token must give `update` on {path}, or the token has ended"
            )),
            404 => Cause::Refused(format!("no transit engine is mounted at {}, or not in this namespace", self.mount)),
            400 if says("key not found") => refused("there is no such key: make it, of type aes256-gcm96"),
            400 if says("message authentication failed") || says("invalid ciphertext: could not decode") => {
                Cause::Mismatch
            }
            400 if says("too old") => {
                refused("the key's min_decryption_version is above this version: lower it until the rows are rewrapped")
            }
            400 if says("too new") => {
                refused("the key has no such version: restored from an old backup, or deleted and made again?")
            }
            400 if says("no such key version") || says("unable to get") => {
                refused("this version of the key is trimmed: restore it from a backup")
            }
            400 if says("invalid ciphertext") => Cause::Mismatch,
            400 if says("associated_data") || says("not supported for key type") => refused(
                "the key is of a type that binds no context: aes256-gcm96, aes128-gcm96, chacha20-poly1305 or \
                         xchacha20-poly1305 is needed",
            ),
            400 if says("derivation") => refused("the key is made with derived=true: make one without"),
            400 if says("soft-deleted") || says("soft deleted") => refused("the key is soft-deleted: restore it"),
            // A standby that does not forward.
            301..=308 => Cause::Unavailable("the server sends elsewhere, perhaps to its active node: name that".into()),
            503 if says("sealed") => Cause::Unavailable("the server is sealed: unseal it".into()),
            429 => Cause::Unavailable("the server answers 429 (a quota, or a standby)".into()),
            412 | 472 | 473 | 500.. => Cause::Unavailable(format!("the server answers {status}")),
            _ => Cause::Refused(format!("the server answers {status}, which is not expected here")),
        }
    }
}

#[async_trait]
impl Kms for Transit {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        let plaintext = Zeroizing::new(STANDARD.encode(dek.expose()));
        let body = json!({"plaintext": *plaintext, "associated_data": STANDARD.encode(context.canonical())});
        let wrapped = self.ask("encrypt", body).await.and_then(|Encrypted { ciphertext }| {
            let version = version(&ciphertext).ok_or_else(unreadable)?.to_owned();
            Ok((ciphertext, version))
        });
        let (ciphertext, key_version) = wrapped.map_err(|cause| cause.of(&self.uri))?;
        let wrapped = Wrapped { key: self.uri.clone(), key_version, bytes: ciphertext.into_bytes() };
        opened(self, wrapped, dek, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        let text = std::str::from_utf8(&wrapped.bytes).unwrap_or_default();
        if wrapped.key != self.uri || version(text) != Some(&wrapped.key_version) {
            return Err(Cause::Mismatch.of(&self.uri));
        }
        let body = json!({"ciphertext": text, "associated_data": STANDARD.encode(context.canonical())});
        let opened = self.ask("decrypt", body).await.and_then(|Decrypted { plaintext }| {
            let plaintext = Zeroizing::new(plaintext);
            let plaintext = Zeroizing::new(STANDARD.decode(&*plaintext).map_err(|_| unreadable())?);
            plaintext.as_slice().try_into().map(Dek::new).map_err(|_| Cause::Mismatch)
        });
        opened.map_err(|cause| cause.of(&self.uri))
    }
}

/// Of `vault:vN:BASE64`, which OpenBao writes too.
fn version(ciphertext: &str) -> Option<&str> {
    let (version, sealed) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
    let number: u32 = version.parse().ok()?;
    (number > 0 && number.to_string() == version && !sealed.is_empty()).then_some(version)
}

fn header_value(text: &[u8]) -> Result<HeaderValue, Cause> {
    let mut value = HeaderValue::from_bytes(text).map_err(|_| Cause::Refused("the token cannot be sent".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unreadable() -> Cause {
    Cause::Unavailable("the server answers not as documented".into())
}

#[derive(Deserialize)]
struct Said<A> {
    data: A,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: String,
}

#[derive(Default, Deserialize)]
struct Faults {
    #[serde(default)]
    errors: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!(version("vault:v12:c2VhbGVk"), Some("12"));
        for wrong in
            ["vault:v0:x", "vault:v01:x", "vault:v+1:x", "vault:v1:", "vault:v1", "bao:v1:x", "vault:v-1:x", ""]
        {
            assert_eq!(version(wrong), None, "{wrong}");
        }
    }
}
