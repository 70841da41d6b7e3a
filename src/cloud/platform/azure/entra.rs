//! A token of Microsoft Entra ID for an application that proves who it is.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::{Error, Fetched, form, unreachable};
use super::issued;
use crate::cloud::{PrivateKey, azure};
use crate::crypto::Secret;
use crate::http::{Client, Hosts, Request, Response};

pub(super) struct Application<'a> {
    /// `https://HOST`
    pub authority: &'a str,
    pub tenant: &'a str,
    pub client_id: &'a str,
    /// The variable that the proof is from.
    pub source: &'a str,
}

pub(super) enum Proof {
    Secret(Secret),
    Certificate { pem: Secret, passphrase: Option<Secret> },
    Federated(Secret),
}

pub(super) async fn token(
    client: &Client,
    application: &Application<'_>,
    proof: Proof,
    resource: &str,
) -> Result<Fetched<Secret>, Error> {
    let refused = |why: &str| Error::Refused(why.to_owned());
    let host = application.authority.strip_prefix("https://").map(|host| host.trim_end_matches('/'));
    let hosts = host.and_then(|host| Hosts::new(vec![host.to_owned()]).ok());
    let (Some(host), Some(hosts)) = (host, hosts) else {
        return Err(refused("AZURE_AUTHORITY_HOST is not https://HOST"));
    };
    let url = format!("https://{host}/{}/oauth2/v2.0/token", application.tenant);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let (true, Ok(address)) = (application.tenant.chars().all(plain), url.parse::<Uri>()) else {
        return Err(refused("AZURE_TENANT_ID is neither a tenant's id nor its domain"));
    };
    let scope = format!("{resource}/.default");
    let mut fields =
        vec![("grant_type", "client_credentials"), ("client_id", application.client_id), ("scope", scope.as_str())];
    let (kind, proof) = prove(application, proof, &url)?;
    let shown = proof.expose_text().unwrap_or_default();
    match kind {
        Kind::Secret => fields.push(("client_secret", shown)),
        Kind::Assertion => fields.extend([("client_assertion_type", JWT), ("client_assertion", shown)]),
    }
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form_type)]);
    let body = Zeroizing::new(form(&fields).into_bytes());
    let answer = client.send(Request { method: Method::POST, url: address, headers, body }, &hosts).await;
    read(&answer.map_err(|error| unreachable(&error))?, application)
}

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

enum Kind {
    Secret,
    Assertion,
}

fn prove(application: &Application<'_>, proof: Proof, audience: &str) -> Result<(Kind, Secret), Error> {
    let wrong = |why: String| Error::Refused(format!("{}: {why}", application.source));
    match proof {
        Proof::Secret(secret) => Ok((Kind::Secret, secret)),
        Proof::Federated(token) => Ok((Kind::Assertion, token)),
        Proof::Certificate { pem, passphrase } => {
            let text = pem.expose_text().unwrap_or_default();
            let key = PrivateKey::from_pem(text, passphrase.as_ref().and_then(Secret::expose_text));
            let key = key.map_err(|cause| wrong(format!("the private key in this PEM {cause}")))?;
            let application = azure::Application { client_id: application.client_id, certificate: text, key: &key };
            let assertion = azure::assertion(&application, audience, SystemTime::now());
            Ok((Kind::Assertion, Secret::from(assertion.map_err(|cause| wrong(cause.to_string()))?.to_string())))
        }
    }
}

fn read(answer: &Response, application: &Application<'_>) -> Result<Fetched<Secret>, Error> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match answer.status {
        StatusCode::OK => issued(&body, "Entra ID"),
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Err(Error::Unavailable(format!("Entra ID answers {}", status.as_u16())))
        }
        status => Err(refused(body["error_codes"][0].as_u64(), status, application)),
    }
}

fn refused(code: Option<u64>, status: StatusCode, application: &Application<'_>) -> Error {
    let Application { tenant, client_id, source, .. } = application;
    let why = match code {
        Some(7_000_215 | 7_000_216) => format!("the secret in {source} is wrong"),
        Some(7_000_222) => format!("the secret in {source} has ended"),
        Some(700_027) => format!("the certificate in {source} is not one of the application's"),
        Some(700_016) => format!("the tenant {tenant} has no application {client_id}"),
        Some(7_000_112 | 50_057) => format!("the application {client_id} is disabled"),
        Some(90_002) => format!("there is no tenant {tenant}"),
        Some(70_021 | 700_211 | 700_212 | 700_213) => {
            format!(
                "the application {client_id} has no federated credential for the issuer, subject and audience in {source}"
            )
        }
        Some(700_024) => format!("the token in {source} has ended and was not written anew, or the clock is wrong"),
        Some(500_011) => "the tenant does not know the resource".to_owned(),
        Some(50_053 | 50_196 | 90_033) => return Error::Unavailable("Entra ID has too much to do".into()),
        _ => "see the code in Microsoft's list".to_owned(),
    };
    let code = code.map_or_else(|| status.as_u16().to_string(), |code| format!("AADSTS{code}"));
    Error::Refused(format!("Entra ID gives no token ({code}): {why}"))
}
