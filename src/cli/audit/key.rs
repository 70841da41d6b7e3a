//! The public keys of checkpoints.

use clap::Args;

use crate::cli::Context;
use crate::cli::error::Failure;
use crate::cli::output::{escape, say};
use crate::cli::view;
use crate::pb::v1::{AuditKey, GetAuditKeyRequest, RotateAuditKeyRequest};

/// Print the public key that proves checkpoints and exports: keep it where the database is not.
///
/// Older keys come first; each proves what was signed while it was the newest.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom audit key > audit.pub")]
pub struct Key {
    /// Sign with a new key from now on.
    #[arg(long)]
    rotate: bool,
}

impl Key {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut client = context.server.admin().await?;
        let keys = match self.rotate {
            true => client.rotate_audit_key(RotateAuditKeyRequest {}).await?.into_inner().keys,
            false => client.get_audit_key(GetAuditKeyRequest {}).await?.into_inner().keys,
        };
        if let Some(newest) = keys.last().filter(|_| keys.len() > 1) {
            say(format!("the last one signs, since {}", view::time(newest.created_at.as_ref())));
        }
        context.out.show(&keys, |keys: &Vec<AuditKey>| keys.iter().map(|key| escape(&key.verifier) + "\n").collect())
    }
}
