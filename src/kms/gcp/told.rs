//! What an operator is told of Google's refusals: in its words, with what to do, and without what may be a secret.

use google_cloud_gax::error::CredentialsError;
use google_cloud_gax::error::rpc::Code;

use super::super::Error;
use super::Doing;

const LONGEST: usize = 300;
/// Tokens, and data keys in base64, are longer; few other words are.
const LONGEST_RUN: usize = 40;

/// Why somebody has to do something; nothing if it may pass.
pub(super) fn refusal(code: Code, doing: Doing, message: &str) -> Option<String> {
    let permission = match doing {
        Doing::Encrypt => "cloudkms.cryptoKeyVersions.useToEncrypt",
        Doing::Decrypt => "cloudkms.cryptoKeyVersions.useToDecrypt",
    };
    let todo = match code {
        Code::PermissionDenied if message.contains("has not been used") || message.contains("disabled") => {
            "enable the Cloud KMS API in the project".to_owned()
        }
        Code::PermissionDenied => {
            format!("grant the caller {permission} on the key, as roles/cloudkms.cryptoKeyEncrypterDecrypter does")
        }
        Code::Unauthenticated => "the credentials are expired or not Google's; renew them".to_owned(),
        Code::NotFound => "there is no such key; check the URI, or make it with purpose ENCRYPT_DECRYPT".to_owned(),
        Code::FailedPrecondition if message.contains("DESTROY") => {
            "restore the version while it is scheduled for destruction; once destroyed, nothing of it opens".to_owned()
        }
        Code::FailedPrecondition => {
            "the key must have purpose ENCRYPT_DECRYPT, and its version must be enabled".to_owned()
        }
        Code::InvalidArgument => "the key must have purpose ENCRYPT_DECRYPT".to_owned(),
        Code::OutOfRange | Code::Unimplemented | Code::AlreadyExists => "is the endpoint Google's KMS?".to_owned(),
        _ => return None,
    };
    Some(format!("{todo} ({})", words(message)))
}

/// The caller's own credentials could not be had.
pub(super) fn unproven(key: String, error: &google_cloud_kms::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(credentials) = cause.downcast_ref::<CredentialsError>() {
            let text = credentials.to_string();
            // The body may quote what was sent.
            let said = words(text.split(", body=<").next().unwrap_or_default());
            return if credentials.is_transient() {
                let todo = "where no metadata server gives any, set GOOGLE_APPLICATION_CREDENTIALS";
                Error::Unavailable { key, cause: format!("its credentials cannot be had; {todo} ({said})") }
            } else {
                Error::Refused { key, cause: format!("its credentials are refused; renew them ({said})") }
            };
        }
        source = cause.source();
    }
    Error::Unavailable { key, cause: "its credentials cannot be had".to_owned() }
}

/// As it was said, but short, and without runs of characters that a token or a key could be.
pub(super) fn words(message: &str) -> String {
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '=');
    let shown = |word: &str| {
        let longest = word.split(|c| !in_run(c)).filter(|run| !run.contains("projects/")).map(str::len).max();
        if longest.unwrap_or_default() >= LONGEST_RUN { "…".to_owned() } else { word.to_owned() }
    };
    let all: Vec<_> = message.split_whitespace().map(shown).collect();
    all.join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_secret_is_not_said() {
        let said = words(
            "Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied on resource \
                          'projects/a-long-project-name/locations/europe-west1/keyRings/r/cryptoKeys/k'",
        );
        assert!(!said.contains('…'), "{said}");
        let dek = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
        assert_eq!(words(&format!("bad \"{dek}\"\nBearer ya29.{dek}")), "bad … Bearer …");
        assert_eq!(words(&"a ".repeat(1000)).len(), LONGEST);
    }

    #[test]
    fn a_refusal_names_the_permission_that_is_missing() {
        let cause = refusal(Code::PermissionDenied, Doing::Decrypt, "Permission denied").unwrap();
        assert!(cause.starts_with("grant the caller cloudkms.cryptoKeyVersions.useToDecrypt on the key"), "{cause}");
        assert!(refusal(Code::Unavailable, Doing::Encrypt, "").is_none());
        assert!(refusal(Code::ResourceExhausted, Doing::Encrypt, "").is_none());
    }
}
