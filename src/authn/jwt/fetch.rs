//! An issuer's keys, from where the configuration says.

use std::path::PathBuf;

use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::Value;
use zeroize::Zeroizing;

use super::issuer::{Jwks, Source, read};
use super::jwks::KeySet;
use super::strict;
use crate::http::{Client, Hosts, Request};

/// It goes into the log.
const LONGEST_URL: usize = 512;

/// The error is the operator's cause.
pub async fn fetch(client: &Client, source: &Source) -> Result<KeySet, String> {
    match &source.jwks {
        Jwks::File(file) => from_file(file.clone()).await,
        Jwks::At(url) => keys(client, &source.hosts, url.clone()).await,
        Jwks::Discover { configuration, issuer } => {
            let url = discover(client, &source.hosts, configuration, issuer).await;
            keys(client, &source.hosts, url.map_err(|why| format!("{configuration}: {why}"))?).await
        }
    }
}

async fn from_file(file: PathBuf) -> Result<KeySet, String> {
    let reading = tokio::task::spawn_blocking(move || {
        read(&file).and_then(|bytes| KeySet::parse(&bytes)).map_err(|why| format!("{}: {why}", file.display()))
    });
    reading.await.unwrap_or_else(|_| Err("the reading was broken off".to_owned()))
}

async fn keys(client: &Client, hosts: &Hosts, url: Uri) -> Result<KeySet, String> {
    let named = |why| format!("{url}: {why}");
    let body = get(client, hosts, &url).await.map_err(named)?;
    KeySet::parse(&body).map_err(named)
}

/// Where the issuer's configuration says that its keys are (OpenID Connect Discovery 1.0, 4.3).
async fn discover(client: &Client, hosts: &Hosts, configuration: &Uri, issuer: &str) -> Result<Uri, String> {
    let told = strict::object(&get(client, hosts, configuration).await?)?;
    let text = |name: &str| told.get(name).and_then(Value::as_str).ok_or(format!("has no text `{name}`"));
    if text("issuer")? != issuer {
        return Err("has another `issuer` than the one that was asked".to_owned());
    }
    let uri = text("jwks_uri")?;
    let url = uri.parse().ok().filter(|_| uri.len() <= LONGEST_URL);
    url.ok_or_else(|| "has a `jwks_uri` that is no URL".to_owned())
}

async fn get(client: &Client, hosts: &Hosts, url: &Uri) -> Result<Zeroizing<Vec<u8>>, String> {
    let request =
        Request { method: Method::GET, url: url.clone(), headers: HeaderMap::new(), body: Zeroizing::default() };
    let answer = client.send(request, hosts).await.map_err(|error| error.to_string())?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        status => Err(format!("answered {}", status.as_u16())),
    }
}
