//! Run-scoped grants.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::error::Failure;
use super::output::{self, escape, say};
use super::view::{self, Columns};
use super::{Context, values};
use crate::pb::v1::{CredentialRef, ListGrantsRequest, MintGrantRequest, RevokeGrantRequest};

/// Mint, revoke and list run-scoped grants: the right to decrypt, for one run of a pipeline.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom grant list --org acme")]
pub(super) struct Grant {
    #[command(subcommand)]
    command: GrantCommand,
}

#[derive(Subcommand)]
enum GrantCommand {
    Mint(Mint),
    Revoke(Revoke),
    List(List),
}

impl Grant {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            GrantCommand::Mint(command) => command.run(context).await,
            GrantCommand::Revoke(command) => command.run(context).await,
            GrantCommand::List(command) => command.run(context).await,
        }
    }
}

/// Make a grant for a run. It is shown once, as a line for the shell.
///
/// Hand it to the run as STRONGROOM_GRANT: `strongroom decrypt` uses it beside a token, or without one.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom grant mint acme --run 4711 --credential openai --uses 2 --ttl 20m")]
struct Mint {
    /// The tenant.
    org: String,

    /// The run that it is for, as the pipeline calls it.
    #[arg(long)]
    run: String,

    /// The phase of the run, such as plan [default: any].
    #[arg(long)]
    phase: Option<String>,

    /// What it opens: PROVIDER, or PROJECT/PROVIDER/NAME; may be given several times.
    #[arg(long = "credential", value_name = "CREDENTIAL", required = true, value_parser = credential)]
    credentials: Vec<CredentialRef>,

    /// How many decrypts it is good for, up to 1000.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,

    /// How long it lives at most, up to 24h [default: 1h].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,

    /// The id of the caller that alone may use it, beside its own token [default: whoever has it].
    #[arg(long, value_name = "CALLER")]
    holder: Option<String>,
}

impl Mint {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = MintGrantRequest {
            org: self.org,
            run: self.run,
            phase: self.phase.unwrap_or_default(),
            credentials: self.credentials,
            uses: self.uses,
            ttl: self.ttl.map(Into::into),
            holder: self.holder.unwrap_or_default(),
        };
        let reply = context.server.grants().await?.mint_grant(request).await?.into_inner();
        context.out.show(&reply, |reply| output::export("STRONGROOM_GRANT", reply.grant.as_ref()))?;
        let info = reply.info.unwrap_or_default();
        let end = view::time(info.expires_at.as_ref());
        say(escape(&format!("grant {} for run {} ends {end}; it is not shown again", info.id, info.run)));
        Ok(())
    }
}

/// Refuse a grant from now on.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom grant revoke 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Revoke {
    /// The grant's id, as `strongroom grant list` shows it.
    id: String,
}

impl Revoke {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let reply = context.server.grants().await?.revoke_grant(RevokeGrantRequest { id: self.id }).await?;
        let info = reply.into_inner().info.unwrap_or_default();
        context.out.show(&info, |info| Columns::new(view::GRANTS).page([view::grant_row(info)]))
    }
}

/// List grants, newest first, without their text.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom grant list --org acme --run 4711")]
struct List {
    /// Only grants of this tenant.
    #[arg(long)]
    org: Option<String>,

    /// Only grants for this run.
    #[arg(long)]
    run: Option<String>,
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut server = context.server.grants().await?;
        let mut request = ListGrantsRequest {
            org: self.org.unwrap_or_default(),
            run: self.run.unwrap_or_default(),
            ..ListGrantsRequest::default()
        };
        let mut grants = Vec::new();
        loop {
            let page = server.list_grants(request.clone()).await?.into_inner();
            grants.extend(page.grants);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        context.out.show(&grants, |grants| Columns::new(view::GRANTS).page(grants.iter().map(view::grant_row)))
    }
}

fn credential(text: &str) -> Result<CredentialRef, String> {
    let (project, provider, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [provider] => ("", *provider, ""),
        [project, provider, name] => (*project, *provider, *name),
        _ => return Err("a credential looks like openai or default/openai/eu".into()),
    };
    Ok(CredentialRef { project: project.into(), provider: provider.into(), name: name.into() })
}
