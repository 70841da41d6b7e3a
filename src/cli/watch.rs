//! Changes as they happen, across reconnects.

use std::time::Duration;

use clap::Args;

use super::Context;
use super::error::Failure;
use super::output::say;
use super::view;
use crate::pb::v1::WatchCredentialsRequest;

/// The waits between attempts: from the first, doubled, up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Print every change of an org's credentials as it is committed, until ended. No secrets.
///
/// When the connection is lost it is made again, and goes on after the last change that was printed. The first number of
/// a line is the one for --after.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom watch acme --after 0")]
pub(super) struct Watch {
    /// The tenant.
    org: String,

    /// Only this project.
    #[arg(long)]
    project: Option<String>,

    /// Only this provider.
    #[arg(long)]
    provider: Option<String>,

    /// Begin after this change, 0 being before all; only new changes, when not given.
    #[arg(long, value_name = "N")]
    after: Option<u64>,
}

impl Watch {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut request = WatchCredentialsRequest {
            org: self.org,
            project: self.project.unwrap_or_default(),
            provider: self.provider.unwrap_or_default(),
            after: self.after,
        };
        let mut wait = BACK_OFF.0;
        let mut ever_open = false;
        loop {
            let mut open = false;
            let ended = follow(context, &mut request, &mut open).await;
            if open {
                (wait, ever_open) = (BACK_OFF.0, true);
            }
            let why = match ended {
                Ok(()) => "the server ended the stream".to_owned(),
                // A first attempt that fails is told at once; later ones are waited for.
                Err(failure) if ever_open && failure.passes() => failure.message().to_owned(),
                Err(failure) => return Err(failure),
            };
            say(super::output::escape(&format!("{why}; trying again in {:.1} s", wait.as_secs_f32())));
            tokio::time::sleep(wait + jitter(wait)).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }
}

/// One connection's worth. Keeps in the request where to go on.
async fn follow(context: &mut Context, request: &mut WatchCredentialsRequest, open: &mut bool) -> Result<(), Failure> {
    let mut client = context.server.credentials_without_end().await?;
    let mut changes = client.watch_credentials(request.clone()).await?.into_inner();
    *open = true;
    while let Some(change) = changes.message().await? {
        context.out.line(&change, view::change_line)?;
        request.after = Some(change.sequence);
    }
    Ok(())
}

/// Up to a quarter more, so that a server's return is not met by all who watch at once.
fn jitter(wait: Duration) -> Duration {
    crate::crypto::random::<1>().map_or(Duration::ZERO, |[byte]| wait * u32::from(byte) / 1024)
}
