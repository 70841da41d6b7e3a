//! Tokens.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::error::Failure;
use super::output::{self, escape, say};
use super::view::{self, Columns};
use super::{Context, values};
use crate::pb::v1::{
    self as pb, DeriveTokenRequest, IssueTokenRequest, ListTokensRequest, RevokeTokenRequest, RotateTokenRequest,
};

/// Issue, derive, rotate, revoke and list API tokens.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom token list --org acme")]
pub(super) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    Issue(Issue),
    Derive(Derive),
    Rotate(Rotate),
    Revoke(Revoke),
    List(ListTokens),
}

impl Token {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            TokenCommand::Issue(command) => command.run(context).await,
            TokenCommand::Derive(command) => command.run(context).await,
            TokenCommand::Rotate(command) => command.run(context).await,
            TokenCommand::Revoke(command) => command.run(context).await,
            TokenCommand::List(command) => command.run(context).await,
        }
    }
}

/// What a new token is limited to.
#[derive(Args)]
struct Only {
    /// Only this project; may be given several times.
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,

    /// Only this provider; may be given several times.
    #[arg(long = "provider", value_name = "PROVIDER")]
    providers: Vec<String>,

    /// Only this action, such as decrypt; may be given several times. A list shows what `get` may see.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,
}

/// Make a token. It is shown once, as a line for the shell.
#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom token issue billing --role pipeline --org acme --provider openai --ttl 30d"
)]
struct Issue {
    /// A name for people and for the audit log.
    name: String,

    /// What it may do: a pipeline decrypts, a service sets up, an operator looks after it, an admin does everything. A
    /// pipeline must name its providers, or say `*`.
    #[arg(long, value_parser = ["pipeline", "service", "operator", "admin"])]
    role: String,

    /// The tenant; `*` means all, which only operators and admins may have.
    #[arg(long)]
    org: String,

    #[command(flatten)]
    only: Only,

    /// How long it lives, such as 12h or 90d [default: 90d].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,
}

impl Issue {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = IssueTokenRequest {
            name: self.name,
            role: self.role,
            org: self.org,
            projects: self.only.projects,
            providers: self.only.providers,
            actions: self.only.actions,
            ttl: self.ttl.map(Into::into),
        };
        let reply = context.server.admin().await?.issue_token(request).await?.into_inner();
        context.out.show(&reply, |reply| output::export("STRONGROOM_TOKEN", reply.token.as_ref()))?;
        told(&reply.info.unwrap_or_default());
        Ok(())
    }
}

/// Make a child of your own token: for one job, with less to do and a near end. It ends when yours does.
#[derive(Args)]
#[command(after_help = "Example:\n  eval \"$(strongroom token derive nightly --action decrypt --ttl 10m)\"")]
struct Derive {
    /// A name for people and for the audit log.
    name: String,

    /// Only this tenant, where your token is for all.
    #[arg(long)]
    org: Option<String>,

    #[command(flatten)]
    only: Only,

    /// How long it lives at most, up to 24h [default: 15m].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    ttl: Option<Duration>,
}

impl Derive {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = DeriveTokenRequest {
            name: self.name,
            org: self.org.unwrap_or_default(),
            projects: self.only.projects,
            providers: self.only.providers,
            actions: self.only.actions,
            ttl: self.ttl.map(Into::into),
        };
        let reply = context.server.admin().await?.derive_token(request).await?.into_inner();
        context.out.show(&reply, |reply| output::export("STRONGROOM_TOKEN", reply.token.as_ref()))?;
        told(&reply.info.unwrap_or_default());
        Ok(())
    }
}

/// Make a token that takes over from another. The old one goes on for a while, and can be rotated no more.
#[derive(Args)]
#[command(after_help = "Example:\n  eval \"$(strongroom token rotate --overlap 2h)\"")]
struct Rotate {
    /// The token's id, as `strongroom token list` shows it [default: your own].
    id: Option<String>,

    /// How long the old one goes on, up to 7d [default: 1h].
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    overlap: Option<Duration>,

    /// End the old one at once.
    #[arg(long, conflicts_with = "overlap")]
    now: bool,
}

impl Rotate {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let id = self.id.unwrap_or_else(|| "self".into());
        let overlap = if self.now { Some(Duration::ZERO) } else { self.overlap };
        let request = RotateTokenRequest { id, overlap: overlap.map(Into::into) };
        let reply = context.server.admin().await?.rotate_token(request).await?.into_inner();
        context.out.show(&reply, |reply| output::export("STRONGROOM_TOKEN", reply.token.as_ref()))?;
        told(&reply.info.unwrap_or_default());
        let old = reply.replaced.unwrap_or_default();
        let end = if old.revoked_at.is_some() { old.revoked_at } else { old.expires_at };
        say(escape(&format!("token {} ends {}", old.id, view::time(end.as_ref()))));
        Ok(())
    }
}

/// Refuse a token from now on.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom token revoke 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Revoke {
    /// The token's id, as `strongroom token list` shows it.
    id: String,
}

impl Revoke {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let reply = context.server.admin().await?.revoke_token(RevokeTokenRequest { id: self.id }).await?;
        let info = reply.into_inner().info.unwrap_or_default();
        context.out.show(&info, |info| Columns::new(view::TOKENS).page([view::token_row(info)]))
    }
}

/// List tokens, newest first, without their text.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom token list --org acme")]
struct ListTokens {
    /// Only tokens of this tenant.
    #[arg(long)]
    org: Option<String>,
}

impl ListTokens {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ListTokensRequest { org: self.org.unwrap_or_default() };
        let reply = context.server.admin().await?.list_tokens(request).await?.into_inner();
        context.out.show(&reply.tokens, |tokens| Columns::new(view::TOKENS).page(tokens.iter().map(view::token_row)))
    }
}

fn told(info: &pb::Token) {
    let end = view::time(info.expires_at.as_ref());
    say(escape(&format!("token {} for {} ends {end}; it is not shown again", info.id, info.name)));
}
