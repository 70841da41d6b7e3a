//! The way in: store a credential, or only test one.

use clap::Args;

use super::Context;
use super::credentials::{Target, present};
use super::error::{Exit, Failure};
use super::input::{Upload, Uploaded};
use super::output::progress;
use super::{explain, providers, questions, values, view};
use crate::pb::v1::{
    Provider, SetupCredentialRequest, SetupCredentialResponse, ValidateCredentialRequest, ValidateCredentialResponse,
};

/// Store a credential, or rotate it where there is one already.
///
/// The secret comes from stdin, a file or a prompt, never from an argument. Without --field and --document, what is
/// piped in is the upload: the bare key of a provider with one field, or the file that a cloud's own tools wrote; in a
/// terminal each field is asked for. A rotation adds a version; the old one is served until the new one passes its
/// connection test.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom setup acme aws_keys\n  printf %s \"$OPENAI_API_KEY\" | strongroom setup acme openai\n  strongroom setup acme gcp_service_account --document key.json"
)]
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
        let metadata = metadata(self.metadata.as_deref())?;
        let (mut upload, asked) = match self.upload.read(&mut context.inputs)? {
            Some(upload) => (upload, None),
            None if context.inputs.terminal => ask(context, &self.target.provider).await?,
            None => (Uploaded { document: Some(context.inputs.secret("stdin")?), ..Uploaded::default() }, None),
        };
        let mut client = context.server.credentials().await?;
        let reply = loop {
            if !self.no_probe {
                progress("storing it, and testing the connection …");
            }
            match (client.setup_credential(self.request(upload.clone(), metadata.clone())).await, &asked) {
                (Ok(reply), _) => break reply.into_inner(),
                (Err(status), asked) => {
                    let refused = Failure::from(status).about(&self.target.org, &self.target.provider);
                    let Some(entry) = asked else { return Err(refused) };
                    questions::correct(entry, &mut upload, refused, &mut context.inputs)?;
                }
            }
        };
        context.out.show(&reply, sheet)?;
        explain::stored(&reply, &present(reply.credential.clone())?)
    }

    fn request(&self, upload: Uploaded, metadata: Option<pbjson_types::Struct>) -> SetupCredentialRequest {
        SetupCredentialRequest {
            org: self.target.org.clone(),
            project: self.target.project.clone(),
            provider: self.target.provider.clone(),
            name: self.target.name.clone(),
            fields: upload.fields,
            document: upload.document,
            metadata,
            labels: self.labels.iter().cloned().collect(),
            no_probe: self.no_probe,
            expires_at: self.expires_at,
            etag: self.expected.etag(),
        }
    }
}

/// In a terminal, where nothing was named. The entry, where it may be read, can be asked about again.
async fn ask(context: &mut Context, provider: &str) -> Result<(Uploaded, Option<Provider>), Failure> {
    match providers::one(context, provider).await {
        Ok(entry) => Ok((questions::upload(&entry, &mut context.inputs)?, Some(entry))),
        Err(failure) if failure.exit() == Exit::Denied => {
            Ok((questions::unknown(provider, &mut context.inputs)?, None))
        }
        Err(failure) => Err(failure),
    }
}

fn metadata(text: Option<&str>) -> Result<Option<pbjson_types::Struct>, Failure> {
    text.map(|text| values::json_object("--metadata", text)).transpose()
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

    /// What the test of an upload needs to know beside it, such as an account id; no secret.
    #[arg(long, value_name = "JSON|@FILE")]
    metadata: Option<String>,
}

impl Validate {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        // Unlike setup, stdin counts only when it is named: a script's stdin is often just there.
        let metadata = metadata(self.metadata.as_deref())?;
        let upload = self.upload.read(&mut context.inputs)?;
        if upload.is_none() && metadata.is_some() {
            return Err(Failure::usage("--metadata goes with an upload; a stored credential has its own")
                .hint("`strongroom metadata` changes it"));
        }
        let Uploaded { fields, document } = upload.unwrap_or_default();
        let Target { org, provider, project, name } = self.target;
        let about = (org.clone(), provider.clone());
        let request = ValidateCredentialRequest { org, project, provider, name, fields, document, metadata };
        let mut client = context.server.credentials().await?;
        progress("testing the connection …");
        let reply = client.validate_credential(request).await;
        let reply = reply.map_err(|status| Failure::from(status).about(&about.0, &about.1))?.into_inner();
        context.out.show(&reply, validated_sheet)?;
        explain::tested(&reply, &about.1)
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
    let test = it.probe.as_ref().map(view::test_lines).unwrap_or_default();
    view::sheet(about.into_iter().chain(test).chain([("etag", credential.etag)]))
}

fn validated_sheet(it: &ValidateCredentialResponse) -> String {
    let about = [
        ("fingerprint", it.fingerprint.clone()),
        ("identity", view::pairs(&it.public_identity)),
        ("state", it.credential.as_ref().map(|credential| credential.state.clone()).unwrap_or_default()),
    ];
    view::sheet(it.probe.as_ref().map(view::test_lines).unwrap_or_default().into_iter().chain(about))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::client::Connection;
    use super::super::input::tests::{piped, terminal};
    use super::super::output::Format;
    use super::super::output::tests::Page;
    use super::super::{Cli, Command};
    use super::*;

    fn setup(line: &str) -> Setup {
        let words = ["strongroom", "setup", "acme", "openai"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Setup(setup) => setup,
            _ => unreachable!("that is the setup command"),
        }
    }

    #[test]
    fn options_become_the_request() {
        let upload = Uploaded { document: Some("sk-1\n".to_owned().into()), ..Uploaded::default() };
        let request = setup("--label a=b --no-probe --etag 7").request(upload, None);
        assert_eq!(request.document.unwrap().expose(), b"sk-1\n");
        assert_eq!(
            (request.project.as_str(), request.name.as_str(), request.etag.as_str()),
            ("default", "default", "7")
        );
        assert_eq!(request.labels["a"], "b");
        assert!(request.no_probe && request.metadata.is_none() && request.expires_at.is_none());
    }

    /// Against no server: what comes before it is asked.
    async fn refused(line: &str, terminal_of: Option<&'static [u8]>) -> Failure {
        let inputs = terminal_of.map_or_else(|| piped(b""), terminal);
        let out = Page::default().output(Format::Table, false);
        let mut context = Context { server: Connection::to("http://127.0.0.1:1"), inputs, out };
        setup(line).run(&mut context).await.unwrap_err()
    }

    #[tokio::test]
    async fn in_a_terminal_the_registry_is_asked_before_anybody_else() {
        assert_eq!(refused("", Some(b"")).await.exit(), Exit::NoConnection);
        assert_eq!(refused("", None).await.exit(), Exit::Usage, "an empty pipe");
    }

    #[tokio::test]
    async fn a_secret_behind_the_provider_is_refused_and_not_repeated() {
        let failure = refused("sk-canary", None).await.to_string();
        assert!(failure.contains("must not be an argument") && !failure.contains("canary"), "{failure}");
    }
}
