//! The servers under load, as child processes, and clients of them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use strongroom::crypto::Secret;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use strongroom::pb::v1::{DecryptCredentialRequest, SetupCredentialRequest};
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use crate::bare;

pub const ORG: &str = "acme";
/// As long as a service account's key file.
pub const SECRET_BYTES: usize = 2_300;

pub struct Server {
    child: Child,
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    grpc: String,
    ops: String,
    token: String,
    home: PathBuf,
    /// From the start of the process until it said so.
    pub ready_after: Duration,
}

/// A way in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Tcp,
    Tls,
    Unix,
}

impl Server {
    /// The daemon, logging at info to nowhere.
    pub fn daemon(home: &Path, tls: bool) -> Self {
        Self::daemon_with(home, tls, "")
    }

    /// One of several over a database, which share the keys and the admin's token that the first has made.
    pub fn replica(home: &Path, first: &Path, url: &str) -> Self {
        let token = first.join("token");
        if home != first && token.exists() {
            std::fs::copy(token, home.join("token")).unwrap();
        }
        let keys = first.join("strongroom-data/keys");
        Self::daemon_with(home, false, &format!("[store]\nurl = {url:?}\n[kms.local]\ndirectory = {keys:?}\n"))
    }

    fn daemon_with(home: &Path, tls: bool, more: &str) -> Self {
        let mut config = String::from(
            "[listen]\ngrpc = \"127.0.0.1:0\"\nrest = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\nunix = \"socket\"\n\
             [limits]\ndeadline = \"300s\"\n",
        );
        if tls {
            config += "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
        }
        config += more;
        std::fs::write(home.join("bench.toml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(["serve", "--dev", "--config", "bench.toml"]);
        let (mut server, said) = Self::start(command, home, "# next:");
        let after = |words: &str| said.split(words).nth(1).unwrap().split(['\n', ',']).next().unwrap().to_owned();
        server.grpc = after("STRONGROOM_ADDR=");
        server.ops = after("metrics on ");
        let token = home.join("token");
        if said.contains("STRONGROOM_TOKEN=") {
            std::fs::write(&token, after("STRONGROOM_TOKEN=")).unwrap();
        }
        server.token = std::fs::read_to_string(token).unwrap();
        server
    }

    /// The same answers from tonic alone, behind the same listener, with the daemon's allocator or the system's.
    pub fn bare(home: &Path, tls: bool, wiping: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let flag = |is: bool, word| if is { word } else { "-" };
        command.args([bare::ARGUMENT, flag(tls, "tls"), flag(wiping, "wiping")]);
        let (mut server, said) = Self::start(command, home, "\n");
        server.grpc = said.trim().to_owned();
        // It looks at nothing, but the bytes on the wire are as many.
        server.token = format!("srt_{}", "A".repeat(70));
        server
    }

    fn start(mut command: Command, home: &Path, last_words: &str) -> (Self, String) {
        let begin = Instant::now();
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let mut child =
            command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(nowhere).spawn().unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !said.contains(last_words) {
            assert!(lines.read_line(&mut said).unwrap() > 0, "the server did not start: {said}");
        }
        let nothing = String::new;
        let ready_after = begin.elapsed();
        let (grpc, ops, token) = (nothing(), nothing(), nothing());
        (Self { child, grpc, ops, token, home: home.to_owned(), ready_after }, said)
    }

    pub async fn client(&self, door: Door) -> Client {
        Client { inner: CredentialServiceClient::new(self.channel(door).await), token: self.token.clone() }
    }

    pub async fn channel(&self, door: Door) -> Channel {
        let endpoint = Endpoint::from_shared(self.grpc.clone()).unwrap();
        match door {
            Door::Tcp => endpoint.connect().await.unwrap(),
            Door::Tls => {
                let root = Certificate::from_pem(std::fs::read(self.home.join("cert.pem")).unwrap());
                let tls = ClientTlsConfig::new().ca_certificate(root).domain_name("localhost");
                endpoint.tls_config(tls).unwrap().connect().await.unwrap()
            }
            Door::Unix => {
                let path = self.home.join("socket");
                let connect = move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap()
            }
        }
    }

    pub fn database(&self) -> PathBuf {
        self.home.join("strongroom-data/strongroom.db")
    }

    /// Processor time so far, in the kernel's ticks of a hundredth of a second.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(") ").next().unwrap().split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect();
        Duration::from_millis((fields[11] + fields[12]) * 10)
    }

    /// Resident bytes.
    pub fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }

    /// One page of the ops port.
    pub fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.ops).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.ops).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    /// Asks until it says that it serves.
    pub fn wait_until_ready(&self) {
        while !self.page("/readyz").starts_with("HTTP/1.1 200") {}
    }

    /// The sum of a counter over the labels that contain `label`.
    pub fn counted(&self, name: &str, label: &str) -> f64 {
        let page = self.page("/metrics");
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls with a token. Cloned for each call: clones share the connection.
#[derive(Clone)]
pub struct Client {
    inner: CredentialServiceClient<Channel>,
    token: String,
}

impl Client {
    pub fn with_token(self, token: String) -> Self {
        Self { token, ..self }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        request
    }

    pub fn calls(&self) -> CredentialServiceClient<Channel> {
        self.inner.clone()
    }

    pub async fn decrypt(&self, name: &str, fresh: bool) {
        let request = DecryptCredentialRequest {
            org: ORG.into(),
            provider: "saas_generic".into(),
            name: name.into(),
            fresh,
            ..DecryptCredentialRequest::default()
        };
        let reply = self.calls().decrypt_credential(self.request(request)).await.unwrap().into_inner();
        assert!(reply.secret.unwrap().len() >= SECRET_BYTES);
    }

    /// A token that nothing but its owner knows the form of.
    pub async fn setup(&self, name: &str) {
        let secret = Secret::from("s3".repeat(SECRET_BYTES / 2));
        let request = SetupCredentialRequest {
            provider: "saas_generic".into(),
            fields: [("token".to_owned(), secret)].into(),
            ..SetupCredentialRequest::default()
        };
        self.set_up(name, request).await;
    }

    /// A service account's file, whose RSA key is checked.
    pub async fn setup_key(&self, name: &str, file: Secret) {
        let request = SetupCredentialRequest {
            provider: "gcp_service_account".into(),
            document: Some(file),
            ..SetupCredentialRequest::default()
        };
        self.set_up(name, request).await;
    }

    async fn set_up(&self, name: &str, request: SetupCredentialRequest) {
        let request = SetupCredentialRequest { org: ORG.into(), name: name.into(), no_probe: true, ..request };
        // What had not left yet when its connection ended is asked again.
        loop {
            match self.calls().setup_credential(self.request(request.clone())).await {
                Err(status) if status.code() == Code::Cancelled => (),
                answer => {
                    answer.unwrap();
                    return;
                }
            }
        }
    }
}

/// A certificate for localhost, where the servers look for it.
pub fn certify(home: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(home.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
