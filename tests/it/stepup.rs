//! Second factors and approvals through the real daemon.

mod approvals;
mod cli;
mod codes;
mod enrolment;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;

use crate::daemon::{Daemon, openai_key};

const RULES: &str = r#"
@id("delete-takes-a-code")
forbid (principal, action == Strongroom::Action::"delete", resource)
unless { context has step_up && context.step_up.age <= 300 };

@id("metadata-takes-two")
forbid (principal, action == Strongroom::Action::"updateMetadata", resource)
unless { context.approved };

@id("guarded-takes-two")
forbid (
  principal,
  action in [Strongroom::Action::"setup", Strongroom::Action::"decrypt"],
  resource is Strongroom::Credential
)
when { resource.name == "guarded" }
unless { context.approved };

@id("versions-take-both")
forbid (principal, action == Strongroom::Action::"listVersions", resource)
unless { context.approved && context has step_up && context.step_up.age <= 300 };
"#;

/// Under the usual rules and these.
fn start(home: &Path) -> Daemon {
    let directory = home.join("policies");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("default.cedar"), include_str!("../../config/policy/default.cedar")).unwrap();
    std::fs::write(directory.join("more.cedar"), RULES).unwrap();
    Daemon::start_with(home, "[policy]\ndirectory = \"policies\"\n")
}

struct Reply {
    status: u16,
    head: String,
    body: Value,
}

impl Reply {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    #[track_caller]
    fn refused(self, status: u16, reason: &str) -> Self {
        assert_eq!((self.status, self.reason()), (status, reason), "{}", self.body);
        self
    }
}

/// One request over REST: its line, more headers, and a body.
fn ask(daemon: &Daemon, token: &str, line: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    ask_raw(&daemon.rest, token, line, &headers, body)
}

fn ask_raw(address: &str, token: &str, line: &str, headers: &[(&str, &[u8])], body: Option<&Value>) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n").into_bytes();
    request.extend(format!("authorization: Bearer {token}\r\n").bytes());
    for (name, value) in headers {
        request.extend(format!("{name}: ").bytes());
        request.extend(*value);
        request.extend(b"\r\n");
    }
    let body = body.map(ToString::to_string).unwrap_or_default();
    request.extend(format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).bytes());
    stream.write_all(&request).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap_or_default() }
}

fn set_up(daemon: &Daemon, name: &str) {
    let body = json!({"name": name, "fields": {"api_key": openai_key(name)}, "no_probe": true});
    ask(daemon, &daemon.token, "POST /integrations/acme/openai/setup", &[], Some(&body)).ok();
}

fn delete(daemon: &Daemon, token: &str, name: &str, headers: &[(&str, &str)]) -> Reply {
    ask(daemon, token, &format!("DELETE /integrations/acme/openai?name={name}"), headers, None)
}

/// A token and its id.
fn issue(daemon: &Daemon, by: &str, name: &str, role: &str, org: &str) -> (String, String) {
    let body = json!({"name": name, "role": role, "org": org, "providers": ["*"]});
    let reply = ask(daemon, by, "POST /admin/tokens", &[], Some(&body)).ok();
    (reply["token"].as_str().unwrap().to_owned(), reply["info"]["id"].as_str().unwrap().to_owned())
}

/// What somebody has in their pocket.
pub struct Authenticator {
    uri: String,
    secret: Vec<u8>,
}

impl Authenticator {
    fn of(reply: &Value) -> Self {
        Self::read(reply["uri"].as_str().unwrap())
    }

    pub fn read(uri: &str) -> Self {
        let uri = uri.to_owned();
        let secret = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        assert_eq!(secret.len(), 20);
        Self { uri, secret }
    }

    /// Enrolled and confirmed. The code of the step before this one is spent by that.
    fn enrol(daemon: &Daemon, token: &str) -> Self {
        let it = Self::of(&ask(daemon, token, "POST /admin/second-factors", &[], Some(&json!({}))).ok());
        it.confirm(daemon, token).ok();
        it
    }

    fn confirm(&self, daemon: &Daemon, token: &str) -> Reply {
        ask(daemon, token, "POST /admin/second-factors/confirm", &[], Some(&json!({"code": self.code(-1)})))
    }

    /// The code of now, or of so many steps beside it.
    pub fn code(&self, beside: i64) -> String {
        let step = jiff::Timestamp::now().as_second() / 30 + beside;
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret).unwrap();
        mac.update(&step.to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let at = usize::from(mac[19] % 16);
        let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// One that is good at no time near now.
    pub fn wrong_code(&self) -> String {
        let good: Vec<String> = (-3..=6).map(|beside| self.code(beside)).collect();
        (0..).map(|number| format!("{number:06}")).find(|code| !good.contains(code)).unwrap()
    }
}

/// How often this is on record.
fn recorded(daemon: &Daemon, action: &str, outcome: &str) -> usize {
    let line = format!("GET /admin/audit?action={action}&outcome={outcome}&page_size=1000");
    ask(daemon, &daemon.token, &line, &[], None).ok()["records"].as_array().map_or(0, Vec::len)
}
