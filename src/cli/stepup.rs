//! Second factors and approvals.

use clap::{Args, Subcommand};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

use super::Context;
use super::error::{Exit, Failure};
use super::output::{escape, say};
use super::view::{self, Columns};
use crate::crypto::Secret;
use crate::pb::v1::{
    Approval, ApproveRequestRequest, ConfirmSecondFactorRequest, EnrolSecondFactorRequest, ListApprovalsRequest,
    ListSecondFactorsRequest, RejectRequestRequest, RemoveSecondFactorRequest, SecondFactor,
};

/// Enrol, confirm, remove and list second factors.
///
/// Where policy asks for one, a command asks for the code in a terminal, or takes it from STRONGROOM_CODE. A code is good
/// once.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom second-factor enrol")]
pub(super) struct Factors {
    #[command(subcommand)]
    command: FactorCommand,
}

#[derive(Subcommand)]
enum FactorCommand {
    Enrol(Enrol),
    Confirm(Confirm),
    Remove(Remove),
    List(ListFactors),
}

impl Factors {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            FactorCommand::Enrol(command) => command.run(context).await,
            FactorCommand::Confirm(command) => command.run(context).await,
            FactorCommand::Remove(command) => command.run(context).await,
            FactorCommand::List(command) => command.run(context).await,
        }
    }
}

/// Show a QR code for an authenticator app, once.
///
/// One's first second factor is enrolled within ten minutes of the token's issue. Later, an administrator does it with
/// --caller, and hands the QR code over.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom second-factor enrol --caller 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Enrol {
    /// Somebody else's: the caller's id, such as a token's.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
}

impl Enrol {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if !context.out.is_json() && !context.out.is_terminal() {
            return Err(Failure::usage("the QR code holds a secret, and stdout is no terminal")
                .hint("run it in a terminal, or say --output json"));
        }
        let request = EnrolSecondFactorRequest { caller: self.caller.unwrap_or_default() };
        let reply = context.server.step_up().await?.enrol_second_factor(request).await?.into_inner();
        let uri = reply.uri.clone().unwrap_or_default();
        let picture = picture(&uri)?;
        context.out.show(&reply, |_| picture)?;
        say("scan it, then run `strongroom second-factor confirm` with the code that appears; it is not shown again");
        Ok(())
    }
}

/// Show the server the first code of a new second factor. From then on it counts.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom second-factor confirm")]
struct Confirm {}

impl Confirm {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let code = match context.server.take_code() {
            Some(code) => code,
            None => context.inputs.secret("the code that your authenticator shows")?,
        };
        // A pipe ends with the line's end.
        let code = Some(Secret::new(code.expose().trim_ascii_end()));
        let reply = context.server.step_up().await?.confirm_second_factor(ConfirmSecondFactorRequest { code }).await?;
        context.out.show(&reply.into_inner().info.unwrap_or_default(), |info| factors(std::slice::from_ref(info)))
    }
}

/// Remove a second factor: your own takes a code of it.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom second-factor remove --caller 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Remove {
    /// Somebody else's: the caller's id, such as a token's.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
}

impl Remove {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = RemoveSecondFactorRequest { caller: self.caller.unwrap_or_default() };
        context.server.step_up().await?.remove_second_factor(request).await?;
        say("the second factor is removed");
        Ok(())
    }
}

/// List who has a second factor, newest first.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom second-factor list --org acme")]
struct ListFactors {
    /// Only of callers of this tenant.
    #[arg(long)]
    org: Option<String>,
}

impl ListFactors {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ListSecondFactorsRequest { org: self.org.unwrap_or_default() };
        let reply = context.server.step_up().await?.list_second_factors(request).await?.into_inner();
        context.out.show(&reply.second_factors, |list| factors(list))
    }
}

/// See who asks for what, and agree or not.
///
/// A request that needs a second person is refused with an id. Once somebody else has approved it, the same command with
/// `--approval ID` does it, once.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom approval list --org acme")]
pub(super) struct Approvals {
    #[command(subcommand)]
    command: ApprovalCommand,
}

#[derive(Subcommand)]
enum ApprovalCommand {
    List(ListApprovals),
    Approve(Approve),
    Reject(Reject),
}

impl Approvals {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            ApprovalCommand::List(command) => command.run(context).await,
            ApprovalCommand::Approve(command) => command.run(context).await,
            ApprovalCommand::Reject(command) => command.run(context).await,
        }
    }
}

/// List requests that wait for a second person, and those that one has agreed to.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom approval list --org acme")]
struct ListApprovals {
    /// Only about this tenant.
    #[arg(long)]
    org: Option<String>,
}

impl ListApprovals {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ListApprovalsRequest { org: self.org.unwrap_or_default() };
        let reply = context.server.step_up().await?.list_approvals(request).await?.into_inner();
        context.out.show(&reply.approvals, |list| approvals(list))
    }
}

/// Agree to somebody else's request. It may be done once, within an hour.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom approval approve 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Approve {
    /// The approval's id, as `strongroom approval list` shows it.
    id: String,
}

impl Approve {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ApproveRequestRequest { id: self.id };
        let reply = context.server.step_up().await?.approve_request(request).await?.into_inner();
        show(context, reply.approval)
    }
}

/// Do not agree to a request, or no longer.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom approval reject 01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d")]
struct Reject {
    /// The approval's id, as `strongroom approval list` shows it.
    id: String,
}

impl Reject {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = RejectRequestRequest { id: self.id };
        let reply = context.server.step_up().await?.reject_request(request).await?.into_inner();
        show(context, reply.approval)
    }
}

fn show(context: &mut Context, approval: Option<Approval>) -> Result<(), Failure> {
    context.out.show(&approval.unwrap_or_default(), |it| approvals(std::slice::from_ref(it)))
}

/// The QR code, and the text of it for those who cannot scan.
fn picture(uri: &Secret) -> Result<String, Failure> {
    let broken = |why: &str| Failure::new(Exit::Bug, format!("the server's second factor has no QR code: {why}"));
    let code = QrCode::new(uri.expose()).map_err(|cause| broken(&cause.to_string()))?;
    // Light on dark is what most terminals are; scanners read both.
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let drawn = Zeroizing::new(drawn);
    let text = uri.expose_text().ok_or_else(|| broken("it is no text"))?;
    Ok(format!("{}\n\n{}\n", *drawn, escape(text)))
}

fn factors(list: &[SecondFactor]) -> String {
    let row = |it: &SecondFactor| {
        vec![
            it.caller.clone(),
            it.caller_name.clone(),
            it.org.clone(),
            it.state.clone(),
            view::time(it.created_at.as_ref()),
            view::time(it.confirmed_at.as_ref()),
            view::time(it.locked_until.as_ref()),
        ]
    };
    Columns::new(&["CALLER", "NAME", "ORG", "STATE", "ENROLLED", "CONFIRMED", "LOCKED UNTIL"])
        .page(list.iter().map(row))
}

fn approvals(list: &[Approval]) -> String {
    let row = |it: &Approval| {
        let about = match it.provider.as_str() {
            "" => format!("{} {}", it.org, it.name).trim_end().to_owned(),
            provider => view::path(&it.org, &it.project, provider, &it.name),
        };
        vec![
            it.id.clone(),
            it.state.clone(),
            it.action.clone(),
            about,
            if it.requester_name.is_empty() { it.requester.clone() } else { it.requester_name.clone() },
            view::time(it.requested_at.as_ref()),
            view::time(it.expires_at.as_ref()),
            it.approved_by.clone(),
        ]
    };
    Columns::new(&["ID", "STATE", "ACTION", "ABOUT", "WHO ASKS", "ASKED", "ENDS", "APPROVED BY"])
        .page(list.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_a_qr_code_and_its_text() {
        let uri = "otpauth://totp/strongroom:ci?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=strongroom";
        let picture = picture(&Secret::from(uri.to_owned())).unwrap();
        assert!(picture.ends_with(&format!("\n\n{uri}\n")), "{picture}");
        assert!(picture.lines().count() > 20 && picture.contains('█'));
    }
}
