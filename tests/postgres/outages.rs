//! What becomes of a database: its primary dies and a standby takes over, it is set to read only, it has no connection
//! left, its disk is full. Meanwhile nothing is answered, in clear words; afterwards everything is, without anybody's
//! doing.

mod disk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom::pb::v1::{DeleteCredentialRequest, ListTokensRequest, RevokeTokenRequest, VerifyAuditRequest};
use strongroom::store::postgres::{Patience, Server as Reached, Url};
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};
use crate::server::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(40);
/// So many acknowledged setups prove something.
const ENOUGH: usize = 20;

struct Scene {
    daemon: Daemon,
    token: String,
    place: tempfile::TempDir,
    config: String,
    /// Names whose setup was acknowledged.
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Scene {
    fn new(url: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let keys = place.path().join("keys");
        let config = format!(
            "[store]\nurl = \"{url}?sslmode=disable\"\n[kms.local]\ndirectory = \"{}\"\ncreate = true\n",
            keys.display()
        );
        let daemon = Self::more(&place, &config, "a");
        let token = daemon.token.clone();
        Self { daemon, token, place, config, acknowledged: Arc::default(), stop: Arc::default() }
    }

    fn more(place: &tempfile::TempDir, config: &str, name: &str) -> Daemon {
        let home = place.path().join(name);
        std::fs::create_dir(&home).unwrap();
        Daemon::start_with(&home, config)
    }

    /// What is asked all the time: setups, and a decrypt of the same credential. Returns when enough was acknowledged to
    /// prove something by it, however slow the machine is.
    async fn load(&self) -> JoinSet<()> {
        self.setup("kept").await;
        let mut load = JoinSet::new();
        for number in 0..4 {
            let mut client = self.daemon.credentials(&self.token).await;
            let (acknowledged, stop) = (Arc::clone(&self.acknowledged), Arc::clone(&self.stop));
            load.spawn(async move {
                for count in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("n{number}x{count}");
                    match client.setup_credential(setup("acme", &name, &openai_key(&name))).await {
                        Ok(_) => acknowledged.lock().unwrap().push(name),
                        Err(status) => is_clear(&status),
                    }
                    _ = client.decrypt_credential(decrypt("acme", "kept")).await.inspect_err(is_clear);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        let end = Instant::now() + PATIENCE;
        while self.acknowledged.lock().unwrap().len() < ENOUGH {
            assert!(Instant::now() < end, "it acknowledges too little:\n{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        load
    }

    async fn setup(&self, name: &str) {
        let client = self.daemon.credentials(&self.token).await;
        let key = openai_key(name);
        let tried = AtomicBool::new(false);
        self.answered(async || match client.clone().setup_credential(setup("acme", name, &key)).await {
            // The one before was made, and its answer was lost.
            Err(status) if tried.swap(true, Ordering::Relaxed) && reason(&status) == "CONFLICT" => {
                Ok(Response::new(()))
            }
            stored => stored.map(|_| Response::new(())),
        })
        .await;
        self.answered(async || client.clone().decrypt_credential(decrypt("acme", name)).await).await;
        self.acknowledged.lock().unwrap().push(name.to_owned());
    }

    /// As clients ask: again, while they are told to. A record that took the database longer than a moment is not answered
    /// on.
    async fn answered<T>(&self, ask: impl AsyncFn() -> Result<Response<T>, Status>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            match ask().await {
                Ok(reply) => return reply.into_inner(),
                Err(status) => {
                    is_clear(&status);
                    assert!(Instant::now() < end, "it does not answer: {status}\n{}", self.daemon.log());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nothing is answered, though it is remembered, nothing is stored, and the log says why.
    async fn refuses(&self, cause: &str) {
        let mut client = self.daemon.credentials(&self.token).await;
        let end = Instant::now() + PATIENCE;
        while client.decrypt_credential(decrypt("acme", "kept")).await.is_ok() {
            assert!(Instant::now() < end, "it goes on answering");
        }
        while client.setup_credential(setup("acme", "last", &openai_key("l"))).await.is_ok() {
            assert!(Instant::now() < end, "it goes on storing");
        }
        // Those that were under way have their answer.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = self.acknowledged.lock().unwrap().len();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            let status = client.decrypt_credential(decrypt("acme", "kept")).await.unwrap_err();
            is_clear(&status);
            let status = client.setup_credential(setup("acme", "refused", &openai_key("r"))).await.unwrap_err();
            is_clear(&status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.acknowledged.lock().unwrap().len(), before);
        assert_eq!(self.daemon.scrape("/readyz").0, 503);
        assert_eq!(self.daemon.scrape("/healthz").0, 200, "it is alive");
        self.daemon.logged(|line| line.contains(cause));
    }

    /// By itself; and nothing that was acknowledged is lost.
    async fn recovers(&self, mut load: JoinSet<()>) {
        let client = self.daemon.credentials(&self.token).await;
        self.answered(async || client.clone().decrypt_credential(decrypt("acme", "kept")).await).await;
        let end = Instant::now() + PATIENCE;
        while self.daemon.scrape("/readyz").0 != 200 {
            assert!(Instant::now() < end, "it does not become ready:\n{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        while load.join_next().await.transpose().unwrap().is_some() {}
        self.setup("afterwards").await;
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        // Also for one that remembers nothing.
        let other = Self::more(&self.place, &self.config, "b");
        let client = other.credentials(&self.token).await;
        for name in acknowledged {
            let reply = self.answered(async || client.clone().decrypt_credential(decrypt("acme", &name)).await).await;
            assert_eq!(reply.secret.unwrap().expose_text().unwrap(), openai_key(&name), "{name} was acknowledged");
        }
        let verified = self.daemon.admin(&self.token).await.verify_audit(VerifyAuditRequest {}).await.unwrap();
        assert!(verified.get_ref().intact, "{verified:?}");
    }
}

/// Whoever asked reads what to do: try again.
pub fn is_clear(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(["STORE_UNAVAILABLE", "AUDIT_UNAVAILABLE"].contains(&reason(status).as_str()), "{status:?}");
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().unwrap_or_else(|| panic!("{status:?}")).reason.clone()
}

fn host_of(server: &Server) -> String {
    let url = server.url("");
    url.split('@').nth(1).unwrap().trim_end_matches('/').to_owned()
}

#[test]
fn a_standby_takes_over_and_has_every_acknowledged_write() {
    let primary = Server::new(Options::default());
    let database = primary.create_database();
    let standby = primary.standby();
    let hosts = format!("{},{}", host_of(&primary), host_of(&standby));
    let scene = Scene::new(&primary.url(&database).replace(&host_of(&primary), &hosts));
    runtime().block_on(async {
        let load = scene.load().await;
        scene.setup("gone").await;
        let pipeline = scene.daemon.issue("pipeline", "acme", &["openai"]).await;
        let mut by_pipeline = scene.daemon.credentials(&pipeline).await;
        by_pipeline.decrypt_credential(decrypt("acme", "kept")).await.unwrap();
        // Acknowledged under load, and the primary dies at once.
        let mut admin = scene.daemon.admin(&scene.token).await;
        let listed = admin.list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
        let id = listed.into_iter().find(|token| token.name == "a-pipeline").unwrap().id;
        let gone = DeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "gone".into(),
            ..Default::default()
        };
        scene.daemon.credentials(&scene.token).await.delete_credential(gone).await.unwrap();
        scene.acknowledged.lock().unwrap().retain(|name| name != "gone");
        admin.revoke_token(RevokeTokenRequest { id }).await.unwrap();
        primary.kill();
        scene.refuses("only reads").await;
        standby.psql("postgres", "SELECT pg_promote()");
        scene.recovers(load).await;
        let status = by_pipeline.decrypt_credential(decrypt("acme", "kept")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "what was revoked came back: {status:?}");
        let mut client = scene.daemon.credentials(&scene.token).await;
        let status = client.decrypt_credential(decrypt("acme", "gone")).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "what was deleted came back: {status:?}");
    });
}

#[test]
fn a_database_that_only_reads_for_a_while_is_told_of() {
    let server = Server::new(Options::default());
    let database = server.create_database();
    let scene = Scene::new(&server.url(&database));
    runtime().block_on(async {
        let load = scene.load().await;
        server.set("default_transaction_read_only", "on");
        scene.refuses("only reads").await;
        server.set("default_transaction_read_only", "off");
        scene.recovers(load).await;
    });
}

#[test]
fn a_database_without_a_free_connection_is_told_of() {
    let server = Server::new(Options { max_connections: Some(24), ..Options::default() });
    let database = server.create_database();
    let scene = Scene::new(&server.url(&database));
    runtime().block_on(async {
        let load = scene.load().await;
        // Other clients take whatever is free, and what the replica has it loses.
        let url = Url::parse(&format!("{}?sslmode=disable", server.url("postgres"))).unwrap();
        let others = Arc::new(Reached::new(url, Patience::default()).unwrap());
        let mut held = Vec::new();
        let ours = format!("FROM pg_stat_activity WHERE datname = '{database}'");
        let (end, mut rounds) = (Instant::now() + PATIENCE, 0);
        // A place is free only some time after its connection has ended.
        while rounds < 5 {
            assert!(Instant::now() < end, "the replica keeps its connections");
            // Those that are being refused have places as well, and may leave the superuser none.
            let sql = format!("SELECT count(pg_terminate_backend(pid)) {ours}");
            let ended = server.try_psql(&server.admin_url("postgres"), &sql);
            rounds = if ended.as_deref() == Ok("0") { rounds + 1 } else { 0 };
            while let Ok(one) = others.connect().await {
                held.push(one);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        scene.refuses("raise the server's max_connections").await;
        drop(held);
        scene.recovers(load).await;
    });
}
