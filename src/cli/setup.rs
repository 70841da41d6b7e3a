//! The way in: store a credential, or only test one.

use clap::Args;

use super::Context;
use super::credentials::{Target, present};
use super::error::{Exit, Failure};
use super::input::{Inputs, Upload, Uploaded};
use super::output::{progress, say};
use super::values;
use super::view;
use crate::pb::v1::{
    ProbeResult, SetupCredentialRequest, SetupCredentialResponse, ValidateCredentialRequest, ValidateCredentialResponse,
};

/// Store a credential, or rotate it where there is one already.
///
/// The secret comes from stdin, a file or a prompt, never from an argument. Without --field and --document, what is
/// piped in is the upload: the bare key of a provider with one field, or the provider's document. A rotation adds a
/// version; the old one is served until the new one passes its connection test.
#[derive(Args)]
#[command(after_help = "Example:\n  printf %s \"$OPENAI_API_KEY\" | strongroom setup acme openai --field api_key=-")]
pub(super) struct Setup {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    upload: Upload,

    /// A label to filter and to write policies by; may be given several times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    labels: Vec<(String, String)>,

    /// What is known about the credential and is no secret.
    #[arg(long, value_name = "JSON|@FILE")]
    metadata: Option<String>,

    /// When the provider stops accepting the secret, as in 2027-06-30T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    expires_at: Option<pbjson_types::Timestamp>,

    /// Serve it without a connection test. Needs a permission of its own.
    #[arg(long)]
    no_probe: bool,

    #[command(flatten)]
    expected: values::Expected,
}

impl Setup {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = self.request(&mut context.inputs)?;
        let mut client = context.server.credentials().await?;
        if !request.no_probe {
            progress("storing it, and testing the connection …");
        }
        let reply = client.setup_credential(request).await?.into_inner();
        context.out.show(&reply, sheet)?;
        verdict(&reply)
    }

    fn request(self, inputs: &mut Inputs) -> Result<SetupCredentialRequest, Failure> {
        let metadata = self.metadata.as_deref().map(|text| values::json_object("--metadata", text)).transpose()?;
        let upload = match self.upload.read(inputs)? {
            Some(upload) => upload,
            None if inputs.terminal => {
                return Err(Failure::usage("nothing to store: name a --field or a --document").hint(format!(
                    "`strongroom providers show {}` names its fields; --field NAME asks for one",
                    self.target.provider
                )));
            }
            None => Uploaded { document: Some(inputs.secret("stdin")?), ..Uploaded::default() },
        };
        Ok(SetupCredentialRequest {
            org: self.target.org,
            project: self.target.project,
            provider: self.target.provider,
            name: self.target.name,
            fields: upload.fields,
            document: upload.document,
            metadata,
            labels: self.labels.into_iter().collect(),
            no_probe: self.no_probe,
            expires_at: self.expires_at,
            etag: self.expected.etag(),
        })
    }
}

/// Test a credential: an upload without storing it, or the stored one.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom validate acme openai\n  strongroom validate acme gcp_service_account --document key.json"
)]
pub(super) struct Validate {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    upload: Upload,

    /// What is known about the upload and is no secret, such as its region.
    #[arg(long, value_name = "JSON|@FILE")]
    metadata: Option<String>,
}

impl Validate {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let metadata = self.metadata.as_deref().map(|text| values::json_object("--metadata", text)).transpose()?;
        // Unlike setup, stdin counts only when it is named: a script's stdin is often just there.
        let upload = self.upload.read(&mut context.inputs)?.unwrap_or_default();
        let Target { org, provider, project, name } = self.target;
        let (fields, document) = (upload.fields, upload.document);
        let request = ValidateCredentialRequest { org, project, provider, name, fields, document, metadata };
        let mut client = context.server.credentials().await?;
        progress("testing the connection …");
        let reply = client.validate_credential(request).await?.into_inner();
        context.out.show(&reply, validated_sheet)?;
        tested(reply.probe.as_ref())
    }
}

fn sheet(it: &SetupCredentialResponse) -> String {
    let (credential, version) = (it.credential.clone().unwrap_or_default(), it.version.clone().unwrap_or_default());
    let about = [
        ("credential", view::path(&credential.org, &credential.project, &credential.provider, &credential.name)),
        ("id", credential.id),
        ("version", view::version_number(version.version)),
        ("state", version.state),
        ("fingerprint", version.fingerprint),
        ("identity", view::pairs(&version.public_identity)),
    ];
    let etag = [("etag", credential.etag)];
    view::sheet(about.into_iter().chain(found(it.probe.as_ref())).chain(etag))
}

fn validated_sheet(it: &ValidateCredentialResponse) -> String {
    let about = [
        ("fingerprint", it.fingerprint.clone()),
        ("identity", view::pairs(&it.public_identity)),
        ("state", it.credential.as_ref().map(|credential| credential.state.clone()).unwrap_or_default()),
    ];
    view::sheet(found(it.probe.as_ref()).into_iter().chain(about))
}

/// The verdict of a test, and what to make of it. What is wrong is said once more on stderr, with the exit code.
fn found(probe: Option<&ProbeResult>) -> Vec<(&'static str, String)> {
    probe.map(view::test_lines).unwrap_or_default()
}

/// A refused upload is stored, as a version that is never served: the command has failed all the same. One whose test
/// could not be made will be tried again by the server: it has not.
fn verdict(reply: &SetupCredentialResponse) -> Result<(), Failure> {
    let credential = present(reply.credential.clone())?;
    let probe = reply.probe.clone().unwrap_or_default();
    match reply.version.as_ref().map(|version| (version.version, version.state.as_str())) {
        Some((number, "invalid")) => Err(with_hint(
            Failure::new(
                Exit::Refused,
                format!(
                    "{} refused it: {}; version {number} is not served",
                    credential.provider,
                    view::outcome(&probe)
                ),
            ),
            &probe,
        )),
        Some((number, "pending")) => {
            let mut arguments = format!("{} {} {number}", credential.org, credential.provider);
            for (option, value) in [("project", &credential.project), ("name", &credential.name)] {
                if !matches!(value.as_str(), "" | "default") {
                    arguments += &format!(" --{option} {value}");
                }
            }
            say(super::output::escape(&format!(
                "version {number} is not served yet ({}); `strongroom activate {arguments}` serves it untested",
                view::outcome(&probe)
            )));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn tested(probe: Option<&ProbeResult>) -> Result<(), Failure> {
    let Some(probe) = probe else { return Ok(()) };
    let exit = match probe.outcome.as_str() {
        "ok" | "untested" => return Ok(()),
        "rate_limited" | "provider_unreachable" => Exit::Unavailable,
        _ => Exit::Refused,
    };
    Err(with_hint(Failure::new(exit, format!("the connection test says {}", view::outcome(probe))), probe))
}

fn with_hint(failure: Failure, probe: &ProbeResult) -> Failure {
    if probe.hint.is_empty() { failure } else { failure.hint(&probe.hint) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::input::tests::{piped, terminal};
    use super::super::{Cli, Command};
    use super::*;
    use crate::pb::v1::{Credential, Version};

    fn request(line: &str, mut inputs: Inputs) -> Result<SetupCredentialRequest, Failure> {
        let words = ["strongroom", "setup", "acme", "openai"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Setup(setup) => setup.request(&mut inputs),
            _ => unreachable!("that is the setup command"),
        }
    }

    #[test]
    fn what_is_piped_in_without_a_field_is_the_document() {
        let request = request("--label a=b --no-probe --etag 7", piped(b"sk-1\n")).unwrap();
        assert_eq!(request.document.unwrap().expose(), b"sk-1\n");
        assert_eq!(
            (request.project.as_str(), request.name.as_str(), request.etag.as_str()),
            ("default", "default", "7")
        );
        assert_eq!(request.labels["a"], "b");
        assert!(request.no_probe && request.metadata.is_none() && request.expires_at.is_none());
    }

    #[test]
    fn in_a_terminal_it_says_where_the_fields_are_named() {
        let failure = request("", terminal(b"")).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        assert!(failure.to_string().contains("strongroom providers show openai"), "{failure}");
    }

    #[test]
    fn a_secret_behind_the_provider_is_refused_and_not_repeated() {
        let failure = request("sk-canary", piped(b"")).unwrap_err().to_string();
        assert!(failure.contains("must not be an argument") && !failure.contains("canary"), "{failure}");
    }

    fn reply(state: &str, outcome: &str) -> SetupCredentialResponse {
        SetupCredentialResponse {
            credential: Some(Credential { provider: "openai".into(), ..Credential::default() }),
            version: Some(Version { version: 2, state: state.into(), ..Version::default() }),
            probe: Some(ProbeResult {
                outcome: outcome.into(),
                hint: "make a new key".into(),
                ..ProbeResult::default()
            }),
        }
    }

    #[test]
    fn a_refusal_fails_and_a_delay_does_not() {
        let refused = verdict(&reply("invalid", "invalid_credential")).unwrap_err();
        assert_eq!(refused.exit(), Exit::Refused);
        assert!(refused.to_string().ends_with("hint: make a new key"), "{refused}");
        assert!(verdict(&reply("pending", "provider_unreachable")).is_ok());
        assert!(verdict(&reply("active", "ok")).is_ok());
        assert_eq!(verdict(&SetupCredentialResponse::default()).unwrap_err().exit(), Exit::Bug);
    }

    #[test]
    fn outcomes_of_a_test() {
        let exit = |outcome: &str| tested(reply("", outcome).probe.as_ref()).err().map(|failure| failure.exit());
        assert_eq!(exit("ok"), None);
        assert_eq!(exit("untested"), None);
        assert_eq!(exit("invalid_credential"), Some(Exit::Refused));
        assert_eq!(exit("misconfigured"), Some(Exit::Refused));
        assert_eq!(exit("provider_unreachable"), Some(Exit::Unavailable));
    }
}
