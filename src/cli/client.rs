//! The way to the server: its address, the token, the deadline.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::error::{Exit, Failure};
use super::output::say;
use super::values;
use crate::crypto::Secret;
use crate::pb::v1::admin_service_client::AdminServiceClient;
use crate::pb::v1::credential_service_client::CredentialServiceClient;
use crate::pb::v1::grant_service_client::GrantServiceClient;

pub(super) type Credentials = CredentialServiceClient<InterceptedService<Channel, Outgoing>>;
pub(super) type Admin = AdminServiceClient<InterceptedService<Channel, Outgoing>>;
pub(super) type Grants = GrantServiceClient<InterceptedService<Channel, Outgoing>>;

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

    /// The file that holds the token. The token itself is read from STRONGROOM_TOKEN, never from an argument.
    #[arg(long, global = true, env = "STRONGROOM_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// From the environment, by [`Connection::take_secrets`].
    #[arg(skip)]
    token: Option<Secret>,
    #[arg(skip)]
    grant: Option<Secret>,

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
        let outgoing = self.outgoing(Some(TIMEOUT))?;
        let client = CredentialServiceClient::with_interceptor(self.channel().await?, outgoing);
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
        let client = CredentialServiceClient::with_interceptor(self.channel().await?, outgoing);
        Ok(client.max_decoding_message_size(MAX_REPLY))
    }

    pub async fn grants(&self) -> Result<Grants, Failure> {
        let outgoing = self.outgoing(Some(TIMEOUT))?;
        Ok(GrantServiceClient::with_interceptor(self.channel().await?, outgoing).max_decoding_message_size(MAX_REPLY))
    }

    /// For streams, which have no deadline.
    pub async fn credentials_without_end(&self) -> Result<Credentials, Failure> {
        let outgoing = self.outgoing(None)?;
        Ok(CredentialServiceClient::with_interceptor(self.channel().await?, outgoing))
    }

    pub async fn admin(&self) -> Result<Admin, Failure> {
        self.admin_within(TIMEOUT).await
    }

    /// With another default for how long to wait.
    pub async fn admin_within(&self, timeout: Duration) -> Result<Admin, Failure> {
        let outgoing = self.outgoing(Some(timeout))?;
        let client = AdminServiceClient::with_interceptor(self.channel().await?, outgoing);
        Ok(client.max_decoding_message_size(MAX_REPLY))
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
        let ca = self.ca.as_ref().filter(|path| !path.as_os_str().is_empty());
        if ca.is_some() && scheme != Some("https") {
            return Err(Failure::usage("--ca (STRONGROOM_CA) goes with an https:// address")
                .hint("without TLS, nothing would check the server's certificate"));
        }
        let mut endpoint = Endpoint::from_shared(self.addr.clone()).map_err(|_| wrong_address(&self.addr))?;
        if scheme == Some("https") {
            let trust = match ca {
                Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(
                    std::fs::read(path)
                        .map_err(|cause| Failure::usage(format!("cannot read {}: {cause}", path.display())))?,
                )),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint
                .tls_config(trust)
                .map_err(|error| Failure::usage(format!("the trusted certificates: {}", innermost(&error))))?;
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

/// How STRONGROOM_TOKEN and STRONGROOM_GRANT are read: as the values of options that no help and no completion shows, and
/// that are refused on the command line, where every program on the machine could read them.
pub(super) fn secret_options() -> [Arg; 2] {
    [("token", "STRONGROOM_TOKEN"), ("grant", "STRONGROOM_GRANT")].map(|(name, variable)| {
        let option = Arg::new(name).long(name).global(true).hide(true);
        option.env(variable).hide_env_values(true).value_parser(secret)
    })
}

impl Connection {
    pub fn take_secrets(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        for (name, variable) in [("token", "STRONGROOM_TOKEN"), ("grant", "STRONGROOM_GRANT")] {
            let mut here = Some(matches);
            while let Some(matches) = here {
                if matches.value_source(name) == Some(ValueSource::CommandLine) {
                    let why = format!("a {name} must not be an argument: other programs can read it there");
                    let hint = format!("set {variable}, or name its file with {variable}_FILE; and revoke this {name}");
                    return Err(Failure::usage(why).hint(hint));
                }
                here = matches.subcommand().map(|(_, inner)| inner);
            }
        }
        self.token = matches.get_one("token").cloned();
        self.grant = matches.get_one("grant").cloned();
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
    let text = value.expose_text().map(|text| zeroize::Zeroizing::new(format!("{scheme}{text}")));
    let value = text.and_then(|text| MetadataValue::try_from(text.as_str()).ok());
    let mut value = value.ok_or_else(|| {
        let variable = format!("STRONGROOM_{}", what.to_uppercase());
        Failure::usage(format!("the {what} holds characters that no {what} has"))
            .hint(format!("check {variable} and {variable}_FILE: one line, nothing but the {what}"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.as_bytes()))
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
            Self { addr: addr.into(), ca: None, token_file: None, token: None, grant: None, timeout: None }
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
