//! Looking at credentials and choosing what is served. None of these sees a secret.

use clap::Args;
use serde::Serialize;

use super::error::{Exit, Failure};
use super::output::Array;
use super::view::{self, Columns};
use super::{Context, values};
use crate::pb::v1::{
    ActivateVersionRequest, Credential, GetCredentialRequest, GetCredentialResponse, ListCredentialsRequest,
    ListVersionsRequest, PastTest,
};

const PAGE: u32 = 200;

/// Names one credential.
#[derive(Args)]
pub(super) struct Target {
    /// The tenant.
    pub org: String,

    /// The provider's id in the registry, such as `openai`.
    pub provider: String,

    /// The scope inside the tenant.
    #[arg(long, default_value = "default")]
    pub project: String,

    /// Which of several credentials of one provider.
    #[arg(long, default_value = "default")]
    pub name: String,
}

impl Target {
    pub fn path(&self) -> String {
        view::path(&self.org, &self.project, &self.provider, &self.name)
    }
}

/// List an org's credentials.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom list acme --provider openai --health expiring")]
pub(super) struct List {
    /// The tenant.
    org: String,

    /// Only this project.
    #[arg(long)]
    project: Option<String>,

    /// Only this provider.
    #[arg(long)]
    provider: Option<String>,

    /// Only this state. Deleted ones are listed only when asked for.
    #[arg(long, value_parser = ["pending", "active", "invalid", "deleted"])]
    state: Option<String>,

    /// Only this health.
    #[arg(long, value_parser = ["ok", "expiring", "expired", "failing", "disabled"])]
    health: Option<String>,

    /// Only those with this label; may be given several times.
    #[arg(long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<String>,

    /// At most this many; all, when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl List {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut client = context.server.credentials().await?;
        let out = &mut context.out;
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut page_token = String::new();
        let (mut array, mut columns) = (Array::default(), Columns::new(view::CREDENTIALS));
        loop {
            let page_size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let request = ListCredentialsRequest { page_size, page_token, ..self.filters() };
            let mut page = client.list_credentials(request).await?.into_inner();
            page.credentials.truncate(page_size as usize);
            left -= page.credentials.len() as u64;
            page_token = page.next_page_token;
            match out.is_json() {
                true => array.page(out, &page.credentials)?,
                false => out.text(&columns.page(page.credentials.iter().map(view::credential_row)))?,
            }
            if left == 0 || page_token.is_empty() {
                break;
            }
        }
        if out.is_json() { array.end(out) } else { Ok(()) }
    }

    fn filters(&self) -> ListCredentialsRequest {
        ListCredentialsRequest {
            org: self.org.clone(),
            project: self.project.clone().unwrap_or_default(),
            provider: self.provider.clone().unwrap_or_default(),
            state: self.state.clone().unwrap_or_default(),
            health: self.health.clone().unwrap_or_default(),
            labels: self.labels.clone(),
            ..ListCredentialsRequest::default()
        }
    }
}

/// Show what is known about a credential: states, fingerprint, metadata. No secret.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom show acme openai")]
pub(super) struct Show {
    #[command(flatten)]
    target: Target,
}

impl Show {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Target { org, provider, project, name } = self.target;
        let request = GetCredentialRequest { org, project, provider, name };
        let reply = context.server.credentials().await?.get_credential(request).await?;
        let GetCredentialResponse { credential, tests } = reply.into_inner();
        let shown = Shown { credential: present(credential)?, tests };
        context.out.show(&shown, |it| view::shown(&it.credential, &it.tests))
    }
}

/// A credential as one object, with its tests among its properties.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    credential: Credential,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tests: Vec<PastTest>,
}

/// List a credential's versions, newest first.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom versions acme openai")]
pub(super) struct Versions {
    #[command(flatten)]
    target: Target,
}

impl Versions {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Target { org, provider, project, name } = self.target;
        let request = ListVersionsRequest { org, project, provider, name };
        let reply = context.server.credentials().await?.list_versions(request).await?.into_inner();
        context
            .out
            .show(&reply.versions, |versions| Columns::new(view::VERSIONS).page(versions.iter().map(view::version_row)))
    }
}

/// Serve another version: roll back, or serve one that was never tested.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom activate acme openai 2")]
pub(super) struct Activate {
    #[command(flatten)]
    target: Target,

    /// The version to serve: pending or superseded.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,

    #[command(flatten)]
    expected: values::Expected,
}

impl Activate {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Target { org, provider, project, name } = self.target;
        let request =
            ActivateVersionRequest { org, project, provider, name, version: self.version, etag: self.expected.etag() };
        let reply = context.server.credentials().await?.activate_version(request).await?;
        context.out.show(&present(reply.into_inner().credential)?, view::credential_sheet)
    }
}

/// A reply's credential, which is always there.
pub(super) fn present(credential: Option<Credential>) -> Result<Credential, Failure> {
    credential.ok_or_else(|| Failure::new(Exit::Bug, "the server's answer holds no credential"))
}
