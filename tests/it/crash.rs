//! SIGKILL at random instants under load, again and again on the same data. After each restart: every acknowledged
//! change is there, none is there by half, every plaintext that was answered has its record, and the chain is whole.
//!
//! `STRONGROOM_KILLS=200 cargo test crash` is the long mode; `STRONGROOM_SEED` repeats a run's choices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use strongroom::pb::v1::{
    DeleteCredentialRequest, ListAuditRequest, ListCredentialsRequest, ListVersionsRequest, VerifyAuditRequest,
};
use tokio::sync::Mutex;
use tonic::{Code, Request};

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

const WORKERS: u64 = 8;

/// What a worker knows of its one credential.
#[derive(Clone, Default)]
struct Known {
    /// The key that was acknowledged last; none when it is deleted or never was.
    acknowledged: Option<String>,
    /// What was asked and not answered before the kill: it happened or it did not.
    in_flight: Option<Option<String>>,
    /// Request ids of answered decrypts.
    answered: Vec<String>,
}

#[test]
fn killed_at_any_instant_it_keeps_its_word() {
    let kills: u64 = std::env::var("STRONGROOM_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let seed: u64 = std::env::var("STRONGROOM_SEED").map_or_else(|_| random_seed(), |seed| seed.parse().unwrap());
    println!("STRONGROOM_SEED={seed} STRONGROOM_KILLS={kills}");
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let mut known: Vec<Known> = vec![Known::default(); WORKERS as usize];
    let mut dice = Dice(seed);
    let mut answered = 0;
    let counter = Arc::new(AtomicU64::new(0));
    let runtime = runtime();

    for _ in 0..kills {
        let pause = Duration::from_millis(20 + dice.roll(300));
        let seeds: Vec<u64> = (0..WORKERS).map(|_| dice.roll(u64::MAX)).collect();
        known = runtime.block_on(async {
            let stop = Arc::new(AtomicBool::new(false));
            let mut workers = Vec::new();
            for (number, (known, seed)) in known.drain(..).zip(seeds).enumerate() {
                let shared = Arc::new(Mutex::new(known));
                let worker = work(&daemon, &token, number, Arc::clone(&shared), seed, &counter, &stop).await;
                workers.push((shared, tokio::spawn(worker)));
            }
            tokio::time::sleep(pause).await;
            daemon.kill();
            stop.store(true, Ordering::Relaxed);
            let mut after = Vec::new();
            for (shared, worker) in workers {
                worker.await.unwrap();
                after.push(shared.lock().await.clone());
            }
            after
        });
        daemon = Daemon::start(home.path());
        answered += known.iter().map(|known| known.answered.len()).sum::<usize>();
        runtime.block_on(check(&daemon, &token, &mut known));
    }
    assert!(answered > 20, "the load answered {answered} decrypts: too few to prove anything");
    println!("{kills} kills, {answered} answered decrypts, {} requests", counter.load(Ordering::Relaxed));
}

async fn work(
    daemon: &Daemon,
    token: &str,
    number: usize,
    shared: Arc<Mutex<Known>>,
    seed: u64,
    counter: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> impl Future<Output = ()> + use<> {
    let mut client = daemon.credentials(token).await;
    let (counter, stop, name) = (Arc::clone(counter), Arc::clone(stop), format!("c{number}"));
    let mut dice = Dice(seed);
    async move {
        while !stop.load(Ordering::Relaxed) {
            let unique = counter.fetch_add(1, Ordering::Relaxed);
            let mut known = shared.lock().await;
            let answer = match dice.roll(10) {
                0..4 => {
                    let key = openai_key(&format!("k{unique:08}"));
                    known.in_flight = Some(Some(key.clone()));
                    client.setup_credential(setup("acme", &name, &key)).await.map(|_| known.acknowledged = Some(key))
                }
                4 if known.acknowledged.is_some() => {
                    known.in_flight = Some(None);
                    let delete = DeleteCredentialRequest {
                        org: "acme".into(),
                        provider: "openai".into(),
                        name: name.clone(),
                        ..Default::default()
                    };
                    client.delete_credential(delete).await.map(|_| known.acknowledged = None)
                }
                _ => {
                    let id = format!("crash-{number}-{unique}");
                    let mut request = Request::new(decrypt("acme", &name));
                    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
                    client.decrypt_credential(request).await.map(|reply| {
                        let secret = reply.into_inner().secret.unwrap();
                        assert_eq!(Some(secret.expose_text().unwrap()), known.acknowledged.as_deref(), "{name}");
                        known.answered.push(id);
                    })
                }
            };
            match answer {
                Ok(()) => known.in_flight = None,
                Err(status) if status.code() == Code::NotFound => {
                    assert!(known.acknowledged.is_none(), "{name} is lost: {status}");
                    known.in_flight = None;
                }
                // The daemon is gone.
                Err(_) => break,
            }
        }
    }
}

async fn check(daemon: &Daemon, token: &str, known: &mut [Known]) {
    let mut client = daemon.credentials(token).await;
    let mut admin = daemon.admin(token).await;
    let recorded = recorded(&mut admin).await;
    for (number, known) in known.iter_mut().enumerate() {
        let name = format!("c{number}");
        let now = match client.decrypt_credential(decrypt("acme", &name)).await {
            Ok(reply) => Some(reply.into_inner().secret.unwrap().expose_text().unwrap().to_owned()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{name} is broken: {status}"),
        };
        let in_flight = known.in_flight.take();
        assert!(
            now == known.acknowledged || in_flight.as_ref() == Some(&now),
            "{name}: acknowledged {:?}, in flight {in_flight:?}, found {now:?}",
            known.acknowledged
        );
        known.acknowledged = now;
        for id in known.answered.drain(..) {
            assert!(recorded.contains(&id), "{id} was answered without its record");
        }
        if known.acknowledged.is_some() {
            let versions =
                ListVersionsRequest { org: "acme".into(), provider: "openai".into(), name, ..Default::default() };
            let versions = client.list_versions(versions).await.unwrap().into_inner().versions;
            assert_eq!(versions.iter().filter(|version| version.state == "active").count(), 1);
            let numbers: Vec<u32> = versions.iter().map(|version| version.version).collect();
            assert_eq!(numbers, (1..=versions.len() as u32).rev().collect::<Vec<_>>());
        }
    }
    let list = ListCredentialsRequest { org: "acme".into(), ..Default::default() };
    let listed = client.list_credentials(list).await.unwrap().into_inner().credentials;
    assert_eq!(listed.len(), known.iter().filter(|known| known.acknowledged.is_some()).count());
    let verified = admin.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
    assert!(verified.intact, "{verified:?}");
}

/// The request ids of all decrypts that the audit log says were answered.
async fn recorded(
    admin: &mut strongroom::pb::v1::admin_service_client::AdminServiceClient<
        tonic::service::interceptor::InterceptedService<tonic::transport::Channel, crate::daemon::Bearer>,
    >,
) -> BTreeSet<String> {
    let mut ids = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditRequest {
            action: "decrypt".into(),
            outcome: "ok".into(),
            page_size: 1000,
            page_token: page_token.clone(),
            descending: true,
            ..Default::default()
        };
        let page = admin.list_audit(request).await.unwrap().into_inner();
        for record in page.records {
            assert!(ids.insert(record.request_id.clone(), record.sequence).is_none(), "{} twice", record.request_id);
        }
        if page.next_page_token.is_empty() {
            return ids.into_keys().collect();
        }
        page_token = page.next_page_token;
    }
}

/// A small generator, so that a seed repeats a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

fn random_seed() -> u64 {
    u64::from_le_bytes(strongroom::crypto::random().unwrap())
}
