//! The request of a step, filled in and signed.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::byte_serialize;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::plan::{Assert, AssertBy, Body, Node, Sign, SignBy, Step};
use super::template::{Template, Unfit};
use super::values::Values;
use crate::cloud::azure::{self, Application};
use crate::cloud::google::{self, ServiceAccount};
use crate::cloud::oci::{self, ApiKey};
use crate::cloud::{PrivateKey, aws, snowflake};
use crate::http::Request;

/// Why there is no request to send.
#[derive(Debug, PartialEq, Eq)]
pub enum NotSent {
    Unfit(Unfit),
    /// The field's name, and why it does not sign.
    Unsigned(String),
}

const AGENT: &str = concat!("strongroom/", env!("CARGO_PKG_VERSION"));

/// Everything but the signature. The values must hold the step's assertion already.
pub fn fill(step: &Step, values: &Values) -> Result<Request, NotSent> {
    let mut headers = HeaderMap::new();
    for (name, template) in &step.headers {
        if let Some(text) = template.fill(values)? {
            let mut value = header(&text).ok_or_else(|| culprit(template))?;
            value.set_sensitive(template.names().next().is_some());
            headers.insert(name, value);
        }
    }
    if let Some((user, password)) = &step.basic {
        headers.insert(AUTHORIZATION, basic(user, password, values)?);
    }
    let (body, kind) = match &step.body {
        Body::None => (Zeroizing::default(), None),
        Body::Form(entries) => (form(entries, values)?, Some("application/x-www-form-urlencoded")),
        Body::Json(node) => (json(node, values)?, Some("application/json")),
    };
    if let Some(kind) = kind {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    Ok(Request { method: step.method.clone(), url: step.address.fill(values)?, headers, body })
}

/// A line end would make one header two.
fn header(text: &str) -> Option<HeaderValue> {
    let plain = text.bytes().all(|byte| byte != b'\t' && !byte.is_ascii_control());
    HeaderValue::from_str(text).ok().filter(|_| plain)
}

fn basic(user: &Template, password: &Template, values: &Values) -> Result<HeaderValue, NotSent> {
    let filled = |template: &Template| Ok::<_, Unfit>(template.fill(values)?.unwrap_or_default());
    let (name, secret) = (filled(user)?, filled(password)?);
    if name.contains(':') {
        return Err(culprit(user).into());
    }
    let pair = Zeroizing::new(format!("{}:{}", *name, *secret));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = header(&text).ok_or_else(|| culprit(password))?;
    value.set_sensitive(true);
    Ok(value)
}

fn form(entries: &[(String, Template)], values: &Values) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let mut form = Zeroizing::new(String::new());
    for (name, template) in entries {
        let Some(text) = template.fill(values)? else { continue };
        if !form.is_empty() {
            form.push('&');
        }
        form.extend(byte_serialize(name.as_bytes()));
        form.push('=');
        form.extend(byte_serialize(text.as_bytes()));
    }
    Ok(Zeroizing::new(std::mem::take(&mut *form).into_bytes()))
}

fn json(node: &Node, values: &Values) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let mut written = Zeroizing::new(Vec::new());
    write(node, values, &mut written)?;
    Ok(written)
}

/// Whether anything was written.
fn write(node: &Node, values: &Values, out: &mut Vec<u8>) -> Result<bool, Unfit> {
    match node {
        Node::Constant(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Node::Text(template) => match template.fill(values)? {
            Some(text) => quote(&text, out),
            None => return Ok(false),
        },
        Node::List(list) => {
            out.push(b'[');
            for item in list {
                let end = out.len();
                comma(out, b'[');
                if !write(item, values, out)? {
                    out.truncate(end);
                }
            }
            out.push(b']');
        }
        Node::Map(map) => {
            out.push(b'{');
            for (name, item) in map {
                let end = out.len();
                comma(out, b'{');
                quote(name, out);
                out.push(b':');
                if !write(item, values, out)? {
                    out.truncate(end);
                }
            }
            out.push(b'}');
        }
    }
    Ok(true)
}

fn comma(out: &mut Vec<u8>, first_after: u8) {
    if out.last() != Some(&first_after) {
        out.push(b',');
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    // Text always has a JSON form; borrowing it keeps the copy in one place that is wiped.
    let quoted = Zeroizing::new(serde_json::Value::String(text.to_owned()).to_string());
    out.extend_from_slice(quoted.as_bytes());
}

/// Makes the step's assertion: the name it goes by, and itself. Not for the threads that serve.
pub fn assertion(assert: &Assert, values: &Values, at: SystemTime) -> Result<Zeroizing<String>, NotSent> {
    let text = |name: &str| values.get(name).ok_or_else(|| Unfit::Missing(name.to_owned()));
    let audience = assert.audience.fill(values)?.unwrap_or_default();
    let made = match assert.by {
        AssertBy::GoogleServiceAccount => {
            let key = key("private_key", values, None)?;
            let account = ServiceAccount {
                client_email: text("client_email")?,
                private_key_id: text("private_key_id")?,
                key: &key,
            };
            let scope = assert.scope.fill(values)?.unwrap_or_default();
            google::assertion(&account, &audience, &scope, at)
        }
        AssertBy::AzureCertificate => {
            let key = key("private_key", values, None)?;
            let application =
                Application { client_id: text("client_id")?, certificate: text("certificate")?, key: &key };
            azure::assertion(&application, &audience, at)
        }
        AssertBy::SnowflakeKeyPair => {
            let key = key("private_key", values, Some("pass_phrase"))?;
            snowflake::assertion(text("account")?, text("user")?, &key, at)
        }
    };
    made.map_err(|error| NotSent::Unsigned(error.to_string()))
}

/// Signs the whole request. Not for the threads that serve.
pub fn sign(sign: &Sign, request: &mut Request, values: &Values, at: SystemTime) -> Result<(), NotSent> {
    let text = |name: &str| values.get(name).ok_or_else(|| Unfit::Missing(name.to_owned()));
    let signed = match sign.by {
        SignBy::Aws => {
            let keys = aws::Keys {
                access_key_id: text("access_key_id")?,
                secret_access_key: text("secret_access_key")?,
                session_token: values.get("session_token"),
            };
            let service = sign.service.fill(values)?.unwrap_or_default();
            let region = sign.region.fill(values)?.unwrap_or_default();
            aws::sign(request, &keys, &service, &region, at)
        }
        SignBy::Oci => {
            let key = key("private_key", values, Some("pass_phrase"))?;
            let key =
                ApiKey { tenancy: text("tenancy")?, user: text("user")?, fingerprint: text("fingerprint")?, key: &key };
            oci::sign(request, &key, at)
        }
    };
    signed.map_err(|error| NotSent::Unsigned(error.to_string()))
}

fn key(field: &str, values: &Values, passphrase: Option<&str>) -> Result<PrivateKey, NotSent> {
    let pem = values.get(field).ok_or_else(|| Unfit::Missing(field.to_owned()))?;
    let key = PrivateKey::from_pem(pem, passphrase.and_then(|name| values.get(name)));
    key.map_err(|error| NotSent::Unsigned(format!("{field} {error}")))
}

/// However many are tested, the other processors are for those who are served.
static SEATS: Semaphore = Semaphore::const_new(2);

/// Off the threads that serve, for an RSA signature takes as long as a thousand requests, and unlocking its key may take
/// a thousand times longer.
pub async fn aside<T: Send + 'static>(
    values: &Arc<Values>,
    work: impl FnOnce(&Values) -> Result<T, NotSent> + Send + 'static,
) -> Result<T, NotSent> {
    let seat = SEATS.acquire().await;
    let values = Arc::clone(values);
    let done = tokio::task::spawn_blocking(move || {
        let _seat = seat;
        work(&values)
    });
    let done = done.await;
    done.unwrap_or_else(|_| Err(NotSent::Unsigned("the signature could not be made".into())))
}

fn culprit(template: &Template) -> Unfit {
    Unfit::Value(template.names().next().unwrap_or_default().to_owned())
}

impl From<Unfit> for NotSent {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

#[cfg(test)]
mod tests;
