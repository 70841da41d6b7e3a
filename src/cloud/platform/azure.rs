//! Azure: an application's secret or certificate in the environment, a federated token (workload identity), the managed
//! identity of a container or of the machine, which is last, for it must be asked to know whether it has any.

mod entra;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;

use super::{Error, Fetched, Held, Lease, Variables, form, read, token_file, unreachable, word};
use crate::crypto::Secret;
use crate::http::Client;
use crate::http::platform::{Platform, Service};
use entra::Proof;

pub struct Chain {
    variables: Arc<Variables>,
    client: Client,
    platform: Platform,
    /// By resource: a token is for one.
    held: Mutex<BTreeMap<String, Arc<Held<Secret>>>>,
}

impl Chain {
    pub fn new(variables: Arc<Variables>, client: Client, platform: Platform) -> Self {
        Self { variables, client, platform, held: Mutex::default() }
    }

    /// An access token for a resource such as `https://vault.azure.net`.
    pub async fn token(&self, resource: &str) -> Result<Arc<Lease<Secret>>, Error> {
        let held = self.held(resource);
        held.get(Instant::now(), self.fetch(resource)).await
    }

    pub fn forget(&self, resource: &str, refused: &Lease<Secret>) {
        self.held(resource).forget(refused);
    }

    async fn fetch(&self, resource: &str) -> Result<Fetched<Secret>, Error> {
        const SECRET: &str = "AZURE_CLIENT_SECRET";
        const CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE_PATH";
        const FEDERATED: &str = "AZURE_FEDERATED_TOKEN_FILE";
        let Some((source, value)) = self.variables.first(&[SECRET, CERTIFICATE, FEDERATED]) else {
            return self.managed(resource).await;
        };
        let proof = match source {
            SECRET => Proof::Secret(value.to_owned().into()),
            CERTIFICATE => {
                let passphrase = self.variables.get("AZURE_CLIENT_CERTIFICATE_PASSWORD").map(str::to_owned);
                Proof::Certificate { pem: read(Path::new(value)).await?, passphrase: passphrase.map(Secret::from) }
            }
            _ => Proof::Federated(token_file(Path::new(value)).await?),
        };
        let application = entra::Application {
            authority: self.variables.get("AZURE_AUTHORITY_HOST").unwrap_or("https://login.microsoftonline.com"),
            tenant: self.variables.need("AZURE_TENANT_ID", source)?,
            client_id: self.variables.need("AZURE_CLIENT_ID", source)?,
            source,
        };
        entra::token(&self.client, &application, proof, resource).await
    }

    /// Container Apps put the address of theirs into the environment; a machine's is where it always is.
    async fn managed(&self, resource: &str) -> Result<Fetched<Secret>, Error> {
        let mut query = vec![("resource", resource)];
        query.extend(self.variables.get("AZURE_CLIENT_ID").map(|id| ("client_id", id)));
        let (service, path, header) = match self.variables.get("IDENTITY_ENDPOINT") {
            Some(endpoint) => {
                const NAME: HeaderName = HeaderName::from_static("x-identity-header");
                let wrong = || Error::Refused("IDENTITY_ENDPOINT does not lead to this machine".into());
                let url: Uri = endpoint.parse().map_err(|_| wrong())?;
                let service = Service::of(&url).ok_or_else(wrong)?;
                let known = self.variables.need("IDENTITY_HEADER", "IDENTITY_ENDPOINT")?;
                let known = HeaderValue::from_str(known)
                    .map_err(|_| Error::Refused("IDENTITY_HEADER cannot be sent".into()))?;
                query.push(("api-version", "2019-08-01"));
                (service, url.path().to_owned(), (NAME, known))
            }
            None => {
                const NAME: HeaderName = HeaderName::from_static("metadata");
                query.push(("api-version", "2018-02-01"));
                let path = "/metadata/identity/oauth2/token".to_owned();
                (Service::MACHINE, path, (NAME, HeaderValue::from_static("true")))
            }
        };
        let path = format!("{path}?{}", form(&query));
        let asked = self.platform.ask(service, Method::GET, &path, HeaderMap::from_iter([header])).await;
        let answer = asked.map_err(|error| match unreachable(&error) {
            Error::Unavailable(why) => Error::Unavailable(format!("{NOWHERE}; the managed identity's service: {why}")),
            refused => refused,
        })?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status {
            StatusCode::OK => issued(&body, "the managed identity's service"),
            // Microsoft's own list of what is worth another try.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS => Err(busy(answer.status)),
            status if status.is_server_error() => Err(busy(status)),
            status => {
                let code = word(body["error"].as_str().unwrap_or_default());
                Err(Error::Refused(format!(
                    "{NOWHERE}, and the managed identity's service answers {} ({code}): assign an identity, or name the \
                     one to use in AZURE_CLIENT_ID",
                    status.as_u16()
                )))
            }
        }
    }

    fn held(&self, resource: &str) -> Arc<Held<Secret>> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(resource.to_owned()).or_insert_with(|| Arc::new(Held::new())))
    }
}

const NOWHERE: &str =
    "no Azure credentials: no AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE";

fn busy(status: StatusCode) -> Error {
    Error::Unavailable(format!("the managed identity's service answers {}", status.as_u16()))
}

/// Some services write numbers as texts.
fn issued(body: &Value, whose: &str) -> Result<Fetched<Secret>, Error> {
    let number = |name: &str| body[name].as_u64().or_else(|| body[name].as_str()?.parse().ok());
    let until_then =
        |until: u64| (UNIX_EPOCH + Duration::from_secs(until)).duration_since(SystemTime::now()).unwrap_or_default();
    let life = number("expires_in").map(Duration::from_secs).or_else(|| number("expires_on").map(until_then));
    match (body["access_token"].as_str(), life) {
        (Some(token), Some(life)) if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Fetched { value: token.to_owned().into(), life: Some(life) })
        }
        _ => Err(Error::Unavailable(format!("{whose} answers what is not a token"))),
    }
}
