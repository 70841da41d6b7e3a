//! Why somebody may or may not do something.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;

use super::super::Context;
use super::super::error::Failure;
use super::super::output::escape;
use super::super::values;
use super::Files;
use crate::app::policy::{Asked, Imagined};
use crate::pb::v1::{CitedPolicy, ExplainPolicyRequest, ExplainPolicyResponse, ImaginedCaller};

/// Tell which policies allow or refuse something, which conditions do not hold, and what would change that.
///
/// By the files of --policies, or with --online by the policies that the server has in force, about a real credential, for
/// the caller of a token or for an imagined one.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom policy explain --role pipeline --org acme --action decrypt --on acme/openai\n  \
                  strongroom policy explain --online --role admin --org acme --action delete --on acme/openai"
)]
pub(super) struct Explain {
    /// What would be done, such as `decrypt`.
    #[arg(long)]
    action: String,

    /// On what: ORG, ORG/PROVIDER, ORG/PROJECT/PROVIDER or ORG/PROJECT/PROVIDER/NAME.
    #[arg(long)]
    on: String,

    #[command(flatten)]
    caller: CallerOptions,

    /// A label of the credential; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label, conflicts_with = "online")]
    labels: Vec<(String, String)>,

    /// The credential's state: pending, active, invalid, deleted or absent [default: active].
    #[arg(long, conflicts_with = "online")]
    state: Option<String>,

    /// The credential's health: ok, expiring, expired, failing or disabled [default: ok].
    #[arg(long, conflicts_with = "online")]
    health: Option<String>,

    /// When: an instant such as 2027-06-30T12:00:00Z [default: now].
    #[arg(long, conflicts_with = "online")]
    at: Option<jiff::Timestamp>,

    /// Ask the server.
    #[arg(long, conflicts_with_all = ["directory", "callers"])]
    online: bool,

    /// The caller that bears this token, by its id.
    #[arg(long, value_name = "ID", requires = "online", conflicts_with_all = ["role", "org"])]
    token_id: Option<String>,

    #[command(flatten)]
    files: Files,
}

/// Who asks, and with what.
#[derive(Args)]
struct CallerOptions {
    /// pipeline, service, operator or admin.
    #[arg(long, default_value = "", hide_default_value = true)]
    role: String,

    /// The caller's tenant, or `*`.
    #[arg(long, default_value = "", hide_default_value = true)]
    org: String,

    /// A project that the caller is limited to; may be given several times.
    #[arg(long = "project", value_name = "PROJECT")]
    projects: Vec<String>,

    /// A provider that the caller is limited to; may be given several times.
    #[arg(long = "provider", value_name = "PROVIDER")]
    limits: Vec<String>,

    /// How the caller proved who they are: token, jwt, mtls, unix or grant [default: token].
    #[arg(long)]
    proof: Option<String>,

    /// What the proof says; may be given several times.
    #[arg(long = "claim", value_name = "KEY=VALUE", value_parser = values::label)]
    claims: Vec<(String, String)>,

    /// The pipeline run.
    #[arg(long, default_value = "", hide_default_value = true)]
    run: String,

    /// The run's phase.
    #[arg(long, default_value = "", hide_default_value = true)]
    phase: String,

    /// The address that the request comes from.
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,

    /// Whose certificate the connection bears.
    #[arg(long, value_name = "IDENTITY")]
    certificate: Option<String>,

    /// How old the second factor is, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    step_up_age: Option<Duration>,

    /// Somebody else has approved the request.
    #[arg(long)]
    approved: bool,
}

impl Explain {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let told = if self.online {
            let request = self.request()?;
            context.server.admin().await?.explain_policy(request).await?.into_inner()
        } else {
            let bench = self.files.open()?;
            bench.policies()?;
            bench.explain(&self.asked()).map_err(|unasked| Failure::usage(unasked.to_string()))?
        };
        context.out.show(&told, words)
    }

    fn asked(self) -> Asked {
        let who = self.caller;
        let caller = Imagined {
            role: who.role,
            org: who.org,
            projects: who.projects,
            providers: who.limits,
            proof: who.proof,
            claims: who.claims.into_iter().collect(),
            run: who.run,
            phase: who.phase,
            source: who.source,
            certificate: who.certificate,
            step_up_age: who.step_up_age.map(|age| age.as_secs()),
            approved: who.approved,
            ..Imagined::default()
        };
        let labels = self.labels.into_iter().collect();
        Asked { caller, action: self.action, on: self.on, labels, state: self.state, health: self.health, at: self.at }
    }

    fn request(self) -> Result<ExplainPolicyRequest, Failure> {
        let part = |text: &str| text.to_owned();
        let [org, project, provider, name] = match self.on.split('/').collect::<Vec<_>>().as_slice() {
            [org] => [part(org), part(""), part(""), part("")],
            [org, provider] => [part(org), part(""), part(provider), part("")],
            [org, project, provider] => [part(org), part(project), part(provider), part("")],
            [org, project, provider, name] => [part(org), part(project), part(provider), part(name)],
            _ => return Err(Failure::usage("--on looks like ORG, ORG/PROVIDER or ORG/PROJECT/PROVIDER[/NAME]")),
        };
        let who = self.caller;
        let caller = ImaginedCaller {
            role: who.role,
            org: who.org,
            projects: who.projects,
            providers: who.limits,
            proof: who.proof.unwrap_or_default(),
            claims: who.claims.into_iter().collect(),
            run: who.run,
            phase: who.phase,
            name: String::new(),
        };
        Ok(ExplainPolicyRequest {
            caller: self.token_id.is_none().then_some(caller),
            token_id: self.token_id.unwrap_or_default(),
            action: self.action,
            org,
            project,
            provider,
            name,
            source: who.source.map(|source| source.to_string()).unwrap_or_default(),
            certificate: who.certificate.unwrap_or_default(),
            step_up_age: who.step_up_age.map(Into::into),
            approved: who.approved,
        })
    }
}

fn words(told: &ExplainPolicyResponse) -> String {
    let mut page = format!("{}\n", escape(&told.verdict));
    for it in &told.decisive {
        page += &format!("\n{}\n{}", escape(&place("decided by", it)), text(it));
        page += &it.unmet.iter().map(|unmet| format!("  {}\n", escape(unmet))).collect::<String>();
    }
    if told.decisive.is_empty() && told.verdict != "allowed" {
        page += "\nno policy permits it\n";
    }
    for it in &told.almost {
        page += &format!("\n{}\n{}", escape(&place("almost permitted by", it)), text(it));
        page += &it.unmet.iter().map(|unmet| format!("  does not hold: {}\n", escape(unmet))).collect::<String>();
    }
    if !told.remedies.is_empty() {
        page += "\nit would be allowed with any of\n";
        page += &told.remedies.iter().map(|remedy| format!("  {}\n", escape(remedy))).collect::<String>();
    }
    page
}

fn place(how: &str, it: &CitedPolicy) -> String {
    let at = if it.file.is_empty() { String::new() } else { format!(", {}:{}", it.file, it.line) };
    format!("{how} {} ({}{at})", it.id, it.effect)
}

fn text(it: &CitedPolicy) -> String {
    it.text.lines().map(|line| format!("    {}\n", escape(line))).collect()
}
