//! What is to be done once is one replica's part at a time. Its holder dies, stands still for longer than the lease lasts,
//! or is cut off: another one does it, and whoever comes back does nothing again.

use std::time::Duration;

use serde_json::json;
use strongroom::pb::v1::DeleteCredentialRequest;

use super::World;
use crate::cluster::proxy::{Proxy, State};
use crate::daemon::{Daemon, openai_key, runtime, setup};
use crate::fake::{self, Answer};
use crate::server::shared;

const HOST: &str = "api.openai.com";

struct Scene {
    world: World,
    provider: fake::World,
    runtime: tokio::runtime::Runtime,
    /// Between the first holder and the database.
    proxy: std::sync::Arc<Proxy>,
    /// Holds the lease at first.
    a: Daemon,
    b: Daemon,
}

impl Scene {
    fn new() -> Self {
        let (world, runtime) = (World::new(), runtime());
        let provider = fake::World::start(|_| Answer::json(200, &json!({ "object": "list", "data": [] })));
        let url = world.url();
        let port = shared().url("").rsplit(':').next().unwrap().trim_end_matches('/').parse::<u16>().unwrap();
        let proxy = runtime.block_on(Proxy::start(port));
        let through = url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port));
        let more = provider.config(&[HOST]);
        let a = world.start_with("a", &through, &more);
        world.awaits("SELECT count(*) FROM leases", "1");
        let b = world.start_with("b", &url, &more);
        Self { world, provider, runtime, proxy, a, b }
    }

    /// By way of a replica that is well: something to destroy, something to test, something to tell.
    fn make_due(&self, round: &str) {
        let token = &self.a.token;
        self.runtime.block_on(async {
            let mut client = self.b.credentials(token).await;
            for what in ["gone", "tested", "told"] {
                let name = format!("{what}-{round}");
                client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
            }
            let delete = DeleteCredentialRequest {
                org: "acme".into(),
                provider: "openai".into(),
                name: format!("gone-{round}"),
                destroy_after: Some(Duration::from_secs(3600).into()),
                ..Default::default()
            };
            client.delete_credential(delete).await.unwrap();
        });
        self.world.ask(&format!(
            "UPDATE credentials SET destroy_at = 1 WHERE name = 'gone-{round}'; \
             UPDATE org_integration_credential_states SET probe_at = 1 \
                 WHERE credential_id IN (SELECT id FROM credentials WHERE name = 'tested-{round}'); \
             UPDATE credentials SET next_test_at = 1 WHERE name = 'tested-{round}'; \
             UPDATE credentials SET tell_at = 1, expires_at = 1 WHERE name = 'told-{round}'"
        ));
    }

    /// How often each was done, by the audit log, and how often the provider was asked.
    fn done(&self, round: &str) -> String {
        let count = |action: &str, what: &str| {
            let name = format!("CAST(canonical AS JSON) ->> 'name' = '{what}-{round}'");
            self.world.ask(&format!(
                "SELECT count(*) FROM audit_log WHERE {name} AND CAST(canonical AS JSON) ->> 'action' = '{action}'"
            ))
        };
        let key = openai_key(&format!("tested-{round}"));
        let asked = self.provider.asked().iter().filter(|asked| asked.header("authorization").contains(&key)).count();
        let counts = [count("destroy", "gone"), count("revalidate", "tested"), count("health", "told")];
        format!("destroyed {}, tested {}, told {}, asked {asked}", counts[0], counts[1], counts[2])
    }

    fn is_done_once(&self, round: &str) {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        let once = "destroyed 1, tested 1, told 1, asked 1";
        while self.done(round) != once {
            assert!(std::time::Instant::now() < end, "{}", self.done(round));
            std::thread::sleep(Duration::from_millis(100));
        }
        // Longer than the lease's word is good for, and than anybody looks again.
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(self.done(round), once);
    }

    /// The database's clock goes on by more than a lease lasts.
    fn end_lease(&self) {
        self.world.ask("UPDATE leases SET until = until - 61 * 1000000");
    }

    fn holder(&self) -> String {
        self.world.ask("SELECT encode(holder, 'hex') FROM leases")
    }
}

#[test]
fn the_holder_dies() {
    let mut scene = Scene::new();
    let token = scene.a.token.clone();
    let first = scene.holder();
    scene.a.signal("KILL");
    scene.make_due("one");
    // Not before the lease has ended.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(scene.done("one"), "destroyed 0, tested 0, told 0, asked 0");
    scene.end_lease();
    scene.is_done_once("one");
    assert_ne!(scene.holder(), first);
    let a = scene.world.start_with("a", &scene.world.url(), &scene.provider.config(&[HOST]));
    drop(std::mem::replace(&mut scene.a, a));
    scene.a.token = token;
    scene.make_due("two");
    scene.is_done_once("two");
}

#[test]
fn the_holder_stands_still_and_comes_back() {
    let scene = Scene::new();
    let first = scene.holder();
    scene.a.signal("STOP");
    scene.make_due("one");
    scene.end_lease();
    scene.is_done_once("one");
    assert_ne!(scene.holder(), first);
    // It comes back in the middle of what the other one has to do.
    scene.make_due("two");
    scene.a.signal("CONT");
    scene.is_done_once("two");
    scene.is_done_once("one");
    assert_ne!(scene.holder(), first);
    assert_eq!(scene.a.scrape("/readyz").0, 200);
}

#[test]
fn the_holder_is_cut_off_and_comes_back() {
    let scene = Scene::new();
    let first = scene.holder();
    scene.proxy.set(State::Stalled);
    scene.make_due("one");
    scene.end_lease();
    scene.is_done_once("one");
    assert_ne!(scene.holder(), first);
    scene.make_due("two");
    // What it had asked before it was cut off arrives now.
    scene.proxy.set(State::Flowing);
    scene.is_done_once("two");
    scene.is_done_once("one");
    assert_ne!(scene.holder(), first);
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while scene.a.scrape("/readyz").0 != 200 {
        assert!(std::time::Instant::now() < end, "{}", scene.a.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}
