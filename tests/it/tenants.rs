//! Two tenants, and every way from one to the other: each rpc of the protos, over gRPC and REST, as each kind of caller,
//! with the other's names, ids, tokens, pages and etags. Nothing crosses, and what is there looks like what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost_reflect::MethodDescriptor;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value as Json, json};
use strongroom::pb::v1::admin_service_client::AdminServiceClient;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{CredentialRef, IssueTokenRequest, ListCredentialsRequest, MintGrantRequest};
use tonic::transport::{Channel, Endpoint};

use crate::daemon::{Bearer, Daemon, openai_key, runtime};
use crate::fake::signer::{Signer, jwks};
use crate::leak::requests::{self, every_rpc, good};
use crate::leak::wire;
use crate::mtls::pki::{self, Authority};

/// What is asked about.
const OURS: &str = "acme";
const THEIRS: &str = "globex";
const NOBODYS: &str = "nowhere";

const ISSUER: &str = "https://ci.example";

/// Who comes in without a token of ours. The tests run as whoever they run as.
const CALLERS: &str = r#"
[[issuer]]
name = "ci"
issuer = "https://ci.example"
audience = "strongroom"
algorithms = ["ES256"]
jwks = "file:keys.json"
claims = { team = "team" }

[[caller]]
name = "a job of ours"
from = "ci"
when = { team = "ours" }
role = "pipeline"
org = "acme"
providers = ["*"]

[[caller]]
name = "a process of ours"
from = "unix"
when = { uid = "UID" }
role = "service"
org = "acme"

[[caller]]
name = "a machine of ours"
from = "mtls"
when = { spiffe = "spiffe://acme.test/api" }
role = "operator"
org = "acme"
"#;

const CONFIG: &str = "unix = \"socket\"\n\
    [tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_authorities = \"clients.pem\"\n\
    [authn]\ncallers = \"callers.toml\"\n";

const ROLES: [&str; 4] = ["service", "pipeline", "operator", "admin"];

/// The same request id for all, so that answers can be compared to the byte.
const REQUEST_ID: &str = "the-same-for-all";

struct World {
    _daemon: Daemon,
    /// Where the administrator works too.
    socket: Door,
    /// Nobody's connections, and those of a machine of ours.
    tcp: Door,
    certified: Door,
    admin: Bearer,
    issuer: Signer,
    /// Whatever must never be seen by somebody else's caller.
    marks: Vec<String>,
    credential: String,
    token: String,
    /// A token of ours, for what needs one's id.
    own: String,
    page: String,
}

/// A way in. The socket speaks gRPC alone.
struct Door {
    grpc: Channel,
    rest: Option<Tls>,
}

struct Tls {
    address: String,
    config: Arc<ClientConfig>,
}

/// Somebody of ours, and how they come in.
struct Who<'a> {
    role: &'static str,
    door: &'a Door,
    token: Option<String>,
}

struct Answer {
    ok: bool,
    text: String,
}

/// Two requests whose answers must not differ: the first is about something of theirs, the second about nothing.
struct Pair {
    what: &'static str,
    there: Json,
    absent: Json,
}

#[test]
fn nothing_crosses_and_absent_looks_like_forbidden() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::start(home.path()).await;
        let mut let_in: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for who in world.callers().await {
            for rpc in every_rpc() {
                world.try_to_cross(&rpc, &who).await;
                let own = about(&rpc, OURS);
                let own = if own.get("id").is_some() { with(own, "id", json!(world.own)) } else { own };
                let own = world.ask(&rpc, &who, &own).await;
                if own.iter().any(|reply| reply.ok || !reply.text.contains("DENIED")) {
                    let_in.entry(rpc.name().to_owned()).or_default().insert(who.role);
                }
            }
        }
        // A door that is shut to everybody would prove nothing.
        for rpc in every_rpc() {
            // The first seven are for all tenants. The others need a request that waits, or a grant: their own tests have some.
            let is_exempt = [
                "VerifyAudit",
                "ExportVault",
                "GetAuditKey",
                "RotateAuditKey",
                "ListKeys",
                "Rewrap",
                "Reseal",
                "ApproveRequest",
                "RejectRequest",
                "RevokeGrant",
            ]
            .contains(&rpc.name());
            assert!(is_exempt || let_in.contains_key(rpc.name()), "{} lets nobody in", rpc.name());
        }
        assert_eq!(let_in["DecryptCredential"], BTreeSet::from(["admin", "grant", "jwt", "pipeline"]));
    });
}

#[test]
fn nobody_sees_the_other_tenant_in_lists_and_streams() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let world = World::start(home.path()).await;
        for who in world.callers().await {
            for (name, request) in [
                ("ListCredentials", json!({"org": OURS})),
                ("ListCredentials", json!({"org": OURS, "page_token": world.page})),
                ("WatchCredentials", json!({"org": OURS, "after": 0})),
                ("ListTokens", json!({"org": OURS})),
                ("ListAudit", json!({"org": OURS, "page_size": 1000})),
                ("ListAudit", json!({"org": OURS, "credential_id": world.credential})),
                ("ListAudit", json!({"org": OURS, "caller": world.token})),
            ] {
                for reply in world.ask(&rpc(name), &who, &request).await {
                    world.assert_clean(&format!("{}: {name} {request}", who.role), &reply.text);
                }
            }
        }
        // The search finds what is there to be found.
        let theirs = world.bearer("operator", world.issue("operator", THEIRS).await);
        let shown = world.ask(&rpc("ListCredentials"), &theirs, &json!({"org": THEIRS})).await;
        assert!(shown.iter().all(|reply| world.marks.iter().any(|mark| reply.text.contains(mark))));
    });
}

impl Door {
    async fn socket(daemon: &Daemon) -> Self {
        let path = daemon.home.join("socket");
        let connect = move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        };
        let endpoint = Endpoint::from_static("http://socket");
        Self { grpc: endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap(), rest: None }
    }

    async fn tcp(daemon: &Daemon, config: ClientConfig) -> Self {
        let place = daemon.addr.strip_prefix("https://").unwrap().to_owned();
        let mut h2 = config.clone();
        h2.alpn_protocols = vec![b"h2".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(h2));
        let connect = move |_| {
            let (place, tls) = (place.clone(), tls.clone());
            async move {
                let stream = tokio::net::TcpStream::connect(place).await?;
                tls.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.map(TokioIo::new)
            }
        };
        let endpoint = Endpoint::from_static("http://127.0.0.1");
        let grpc = endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap();
        Self { grpc, rest: Some(Tls { address: daemon.rest.clone(), config: Arc::new(config) }) }
    }
}

impl Tls {
    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.config), name).unwrap(), stream)
    }
}

impl World {
    async fn start(home: &Path) -> Self {
        let issuer = Signer::elliptic("k1");
        std::fs::write(home.join("keys.json"), jwks(&[&issuer]).to_string()).unwrap();
        let uid = rustix::process::geteuid().as_raw().to_string();
        std::fs::write(home.join("callers.toml"), CALLERS.replace("UID", &uid)).unwrap();
        let (roots, clients) = (pki::server(home), Authority::new("clients"));
        std::fs::write(home.join("clients.pem"), clients.pem()).unwrap();
        let machine = clients.certify(&pki::client(&[pki::uri("spiffe://acme.test/api")]));
        let daemon = Daemon::start_with(home, CONFIG);
        let tcp = Door::tcp(&daemon, pki::tls(&roots, None)).await;
        let certified = Door::tcp(&daemon, pki::tls(&roots, Some(machine))).await;
        Self::with(daemon, tcp, certified, issuer).await
    }

    /// Somebody of ours for each way to come in; without a token by the connection alone.
    async fn callers(&self) -> Vec<Who<'_>> {
        let mut callers = Vec::new();
        for role in ROLES {
            callers.push(self.bearer(role, self.issue(role, OURS).await));
        }
        let now = jiff::Timestamp::now().as_second();
        let claims =
            json!({"iss": ISSUER, "aud": "strongroom", "sub": "job", "team": "ours", "iat": now, "exp": now + 3600});
        callers.push(self.bearer("jwt", self.issuer.token(&claims)));
        let mut grants = GrantServiceClient::with_interceptor(self.socket.grpc.clone(), self.admin.clone());
        let base = CredentialRef { project: "p".into(), provider: "openai".into(), name: "base".into() };
        let request = MintGrantRequest {
            org: OURS.into(),
            run: "1".into(),
            credentials: vec![base],
            uses: 1_000,
            ..Default::default()
        };
        let grant = grants.mint_grant(request).await.unwrap().into_inner().grant.unwrap();
        callers.push(self.bearer("grant", grant.expose_text().unwrap().to_owned()));
        callers.push(Who { role: "unix", door: &self.socket, token: None });
        callers.push(Who { role: "mtls", door: &self.certified, token: None });
        callers
    }

    async fn with(daemon: Daemon, tcp: Door, certified: Door, issuer: Signer) -> Self {
        let (socket, bearer) = (Door::socket(&daemon).await, Bearer::new(&daemon.token));
        let mut admin = CredentialServiceClient::with_interceptor(socket.grpc.clone(), bearer.clone());
        let mut marks = Vec::new();
        for (org, name) in [(THEIRS, "base"), (THEIRS, "second"), (THEIRS, "third"), (OURS, "base")] {
            let mut request = crate::daemon::setup(org, name, &openai_key(&format!("{org}-{name}")));
            request.project = "p".into();
            request.labels = [("team".to_owned(), format!("{org}-label-{name}"))].into();
            let reply = admin.setup_credential(request).await.unwrap().into_inner();
            let credential = reply.credential.unwrap();
            if org == THEIRS {
                marks.extend([credential.id, credential.fingerprint, format!("{org}-label-{name}")]);
            }
        }
        let first = ListCredentialsRequest { org: THEIRS.into(), page_size: 1, ..ListCredentialsRequest::default() };
        let page = admin.list_credentials(first).await.unwrap().into_inner().next_page_token;
        assert!(!page.is_empty());
        let mut issued = Vec::new();
        for org in [THEIRS, OURS] {
            let request = IssueTokenRequest {
                name: format!("{org}-own-token"),
                role: "service".into(),
                org: org.into(),
                ..IssueTokenRequest::default()
            };
            let mut admin = AdminServiceClient::with_interceptor(socket.grpc.clone(), bearer.clone());
            let reply = admin.issue_token(request).await.unwrap().into_inner();
            issued.push(reply.info.unwrap().id);
        }
        let [token, own] = issued.try_into().unwrap();
        let credential = marks[0].clone();
        marks.extend(["globex-own-token".into(), token.clone(), openai_key("globex-base")]);
        Self { _daemon: daemon, socket, tcp, certified, admin: bearer, issuer, marks, credential, token, own, page }
    }

    async fn issue(&self, role: &str, org: &str) -> String {
        let request = IssueTokenRequest {
            name: format!("a-{role}"),
            role: role.into(),
            org: org.into(),
            providers: vec!["*".into()],
            ..IssueTokenRequest::default()
        };
        let mut admin = AdminServiceClient::with_interceptor(self.socket.grpc.clone(), self.admin.clone());
        let reply = admin.issue_token(request).await.unwrap().into_inner();
        reply.token.unwrap().expose_text().unwrap().to_owned()
    }

    fn bearer(&self, role: &'static str, token: String) -> Who<'_> {
        Who { role, door: &self.tcp, token: Some(token) }
    }

    async fn try_to_cross(&self, rpc: &MethodDescriptor, who: &Who<'_>) {
        for Pair { what, there, absent } in self.pairs(rpc) {
            let (there, absent) = (self.ask(rpc, who, &there).await, self.ask(rpc, who, &absent).await);
            for (there, absent) in there.iter().zip(&absent) {
                let told = format!("{}: {} with {what}", who.role, rpc.name());
                // A batch answers each by itself.
                assert!(!there.ok || rpc.name() == "BatchDecrypt", "{told}: {}", there.text);
                let (there, absent) = (&there.text, &absent.text);
                assert_eq!(comparable(there), comparable(absent), "{told}: the answer tells whether it is there");
                assert!(there.contains("DENIED") || there.contains("INVALID"), "{told}: {there}");
                self.assert_clean(&told, there);
            }
        }
    }

    /// What somebody of another tenant may try. A field that a request does not have is no way.
    fn pairs(&self, rpc: &MethodDescriptor) -> Vec<Pair> {
        let has = |name: &str| rpc.input().get_field_by_name(name).is_some();
        let theirs = about(rpc, THEIRS);
        let mut pairs = Vec::new();
        let mut add = |what, there: Json, absent: Json| pairs.push(Pair { what, there, absent });
        if has("org") {
            add("their org", theirs.clone(), about(rpc, NOBODYS));
        }
        if has("org") && has("name") && has("provider") {
            add("their name", theirs.clone(), with(theirs.clone(), "name", json!("nothing")));
            add("their project", theirs.clone(), with(theirs.clone(), "project", json!("nothing")));
        }
        if has("credentials") {
            let absent = json!([{"project": "p", "provider": "openai", "name": "nothing"}]);
            add("their names in a batch", theirs.clone(), with(theirs.clone(), "credentials", absent));
        }
        if has("etag") {
            add("their etag", with(theirs.clone(), "etag", json!("1")), with(theirs.clone(), "etag", json!("7")));
        }
        if has("version") {
            let at = |version| with(theirs.clone(), "version", json!(version));
            add("their version", at(1), at(99));
        }
        if has("page_token") && has("org") && rpc.name() == "ListCredentials" {
            let own = about(rpc, OURS);
            // Of the same form: another process's.
            let strange = self.page.chars().rev().collect::<String>();
            add(
                "their page",
                with(own.clone(), "page_token", json!(self.page)),
                with(own, "page_token", json!(strange)),
            );
        }
        if has("caller") && rpc.name().ends_with("SecondFactor") {
            let nobodys = "019a0000-0000-7000-8000-000000000000";
            add("their token's second factor", json!({ "caller": self.token }), json!({ "caller": nobodys }));
        }
        if has("id") {
            let nobodys = "019a0000-0000-7000-8000-000000000000";
            for (what, id) in [("their token's id", &self.token), ("their credential's id", &self.credential)] {
                add(what, json!({ "id": id }), json!({ "id": nobodys }));
            }
        }
        pairs
    }

    /// The whole of each answer, over gRPC and over REST, without what tells the time.
    async fn ask(&self, rpc: &MethodDescriptor, who: &Who<'_>, request: &Json) -> Vec<Answer> {
        let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
        let mut headers = vec![("x-request-id", REQUEST_ID.to_owned())];
        headers.extend(who.token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
        let message = requests::encode(&rpc.input(), request);
        let mut replies = vec![wire::grpc(&who.door.grpc, &path, &headers, message).await];
        if let (Some(rest), Some((line, body))) = (&who.door.rest, requests::rest(rpc, request)) {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("{line} HTTP/1.1\r\n{headers}content-type: application/json\r\n");
            replies.push(wire::exchange(rest.connect(), &head, body.as_bytes()));
        }
        let timeless =
            |text: &str| text.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
        let answer =
            |reply: &wire::Reply| Answer { ok: reply.ok, text: timeless(&String::from_utf8_lossy(&reply.bytes)) };
        replies.iter().map(answer).collect()
    }

    fn assert_clean(&self, what: &str, reply: &str) {
        for mark in &self.marks {
            assert!(!reply.contains(mark), "{what} tells {mark}: {reply}");
        }
    }
}

/// To the byte; but where a rule is named beside the request's id, the order of the two in the details is any.
fn comparable(reply: &str) -> String {
    let mut characters: Vec<char> = reply.chars().collect();
    if reply.contains("INVALID") {
        characters.sort_unstable();
    }
    characters.into_iter().collect()
}

fn rpc(name: &str) -> MethodDescriptor {
    every_rpc().into_iter().find(|rpc| rpc.name() == name).unwrap()
}

fn about(rpc: &MethodDescriptor, org: &str) -> Json {
    let request = good(rpc.name(), &openai_key("ours"));
    if rpc.input().get_field_by_name("org").is_some() { with(request, "org", json!(org)) } else { request }
}

fn with(mut request: Json, field: &str, value: Json) -> Json {
    request.as_object_mut().unwrap().insert(field.to_owned(), value);
    request
}
