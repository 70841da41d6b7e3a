//! The way out.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::credentials::Target;
use super::error::{Exit, Failure};
use crate::crypto::Secret;
use crate::pb::v1::{DecryptCredentialRequest, DecryptCredentialResponse};

/// Print a credential's plaintext. The server records who read it before it answers.
///
/// What is printed is the secret and nothing else, byte for byte. A provider with one field gives the bare key; one with
/// several gives JSON, and --field picks from it.
#[derive(Args)]
#[command(after_help = "Example:\n  export OPENAI_API_KEY=\"$(strongroom decrypt acme openai)\"")]
pub(super) struct Decrypt {
    #[command(flatten)]
    target: Target,

    /// Only this field of a secret that has several.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,

    /// Pass the server's cache by.
    #[arg(long)]
    fresh: bool,

    /// The file that holds a run's grant, to use beside the token or without one. The grant itself is read from
    /// STRONGROOM_GRANT, never from an argument.
    #[arg(long, env = "STRONGROOM_GRANT_FILE", hide_env_values = true, value_name = "FILE")]
    grant_file: Option<PathBuf>,
}

impl Decrypt {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Target { org, provider, project, name } = self.target;
        let hint = format!("`strongroom providers show {provider}` names its fields");
        let request = DecryptCredentialRequest { org, project, provider, name, fresh: self.fresh };
        let mut server = context.server.credentials_by_grant(self.grant_file.as_deref()).await?;
        let mut reply = server.decrypt_credential(request).await?.into_inner();
        if let Some(field) = &self.field {
            reply = picked(reply, field).map_err(|failure| failure.hint(hint))?;
        }
        match context.out.is_json() {
            true => context.out.show(&reply, |_| String::new()),
            false => context.out.secret(&reply.secret.unwrap_or_default()),
        }
    }
}

/// The reply with one field in the secret's place. Text is given as it is, everything else as JSON.
fn picked(mut reply: DecryptCredentialResponse, field: &str) -> Result<DecryptCredentialResponse, Failure> {
    let secret = reply.secret.take().unwrap_or_default();
    // No error of serde_json's is told: it could repeat a piece of the secret.
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_slice(secret.expose()) else {
        return Err(Failure::new(Exit::NotFound, "this secret is a bare key and has no fields"));
    };
    let value = fields.remove(field);
    reply.secret = match value {
        Some(serde_json::Value::String(text)) => Some(Secret::from(text)),
        Some(other) => Some(Secret::from(other.to_string())),
        None => return Err(Failure::new(Exit::NotFound, "this secret has no such field")),
    };
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(secret: &[u8]) -> DecryptCredentialResponse {
        DecryptCredentialResponse { secret: Some(Secret::new(secret)), version: 3, ..Default::default() }
    }

    #[test]
    fn a_field_is_picked_from_json() {
        let json = br#"{"key":"line\nline","scopes":["a"]}"#;
        assert_eq!(picked(reply(json), "key").unwrap().secret.unwrap().expose(), b"line\nline");
        let scopes = picked(reply(json), "scopes").unwrap();
        assert_eq!((scopes.version, scopes.secret.unwrap().expose()), (3, br#"["a"]"#.as_slice()));
    }

    #[test]
    fn what_is_not_there_is_said_without_the_secret() {
        for secret in [&b"sk-canary"[..], br#""canary""#, br#"{"other":"canary"}"#, b"\xff", b""] {
            let failure = picked(reply(secret), "key").unwrap_err();
            assert_eq!(failure.exit(), Exit::NotFound);
            assert!(!failure.to_string().contains("canary"));
        }
    }
}
