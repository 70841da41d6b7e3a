//! The way to the end, and back from it while there is time.

use std::time::Duration;

use clap::Args;

use super::Context;
use super::credentials::{Target, present};
use super::error::Failure;
use super::input::Inputs;
use super::{values, view};
use crate::pb::v1::{DeleteCredentialRequest, UndeleteCredentialRequest};

/// Stop serving a credential and destroy it.
///
/// It is not served from this moment on. Its ciphertext and keys are destroyed at once, or after --destroy-after; until
/// then `strongroom undelete` takes it back. Fingerprints and history stay.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom delete acme openai --destroy-after 7d")]
pub(super) struct Delete {
    #[command(flatten)]
    target: Target,

    /// Do not ask.
    #[arg(long)]
    yes: bool,

    /// Keep the ciphertext this long for an undelete.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    destroy_after: Option<Duration>,

    #[command(flatten)]
    expected: values::Expected,
}

impl Delete {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if !self.yes {
            confirm(&self.target.path(), self.destroy_after.is_some(), &mut context.inputs)?;
        }
        let Target { org, provider, project, name } = self.target;
        let destroy_after = self.destroy_after.map(Into::into);
        let request =
            DeleteCredentialRequest { org, project, provider, name, etag: self.expected.etag(), destroy_after };
        let reply = context.server.credentials().await?.delete_credential(request).await?;
        context.out.show(&present(reply.into_inner().credential)?, view::credential_sheet)
    }
}

/// Take back a delete whose --destroy-after is not over yet.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom undelete acme openai")]
pub(super) struct Undelete {
    #[command(flatten)]
    target: Target,
}

impl Undelete {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Target { org, provider, project, name } = self.target;
        let request = UndeleteCredentialRequest { org, project, provider, name };
        let reply = context.server.credentials().await?.undelete_credential(request).await?;
        context.out.show(&present(reply.into_inner().credential)?, view::credential_sheet)
    }
}

fn confirm(path: &str, later: bool, inputs: &mut Inputs) -> Result<(), Failure> {
    if !inputs.terminal {
        return Err(Failure::usage("delete asks, and there is no terminal to ask in").hint("say --yes"));
    }
    let when = if later { "after the delay" } else { "now, for good" };
    let answer =
        inputs.ask(&format!("{path} stops being served, and its secret is destroyed {when}. Type {path} to go on:"))?;
    match answer.trim() == path {
        true => Ok(()),
        false => Err(Failure::usage(format!("that is not {path}: nothing was deleted"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::tests::{piped, terminal};
    use super::*;

    #[test]
    fn the_name_must_be_typed() {
        assert!(confirm("acme/openai", false, &mut terminal(b"acme/openai\n")).is_ok());
        for answer in [&b"y\n"[..], b"\n", b"", b"acme/openai2\n"] {
            assert!(confirm("acme/openai", true, &mut terminal(answer)).is_err());
        }
    }

    #[test]
    fn a_script_says_yes() {
        let failure = confirm("acme/openai", false, &mut piped(b"acme/openai\n")).unwrap_err().to_string();
        assert!(failure.ends_with("hint: say --yes"), "{failure}");
    }
}
