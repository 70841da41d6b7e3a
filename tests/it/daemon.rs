//! The real daemon as a child process, on ports that the system chose, in a directory of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use strongroom::crypto::Secret;
use strongroom::pb::v1::admin_service_client::AdminServiceClient;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use strongroom::pb::v1::{DecryptCredentialRequest, IssueTokenRequest, SetupCredentialRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub const PORTS: &str = "[listen]\ngrpc = \"127.0.0.1:0\"\nrest = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n";

pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_strongroom")
}

pub struct Daemon {
    child: Child,
    pub home: PathBuf,
    /// `http://HOST:PORT` of gRPC.
    pub addr: String,
    pub rest: String,
    pub ops: String,
    /// The first admin's; empty when one was printed at an earlier start.
    pub token: String,
}

impl Daemon {
    pub fn start(home: &Path) -> Self {
        Self::start_with(home, "")
    }

    /// With more configuration than the ports.
    pub fn start_with(home: &Path, config: &str) -> Self {
        Self::start_under(home, config, &[])
    }

    /// Behind another program, such as a fault injector.
    pub fn start_under(home: &Path, config: &str, wrapper: &[&str]) -> Self {
        match Self::try_start(home, config, wrapper) {
            Ok(daemon) => daemon,
            Err((status, log)) => panic!("the daemon did not start: {status}\n{log}"),
        }
    }

    pub fn try_start(home: &Path, config: &str, wrapper: &[&str]) -> Result<Self, (ExitStatus, String)> {
        let file = home.join("strongroom.toml");
        std::fs::write(&file, format!("{PORTS}{config}{}", defaults(config))).unwrap();
        let log = File::options().create(true).append(true).open(home.join("log")).unwrap();
        let (first, rest) = wrapper.split_first().map_or((program(), &[] as &[&str]), |(first, rest)| (*first, rest));
        let mut command = Command::new(first);
        command.args(rest);
        if !wrapper.is_empty() {
            command.arg(program());
        }
        let temporary = home.join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let mut child = command
            .env("TMPDIR", &temporary)
            .args(["serve", "--dev", "--config", "strongroom.toml"])
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut said).unwrap() > 0 && !said.contains("# next:") {}
        if !said.contains("# next:") {
            return Err((child.wait().unwrap(), std::fs::read_to_string(home.join("log")).unwrap()));
        }
        // Kept, so that it can be looked at, and so that the daemon may still write.
        let mut stdout = File::options().create(true).append(true).open(home.join("stdout")).unwrap();
        stdout.write_all(said.as_bytes()).unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut stdout));
        let after = |words: &str| said.split(words).nth(1).unwrap().split([',', '\n']).next().unwrap().to_owned();
        let exported =
            |name: &str| said.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")).map(str::to_owned));
        Ok(Self {
            child,
            home: home.to_owned(),
            addr: exported("STRONGROOM_ADDR").unwrap(),
            rest: after("REST on "),
            ops: after("metrics on "),
            token: exported("STRONGROOM_TOKEN").unwrap_or_default(),
        })
    }

    /// Without `--dev`, as in production; a missing key is made. What it prints goes into the file `stdout`, and the
    /// token in it is this one's: a vault that knows somebody prints none.
    pub fn serve(home: &Path, config: &str) -> Self {
        let keys = if config.contains("[kms.local]") { "" } else { "\n[kms.local]\ncreate = true\n" };
        std::fs::write(home.join("strongroom.toml"), format!("{PORTS}{config}{}{keys}", defaults(config))).unwrap();
        let stdout = File::create(home.join("stdout")).unwrap();
        let log = File::options().create(true).append(true).open(home.join("log")).unwrap();
        let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
        let starts = |log: &str| log.matches(" serving ").count();
        let before = starts(&read("log"));
        let mut serve = Command::new(program());
        serve.args(["serve", "--config", "strongroom.toml"]).current_dir(home).stdin(Stdio::null());
        let mut child = serve.stdout(stdout).stderr(log).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while starts(&read("log")) == before {
            let status = child.try_wait().unwrap();
            assert!(status.is_none() && Instant::now() < end, "the daemon did not start: {status:?}\n{}", read("log"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = read("log");
        let serving = log.lines().rfind(|line| line.contains(" serving ")).unwrap();
        let place = |name: &str| serving.split(name).nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let scheme = if config.contains("[tls]") { "https" } else { "http" };
        let mut daemon = Self {
            child,
            home: home.to_owned(),
            addr: format!("{scheme}://{}", place("grpc=")),
            rest: place("rest="),
            ops: place("ops="),
            token: String::new(),
        };
        // Whatever it prints, it prints before it serves the first request.
        daemon.scrape("/healthz");
        let said = read("stdout");
        let token = said.lines().find_map(|line| line.strip_prefix("export STRONGROOM_TOKEN="));
        daemon.token = token.unwrap_or_default().to_owned();
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing is flushed, nothing said.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the end that follows.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).unwrap();
        let signal = match name {
            "TERM" => rustix::process::Signal::TERM,
            "HUP" => rustix::process::Signal::HUP,
            "KILL" => rustix::process::Signal::KILL,
            "STOP" => rustix::process::Signal::STOP,
            "CONT" => rustix::process::Signal::CONT,
            other => panic!("{other}"),
        };
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap()
    }

    /// The first log line like this. Lines leave through a queue, so it may come a little later than the answer.
    #[track_caller]
    pub fn logged(&self, like: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| like(line)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no such line in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn database(&self) -> PathBuf {
        self.home.join("strongroom-data/strongroom.db")
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.addr.clone()).unwrap().connect().await.unwrap()
    }

    pub async fn credentials(&self, token: &str) -> CredentialServiceClient<InterceptedService<Channel, Bearer>> {
        CredentialServiceClient::with_interceptor(self.channel().await, Bearer::new(token))
    }

    pub async fn admin(&self, token: &str) -> AdminServiceClient<InterceptedService<Channel, Bearer>> {
        AdminServiceClient::with_interceptor(self.channel().await, Bearer::new(token))
    }

    /// A token for somebody who is not the admin.
    pub async fn issue(&self, role: &str, org: &str, providers: &[&str]) -> String {
        let request = IssueTokenRequest {
            name: format!("a-{role}"),
            role: role.into(),
            org: org.into(),
            providers: providers.iter().map(ToString::to_string).collect(),
            ..IssueTokenRequest::default()
        };
        let reply = self.admin(&self.token).await.issue_token(request).await.unwrap().into_inner();
        reply.token.unwrap().expose_text().unwrap().to_owned()
    }

    /// One HTTP/1.1 exchange on a connection of its own.
    pub fn http(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> (u16, String) {
        exchange(&self.rest, method, path, token, body)
    }

    pub fn scrape(&self, path: &str) -> (u16, String) {
        exchange(&self.ops, "GET", path, "", None)
    }

    /// The daemon's own program as a client of this daemon.
    pub fn cli(&self, token: &str, args: &[&str], stdin: Option<&str>) -> std::process::Output {
        let mut child = Command::new(program())
            .args(args)
            .env("STRONGROOM_ADDR", &self.addr)
            .env("STRONGROOM_TOKEN", token)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(text) = stdin {
            // A command that refuses its arguments does not read.
            let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        }
        child.wait_with_output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn exchange(address: &str, method: &str, path: &str, token: &str, body: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if !token.is_empty() {
        head += &format!("authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Each for the tests whose configuration does not name it:
///
/// - They don't go out: without a world of its own, a daemon asks no provider.
/// - They guess a lot, and from one address.
/// - tonic does not send a call again that a closing connection kept from leaving, and on a slow machine a test's next
///   call may come just then.
const DEFAULTS: [(&[&str], &str); 3] = [
    (&["[probe]", "[outbound]"], "[probe]\nenabled = false\n"),
    (&["[limits]"], "[limits]\nfailed_authentications = 0\n"),
    (&["[memory]"], "[memory]\nclose_idle_after = \"120s\"\n"),
];

fn defaults(config: &str) -> String {
    let unnamed = DEFAULTS.iter().filter(|(names, _)| !names.iter().any(|name| config.contains(name)));
    unnamed.fold("\n".to_owned(), |all, (_, part)| all + part)
}

#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    pub fn new(token: &str) -> Self {
        Self(format!("Bearer {token}").parse().unwrap())
    }
}

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A key of OpenAI's shape that nobody has issued, recognisable by its seed.
pub fn openai_key(seed: &str) -> String {
    let half = format!("{seed:q<58}");
    format!("sk-proj-{half}T3BlbkFJ{half}")
}

pub fn setup(org: &str, name: &str, key: &str) -> SetupCredentialRequest {
    SetupCredentialRequest {
        org: org.into(),
        provider: "openai".into(),
        name: name.into(),
        fields: [("api_key".to_owned(), Secret::from(key.to_owned()))].into(),
        no_probe: true,
        ..SetupCredentialRequest::default()
    }
}

pub fn decrypt(org: &str, name: &str) -> DecryptCredentialRequest {
    DecryptCredentialRequest {
        org: org.into(),
        provider: "openai".into(),
        name: name.into(),
        ..DecryptCredentialRequest::default()
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
