//! The way to the server: its address, the token or the certificate, the deadline.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};
use http::HeaderValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::again::{Again, Missing};
use super::error::{Exit, Failure};
use super::output::say;
use super::values;
use crate::crypto::Secret;
use crate::pb::v1::admin_service_client::AdminServiceClient;
use crate::pb::v1::credential_service_client::CredentialServiceClient;
use crate::pb::v1::grant_service_client::GrantServiceClient;
use crate::pb::v1::step_up_service_client::StepUpServiceClient;

pub(super) type Credentials = CredentialServiceClient<Way>;
pub(super) type Admin = AdminServiceClient<Way>;
pub(super) type Grants = GrantServiceClient<Way>;
pub(super) type StepUp = StepUpServiceClient<Way>;
/// How a request goes out: with the token and the deadline, and once more when a code or an approval was missing.
pub(super) type Way = Again<InterceptedService<Channel, Outgoing>>;

/// A page of 500 credentials with all the metadata that they may have.
const MAX_REPLY: usize = 32 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Finds a dead peer behind a stream on which nothing happens for hours.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The server: http://HOST:PORT, https://HOST:PORT or unix:PATH.
    #[arg(long, global = true, env = "STRONGROOM_ADDR", hide_env_values = true, value_name = "ADDRESS")]
    #[arg(default_value = "http://127.0.0.1:7300")]
    pub addr: String,

    /// Trust only the certificate authorities in this PEM file; the system's are trusted otherwise.
    #[arg(long, global = true, env = "STRONGROOM_CA", hide_env_values = true, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Come with this certificate, a PEM file with its chain. Goes with --client-key.
    #[arg(long, global = true, env = "STRONGROOM_CLIENT_CERT", hide_env_values = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,

    /// The private key of --client-cert, a PEM file.
    #[arg(long, global = true, env = "STRONGROOM_CLIENT_KEY", hide_env_values = true, value_name = "FILE")]
    client_key: Option<PathBuf>,

    /// The file that holds the token. The token itself is read from STRONGROOM_TOKEN, never from an argument.
    #[arg(long, global = true, env = "STRONGROOM_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// From the environment, by [`Connection::take_secrets`].
    #[arg(skip)]
    token: Option<Secret>,
    #[arg(skip)]
    grant: Option<Secret>,

    /// The approval that somebody else has given to this very request: its id, as the refusal said it.
    #[arg(long, global = true, value_name = "ID", value_parser = approval)]
    approval: Option<HeaderValue>,

    /// A one-time code, from the environment, by [`take_secrets`].
    #[arg(skip)]
    code: Option<Secret>,

    /// How long to wait for the server, such as 10s or 5m [default: 30s].
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration)]
    timeout: Option<Duration>,
}

/// Goes with every request: the token, a grant where one is used, and the deadline that the server is told.
#[derive(Clone)]
pub(super) struct Outgoing {
    bearer: Option<MetadataValue<Ascii>>,
    grant: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

impl Connection {
    pub async fn credentials(&self) -> Result<Credentials, Failure> {
        let client = CredentialServiceClient::new(self.way(Some(TIMEOUT)).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    /// With a run's grant, where there is one: beside the token, or in its place.
    pub async fn credentials_by_grant(&self, file: Option<&Path>) -> Result<Credentials, Failure> {
        let mut outgoing = self.outgoing(Some(TIMEOUT))?;
        match given(self.grant.as_ref(), file, "grant")? {
            Some(grant) if outgoing.bearer.is_some() => outgoing.grant = Some(header("grant", "", &grant)?),
            Some(grant) => outgoing.bearer = Some(header("grant", BEARER, &grant)?),
            None => (),
        }
        let client = CredentialServiceClient::new(self.sending(outgoing).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    pub async fn grants(&self) -> Result<Grants, Failure> {
        let client = GrantServiceClient::new(self.way(Some(TIMEOUT)).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    /// For streams, which have no deadline.
    pub async fn credentials_without_end(&self) -> Result<Credentials, Failure> {
        Ok(CredentialServiceClient::new(self.way(None).await?))
    }

    pub async fn admin(&self) -> Result<Admin, Failure> {
        self.admin_within(TIMEOUT).await
    }

    /// For streams, which have no deadline.
    pub async fn admin_without_end(&self) -> Result<Admin, Failure> {
        let client = AdminServiceClient::new(self.way(None).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    /// With another default for how long to wait.
    pub async fn admin_within(&self, timeout: Duration) -> Result<Admin, Failure> {
        let client = AdminServiceClient::new(self.way(Some(timeout)).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    pub async fn step_up(&self) -> Result<StepUp, Failure> {
        let client = StepUpServiceClient::new(self.way(Some(TIMEOUT)).await?);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    async fn way(&self, timeout: Option<Duration>) -> Result<Way, Failure> {
        self.sending(self.outgoing(timeout)?).await
    }

    async fn sending(&self, outgoing: Outgoing) -> Result<Way, Failure> {
        let code = self.code.clone().filter(|code| !code.is_empty());
        let missing = Missing { code: Mutex::new(code), approval: self.approval.clone() };
        Ok(Again::new(InterceptedService::new(self.channel().await?, outgoing), Arc::new(missing)))
    }

    fn outgoing(&self, default: Option<Duration>) -> Result<Outgoing, Failure> {
        let timeout = default.map(|default| self.timeout.unwrap_or(default));
        let token = given(self.token.as_ref(), self.token_file.as_deref(), "token")?;
        let bearer = token.map(|token| header("token", BEARER, &token)).transpose()?;
        Ok(Outgoing { bearer, grant: None, timeout })
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let endpoint = self.endpoint()?;
        endpoint.connect().await.map_err(|error| {
            let cause = innermost(&error);
            let hint = match cause.contains("certificate") {
                true => "name the PEM file of the authority that signed it with --ca (STRONGROOM_CA)",
                false => "start a server with `strongroom serve --dev`, or say where it is with STRONGROOM_ADDR",
            };
            Failure::new(Exit::NoConnection, format!("cannot reach {}: {cause}", self.addr)).hint(hint)
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let scheme = self.addr.split_once(':').map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https" | "unix")) {
            return Err(wrong_address(&self.addr));
        }
        let [ca, cert, key] = [&self.ca, &self.client_cert, &self.client_key]
            .map(|path| path.as_ref().filter(|path| !path.as_os_str().is_empty()));
        if ca.is_some() && scheme == Some("http") {
            return Err(Failure::usage("--ca (STRONGROOM_CA) goes with an https:// address")
                .hint("without TLS, nothing would check the server's certificate: unset it, or say https://"));
        }
        if (cert.is_some() || key.is_some()) && scheme != Some("https") {
            return Err(Failure::usage("--client-cert and --client-key go with an https:// address")
                .hint("without TLS, nobody is shown a certificate"));
        }
        let mut endpoint = Endpoint::from_shared(self.addr.clone()).map_err(|_| wrong_address(&self.addr))?;
        if scheme == Some("https") {
            let tls = match ca {
                Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            let tls = match (cert, key) {
                (Some(cert), Some(key)) => {
                    let key = Zeroizing::new(read(key)?);
                    tls.identity(Identity::from_pem(read(cert)?, &*key))
                }
                (None, None) => tls,
                _ => return Err(Failure::usage("--client-cert and --client-key go together")),
            };
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| Failure::usage(format!("the certificates: {}", innermost(&error))))?;
        }
        if scheme == Some("http") && !is_loopback(endpoint.uri().host().unwrap_or_default()) {
            say(
                "warning: this connection is not encrypted; who listens sees the token and every secret (use https://)",
            );
        }
        Ok(endpoint
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| Failure::new(Exit::Bug, error.to_string()))?
            .connect_timeout(self.timeout.unwrap_or(TIMEOUT))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true))
    }
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        if let Some(grant) = &self.grant {
            request.metadata_mut().insert("strongroom-grant", grant.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

/// What is read from the environment, by the name of its option, and what to do for whoever gives it as an argument.
const SECRETS: [(&str, &str, &str); 3] = [
    (
        "token",
        "STRONGROOM_TOKEN",
        "set STRONGROOM_TOKEN, or name its file with STRONGROOM_TOKEN_FILE; and revoke this token",
    ),
    (
        "grant",
        "STRONGROOM_GRANT",
        "set STRONGROOM_GRANT, or name its file with STRONGROOM_GRANT_FILE; and revoke this grant",
    ),
    ("code", "STRONGROOM_CODE", "set STRONGROOM_CODE, or run the command in a terminal, where it asks"),
];

/// How the secrets above are read: as values of options that no help and no completion shows, and that are refused on the
/// command line, where every program on the machine could read them.
pub(super) fn secret_options() -> [Arg; 3] {
    SECRETS.map(|(name, variable, _)| {
        let option = Arg::new(name).long(name).global(true).hide(true);
        option.env(variable).hide_env_values(true).value_parser(secret)
    })
}

impl Connection {
    pub fn take_secrets(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        for (name, _, instead) in SECRETS {
            let mut here = Some(matches);
            while let Some(matches) = here {
                if matches.value_source(name) == Some(ValueSource::CommandLine) {
                    let why = format!("a {name} must not be an argument: other programs can read it there");
                    return Err(Failure::usage(why).hint(instead));
                }
                here = matches.subcommand().map(|(_, inner)| inner);
            }
        }
        self.token = matches.get_one("token").cloned();
        self.grant = matches.get_one("grant").cloned();
        self.code = matches.get_one("code").cloned();
        Ok(())
    }
}

const BEARER: &str = "Bearer ";

/// The environment's before a file's; an empty one counts as none.
fn given(value: Option<&Secret>, file: Option<&Path>, what: &str) -> Result<Option<Secret>, Failure> {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        return Ok(Some(value.clone()));
    }
    let Some(path) = file.filter(|path| !path.as_os_str().is_empty()) else { return Ok(None) };
    let bytes = std::fs::read(path)
        .map_err(|cause| Failure::usage(format!("cannot read the {what} file {}: {cause}", path.display())))?;
    Ok(Some(Secret::new(bytes.trim_ascii())))
}

fn header(what: &str, scheme: &str, value: &Secret) -> Result<MetadataValue<Ascii>, Failure> {
    let text = value.expose_text().map(|text| Zeroizing::new(format!("{scheme}{text}")));
    let value = text.and_then(|text| MetadataValue::try_from(text.as_str()).ok());
    let mut value = value.ok_or_else(|| {
        let variable = format!("STRONGROOM_{}", what.to_uppercase());
        Failure::usage(format!("the {what} holds characters that no {what} has"))
            .hint(format!("check {variable} and {variable}_FILE: one line, nothing but the {what}"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|cause| Failure::usage(format!("cannot read {}: {cause}", path.display())))
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.as_bytes()))
}

/// An id as the server says it, so that it can be compared with what the server says.
fn approval(text: &str) -> Result<HeaderValue, String> {
    let id = uuid::Uuid::parse_str(text).map_err(|_| "must be an approval's id".to_owned())?;
    HeaderValue::try_from(id.to_string()).map_err(|_| "must be an approval's id".to_owned())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn wrong_address(addr: &str) -> Failure {
    Failure::usage(format!("no address: {addr}"))
        .hint("--addr (STRONGROOM_ADDR) looks like http://127.0.0.1:7300, https://HOST:PORT or unix:PATH")
}

/// The cause that says something; the outer ones say "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Connection {
        pub fn to(addr: &str) -> Self {
            Self {
                addr: addr.into(),
                ca: None,
                client_cert: None,
                client_key: None,
                token_file: None,
                token: None,
                grant: None,
                approval: None,
                code: None,
                timeout: None,
            }
        }
    }

    #[tokio::test]
    async fn addresses() {
        for good in ["http://127.0.0.1:7300", "http://[::1]:7300", "https://vault.example:7300", "unix:/run/s.sock"] {
            assert!(Connection::to(good).endpoint().is_ok(), "{good}");
        }
        for wrong in ["", "127.0.0.1:7300", "localhost", "ftp://x", "http://", "http://a b"] {
            assert_eq!(Connection::to(wrong).endpoint().unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_ca_without_tls_is_refused() {
        let connection = Connection { ca: Some("ca.pem".into()), ..Connection::to("http://127.0.0.1:7300") };
        assert_eq!(connection.endpoint().unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn a_client_certificate_needs_its_key_and_tls() {
        let pem = || Some("client.pem".into());
        for (addr, client_cert, client_key) in [
            ("https://vault.example:7300", pem(), None),
            ("https://vault.example:7300", None, pem()),
            ("http://127.0.0.1:7300", pem(), pem()),
            ("unix:/run/s.sock", pem(), None),
        ] {
            let connection = Connection { client_cert, client_key, ..Connection::to(addr) };
            assert_eq!(connection.endpoint().unwrap_err().exit(), Exit::Usage, "{addr}");
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for addr in [format!("http://127.0.0.1:{port}"), "unix:/nowhere/strongroom.sock".into()] {
            let failure = Connection::to(&addr).credentials().await.err().unwrap();
            assert_eq!(failure.exit(), Exit::NoConnection);
            assert!(failure.to_string().contains("os error"), "the cause is told: {failure}");
        }
    }

    #[test]
    fn the_token_is_read_and_never_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "sr_from_file\n").unwrap();
        let from_file = Connection { token_file: Some(file.path().into()), ..Connection::to("") };
        assert_eq!(from_file.outgoing(None).unwrap().bearer.unwrap(), "Bearer sr_from_file");

        let both = Connection { token: Some(Secret::new(*b"sr_env")), ..from_file };
        let outgoing = both.outgoing(None).unwrap();
        assert_eq!(outgoing.bearer.as_ref().unwrap(), "Bearer sr_env");
        assert!(!format!("{:?}", outgoing.bearer).contains("sr_env"));

        let unset = Connection { token: Some(Secret::default()), ..Connection::to("") };
        assert!(unset.outgoing(None).unwrap().bearer.is_none());

        let broken = Connection { token: Some(Secret::new("canary\nü".as_bytes())), ..Connection::to("") };
        assert!(!broken.outgoing(None).err().unwrap().to_string().contains("canary"));
    }
}
