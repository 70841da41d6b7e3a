//! The end of a tenant.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};

use super::error::Failure;
use super::input::Inputs;
use super::output::{escape, say};
use super::view::{self, Columns};
use super::{Context, values};
use crate::pb::v1::{
    DestroyOrgRequest, ListOrgDestructionsRequest, OrgDestruction, OrgRemains, OrgToll, RestoreOrgRequest,
};

/// Destroy all that a tenant has, take that back, and see what came of it.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom org status acme")]
pub(super) struct Org {
    #[command(subcommand)]
    command: OrgCommand,
}

#[derive(Subcommand)]
enum OrgCommand {
    Destroy(Destroy),
    Restore(Restore),
    Status(Status),
}

impl Org {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            OrgCommand::Destroy(command) => command.run(context).await,
            OrgCommand::Restore(command) => command.run(context).await,
            OrgCommand::Status(command) => command.run(context).await,
        }
    }
}

/// Stop serving a tenant, and destroy its keys with all that they open.
///
/// Its credentials are not served and nothing of it is stored from this moment on. Its ciphertexts, keys and second factors
/// are destroyed after --after, its tokens and grants revoked; until then `strongroom org restore` takes it back.
/// `strongroom org status` shows what was destroyed. Fingerprints, history and the audit log stay; so do backups.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom org destroy acme --after 7d")]
struct Destroy {
    /// The tenant.
    org: String,

    /// How long it can be taken back, up to 90d; 0s begins at once.
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = delay)]
    after: Duration,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Destroy {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if !self.yes {
            confirm(&self.org, self.after, &mut context.inputs)?;
        }
        let request = DestroyOrgRequest { org: self.org, after: Some(self.after.into()) };
        let reply = context.server.admin().await?.destroy_org(request).await?.into_inner();
        let destruction = reply.destruction.unwrap_or_default();
        context.out.show(&destruction, sheet)?;
        if !self.after.is_zero() {
            say(escape(&format!("`strongroom org restore {}` takes it back until then", destruction.org)));
        }
        Ok(())
    }
}

/// Take back a destruction whose --after is not over yet.
///
/// What it deleted is served again; what was deleted before stays deleted.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom org restore acme")]
struct Restore {
    /// The tenant.
    org: String,
}

impl Restore {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let reply = context.server.admin().await?.restore_org(RestoreOrgRequest { org: self.org }).await?;
        let destruction = reply.into_inner().destruction.unwrap_or_default();
        context.out.show(&destruction, |it| format!("{} is served again\n", escape(&it.org)))
    }
}

/// Show which tenants are to be destroyed, and the proof of those that were.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom org status acme")]
struct Status {
    /// Only this tenant, in full.
    org: Option<String>,
}

impl Status {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let one = self.org.is_some();
        let request = ListOrgDestructionsRequest { org: self.org.unwrap_or_default() };
        let reply = context.server.admin().await?.list_org_destructions(request).await?.into_inner();
        context.out.show(&reply.destructions, |found| match one {
            true => found.iter().map(sheet).collect::<Vec<_>>().join("\n"),
            false => Columns::new(view::ORGS).page(found.iter().map(row)),
        })
    }
}

/// A duration that may be nothing.
fn delay(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) { Ok(Duration::ZERO) } else { values::duration(text) }
}

fn confirm(org: &str, after: Duration, inputs: &mut Inputs) -> Result<(), Failure> {
    if !inputs.terminal {
        return Err(Failure::usage("org destroy asks, and there is no terminal to ask in").hint("say --yes"));
    }
    let end = SignedDuration::try_from(after).ok().and_then(|after| Timestamp::now().checked_add(after).ok());
    let when = match end {
        Some(end) if !after.is_zero() => format!("at {end:.0}"),
        _ => "now".to_owned(),
    };
    let question = format!(
        "Nothing of {org} is served from now on, and all its secrets and keys are destroyed {when}, for good. \
         Type {org} to go on:"
    );
    match inputs.ask(&question)?.trim() == org {
        true => Ok(()),
        false => Err(Failure::usage(format!("that is not {org}: nothing was destroyed"))),
    }
}

fn row(it: &OrgDestruction) -> Vec<String> {
    vec![
        it.org.clone(),
        it.state.clone(),
        it.requested_by_name.clone(),
        view::time(it.requested_at.as_ref()),
        view::time(it.destroy_at.as_ref()),
        view::time(it.destroyed_at.as_ref()),
    ]
}

fn sheet(it: &OrgDestruction) -> String {
    let begun = it.state != "pending";
    let toll = it.destroyed.clone().unwrap_or_default();
    let keys: Vec<_> = toll.wraps.iter().map(|(key, count)| format!("{count} under {key}")).collect();
    view::sheet([
        ("org", it.org.clone()),
        ("state", it.state.clone()),
        ("id", it.id.clone()),
        ("asked for by", format!("{} ({})", it.requested_by_name, it.requested_by)),
        ("asked for", view::time(it.requested_at.as_ref())),
        ("destroyed from", view::time(it.destroy_at.as_ref())),
        ("all gone", view::time(it.destroyed_at.as_ref())),
        ("destroyed", if begun { told(&toll) } else { String::new() }),
        ("wrapped keys", keys.join(", ")),
        ("read again", it.left.as_ref().map(left).unwrap_or_default()),
        ("keys of its own", it.own_keys.join(", ")),
        ("not covered", backups(it)),
    ])
}

fn told(it: &OrgToll) -> String {
    format!(
        "{} credentials with {} ciphertexts, {} org key, {} second factors; revoked: {} tokens, {} grants",
        it.credentials, it.versions, it.org_keys, it.second_factors, it.tokens, it.grants
    )
}

fn left(it: &OrgRemains) -> String {
    format!(
        "{} versions: {} ciphertexts, {} wrapped keys, {} second factors, {} good tokens, {} good grants are left",
        it.looked_at, it.ciphertexts, it.wraps, it.second_factors, it.tokens, it.grants
    )
}

fn backups(it: &OrgDestruction) -> String {
    let mut wraps = it.destroyed.iter().flat_map(|toll| toll.wraps.keys());
    let recovery = match wraps.any(|key| key.starts_with("age:")) {
        true => "; whoever has the recovery identity opens it anyway",
        false => "",
    };
    let keys = match it.own_keys.is_empty() {
        true => "it has no key of its own to destroy".to_owned(),
        false => format!(
            "destroy {} where it is kept, and what they hold under it is unreadable too",
            it.own_keys.join(", ")
        ),
    };
    format!("backups and exports keep what they had, and open it with the same keys; {keys}{recovery}")
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::{piped, terminal};
    use super::*;

    #[test]
    fn the_name_must_be_typed() {
        let hours = Duration::from_secs(72 * 3600);
        assert!(confirm("acme", hours, &mut terminal(b"acme\n")).is_ok());
        for answer in [&b"y\n"[..], b"yes\n", b"\n", b"", b"acme2\n"] {
            assert!(confirm("acme", Duration::ZERO, &mut terminal(answer)).is_err());
        }
        let failure = confirm("acme", hours, &mut piped(b"acme\n")).unwrap_err().to_string();
        assert!(failure.ends_with("hint: say --yes"), "{failure}");
    }

    #[test]
    fn a_delay_may_be_nothing() {
        assert_eq!(delay("0s"), Ok(Duration::ZERO));
        assert_eq!(delay("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert!(delay("soon").is_err());
    }
}
