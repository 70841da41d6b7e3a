//! AWS: an access key in the environment, a web identity (EKS, or any OIDC), the shared files, the agent of a container,
//! the machine's role. The machine is last, for it is the only one that must be asked to know whether it has any.
//!
//! Asked of the machine by IMDSv2 alone. What wants a second identity first (a role to assume, a sign-on session, a
//! command to run) is refused by its name: a key's own policy can name any account's role directly.

mod shared;
mod sts;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Error, Fetched, Held, Lease, Variables, token_file, unreachable, word};
use crate::crypto::Secret;
use crate::http::Client;
use crate::http::platform::{Platform, Service};

/// Who strongroom is at AWS, until the session ends.
pub struct Session {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
    /// Where it is from, in words.
    pub source: &'static str,
}

pub struct Chain {
    variables: Arc<Variables>,
    client: Client,
    platform: Platform,
    held: Held<Session>,
}

const ENVIRONMENT: &str = "the environment";

impl Chain {
    pub fn new(variables: Arc<Variables>, client: Client, platform: Platform) -> Self {
        Self { variables, client, platform, held: Held::new() }
    }

    /// Where the environment names no region, STS is asked in this one.
    pub async fn session(&self, region: &str) -> Result<Arc<Lease<Session>>, Error> {
        self.held.get(Instant::now(), self.fetch(region)).await
    }

    pub fn forget(&self, refused: &Lease<Session>) {
        self.held.forget(refused);
    }

    async fn fetch(&self, region: &str) -> Result<Fetched<Session>, Error> {
        if let Some(found) = self.environment()? {
            return Ok(found);
        }
        if let Some(file) = self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = self.variables.need("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")?;
            return self.web_identity(file, role, region).await;
        }
        match shared::profile(&self.variables).await? {
            Some(shared::Profile::Keys(session)) => return Ok(Fetched { value: session, life: None }),
            Some(shared::Profile::WebIdentity { file, role }) => return self.web_identity(&file, &role, region).await,
            None => {}
        }
        if let Some(found) = self.container().await? {
            return Ok(found);
        }
        self.machine().await
    }

    fn environment(&self) -> Result<Option<Fetched<Session>>, Error> {
        let Some(id) = self.variables.get("AWS_ACCESS_KEY_ID") else { return Ok(None) };
        let secret = self.variables.need("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")?;
        let value = Session {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned().into(),
            session_token: self.variables.get("AWS_SESSION_TOKEN").map(|token| token.to_owned().into()),
            source: ENVIRONMENT,
        };
        Ok(Some(Fetched { value, life: None }))
    }

    async fn web_identity(&self, file: &str, role: &str, region: &str) -> Result<Fetched<Session>, Error> {
        let region = self.variables.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]).map_or(region, |(_, region)| region);
        let name = self.variables.get("AWS_ROLE_SESSION_NAME").unwrap_or("strongroom");
        let token = token_file(Path::new(file)).await?;
        sts::assume(&self.client, region, role, name, &token).await
    }

    /// ECS and EKS. A token for the agent may be in a file, which is written anew.
    async fn container(&self) -> Result<Option<Fetched<Session>>, Error> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let Some((name, place)) = self.variables.first(&[RELATIVE, FULL]) else { return Ok(None) };
        let wrong = |why: &str| Error::Refused(format!("{name} {why}"));
        let url: Uri = place.parse().map_err(|_| wrong("is no address"))?;
        let service = if name == RELATIVE { Some(Service::TASK) } else { Service::of(&url) };
        let service = service.ok_or_else(|| wrong("leads neither to a container's agent nor to this machine"))?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = HeaderMap::new();
        if let Some(token) = self.container_token().await? {
            headers.insert(header::AUTHORIZATION, secret_value(&token)?);
        }
        let body = self.platform_says("the container's agent", service, Method::GET, path, headers).await?;
        issued(&body, "the container's agent").map(Some)
    }

    async fn container_token(&self) -> Result<Option<Secret>, Error> {
        if let Some(file) = self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            return token_file(Path::new(file)).await.map(Some);
        }
        Ok(self.variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|token| token.to_owned().into()))
    }

    /// IMDSv2: a token by PUT, which no redirected or forged GET can have, then the role's name and its credentials.
    async fn machine(&self) -> Result<Fetched<Session>, Error> {
        const PLACE: &str = "/latest/meta-data/iam/security-credentials/";
        const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
        const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
        const NOWHERE: &str =
            "no AWS credentials: not in the environment, no web identity, no shared file, no container's";
        if self.variables.get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Error::Refused(format!("{NOWHERE}, and AWS_EC2_METADATA_DISABLED forbids to ask the machine")));
        }
        let ask = |method, path: String, headers| async move {
            self.platform_says("the machine's metadata service", Service::MACHINE, method, &path, headers).await
        };
        let lasting = HeaderMap::from_iter([(TTL, HeaderValue::from_static("300"))]);
        let token = ask(Method::PUT, "/latest/api/token".into(), lasting).await.map_err(|error| match error {
            Error::Unavailable(why) => Error::Unavailable(format!("{NOWHERE}; {why}")),
            refused => refused,
        })?;
        let token = HeaderMap::from_iter([(TOKEN, secret_value(&token)?)]);
        let role = ask(Method::GET, PLACE.into(), token.clone()).await.map_err(|error| match error {
            Error::Refused(_) => Error::Refused(format!("{NOWHERE}, and the machine has no role (instance profile)")),
            unavailable => unavailable,
        })?;
        let role = role.expose_text().and_then(|text| text.lines().next()).unwrap_or_default().to_owned();
        if role.is_empty() || !role.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b)) {
            return Err(Error::Unavailable("the machine's metadata service names no role".into()));
        }
        issued(&ask(Method::GET, format!("{PLACE}{role}"), token).await?, "the machine's metadata service")
    }

    async fn platform_says(
        &self,
        whose: &str,
        service: Service,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Secret, Error> {
        let asked = self.platform.ask(service, method, path, headers).await;
        let answer = asked.map_err(|error| match unreachable(&error) {
            Error::Unavailable(why) => Error::Unavailable(format!("{whose}: {why}")),
            refused => refused,
        })?;
        match answer.status {
            StatusCode::OK => Ok(Secret::from(answer.body.to_vec())),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(Error::Unavailable(format!("{whose} answers {}", status.as_u16())))
            }
            status => Err(Error::Refused(format!("{whose} answers {}", status.as_u16()))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

fn issued(body: &Secret, whose: &str) -> Result<Fetched<Session>, Error> {
    let unreadable = || Error::Unavailable(format!("{whose} answers what is not credentials"));
    if let Ok(Code { code }) = serde_json::from_slice(body.expose())
        && code != "Success"
    {
        return Err(Error::Refused(format!("{whose} answers {}", word(&code))));
    }
    let issued: Issued = serde_json::from_slice(body.expose()).map_err(|_| unreadable())?;
    let value = Session {
        access_key_id: issued.access_key_id,
        secret_access_key: issued.secret_access_key.into(),
        session_token: Some(issued.token.into()),
        source: "the platform",
    };
    Ok(Fetched { value, life: Some(life(&issued.expiration).ok_or_else(unreadable)?) })
}

#[derive(Deserialize)]
struct Code {
    #[serde(rename = "Code")]
    code: String,
}

impl Session {
    /// Whether there would be another one where this one is from.
    pub fn is_renewed(&self) -> bool {
        self.source != ENVIRONMENT && self.source != shared::SOURCE
    }
}

/// From now until then. What has ended already is over at once.
fn life(until: &str) -> Option<Duration> {
    let until: Timestamp = until.parse().ok()?;
    Some(SystemTime::from(until).duration_since(SystemTime::now()).unwrap_or_default())
}

fn secret_value(secret: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(secret.expose())
        .map_err(|_| Error::Refused("a token for the platform cannot be sent: it is more than one line".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
