//! Three replicas, clients on all of them, and what can go wrong between them and the database: replicas are killed, the
//! database is, connections are cut and stall. Every call is written down with when it was made and answered, and the
//! history is checked afterwards.
//!
//! `STRONGROOM_CLUSTER_SECONDS=600 cargo test --test postgres cluster` is the long mode; `STRONGROOM_SEED` repeats a run's
//! choices.

mod checker;
mod clients;
mod faults;
mod history;
pub mod proxy;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::pb::v1::VerifyAuditRequest;
use tokio::task::JoinSet;

use self::clients::{Clients, WRITERS};
use self::faults::{Dice, Replicas};
use self::history::{Answer, Asked, History};
use crate::daemon::{decrypt, runtime};
use crate::replicas::records;
use crate::server::{Options, Server};

/// Who only decrypts.
const READERS: u64 = 6;
/// More answered plaintexts than these prove something; a slow machine has the time it takes for them.
const ENOUGH: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn nothing_acknowledged_is_lost_and_nothing_revoked_is_answered() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seconds = number("STRONGROOM_CLUSTER_SECONDS").unwrap_or(25);
    let seed = number("STRONGROOM_SEED").unwrap_or_else(random_seed);
    println!("STRONGROOM_SEED={seed} STRONGROOM_CLUSTER_SECONDS={seconds}");
    let server = Server::new(Options { settings: vec![("fsync", "on".into())], ..Options::default() });
    let database = server.create_database();
    let runtime = runtime();
    let history = Arc::new(History::default());
    let replicas = Arc::new(runtime.block_on(Replicas::start(&server, &database)));
    let mut dice = Dice(seed);

    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        for number in 0..WRITERS + READERS + 1 {
            let clients = Clients::new(&replicas, &history, &stop, number, dice.roll(u64::MAX));
            load.spawn(clients.run());
        }
        let over = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < over || history.plaintexts() <= ENOUGH {
            assert!(Instant::now() < over + PATIENCE, "too few plaintexts to prove anything: {}", replicas.told());
            replicas.go_wrong(&server, &history, &mut dice).await;
        }
        stop.store(true, Ordering::Relaxed);
        load.join_all().await;
        replicas.heal();
    });
    runtime.block_on(settled(&replicas, &history));
    let kept = kept(&server, &database);
    let recorded = runtime.block_on(recorded(&replicas));
    let calls = history.calls();
    println!("{}", history::summary(&calls));
    println!("{}", replicas.told());
    let faults = checker::check(&calls, &recorded, &kept);
    assert!(faults.is_empty(), "STRONGROOM_SEED={seed}\n{}", faults.join("\n"));
}

/// When all is well again, each replica is asked for everything once more, past its memory.
async fn settled(replicas: &Replicas, history: &History) {
    for at in 0..replicas.count() {
        for writer in 0..WRITERS {
            let name = clients::name(writer);
            let end = Instant::now() + PATIENCE;
            for tried in 0.. {
                let id = format!("settled-{at}-{writer}-{tried}");
                let call = history.begin(Asked::Decrypt { name: name.clone(), token: "admin".into(), id: id.clone() });
                let mut request = decrypt("acme", &name);
                request.fresh = true;
                let mut request = tonic::Request::new(request);
                request.metadata_mut().insert("x-request-id", id.parse().unwrap());
                let mut client = replicas.credentials(at, &replicas.admin).expect("all run");
                let answer = clients::answer(client.decrypt_credential(request).await);
                let is_answered = answer != Answer::Unknown;
                call.end(answer);
                if is_answered {
                    break;
                }
                assert!(Instant::now() < end, "{name} on {at}: all is well, and it is not answered");
            }
        }
    }
}

/// Which answered decrypts have their record, as each replica tells; and every chain is whole.
async fn recorded(replicas: &Replicas) -> Vec<String> {
    let mut told: Option<Vec<String>> = None;
    for at in 0..replicas.count() {
        let mut admin = replicas.try_admin(at).expect("all run");
        let verified = admin.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact, "{verified:?}");
        assert!(verified.chains.len() >= replicas.count(), "{verified:?}");
        let all = records(&mut admin, "decrypt").await;
        // What the others are asked to show is not what is compared: each shows what the first one showed.
        let ids: Vec<String> =
            all.into_iter().filter(|record| record.outcome == "ok").map(|record| record.request_id).collect();
        match &told {
            None => told = Some(ids),
            Some(first) => assert_eq!(
                first.iter().collect::<BTreeSet<_>>(),
                ids.iter().collect::<BTreeSet<_>>(),
                "replicas show different logs"
            ),
        }
    }
    told.unwrap()
}

/// The fingerprints of all versions that the database has.
fn kept(server: &Server, database: &str) -> Vec<String> {
    let rows = server.psql(database, "SELECT fingerprint FROM org_integration_credentials");
    rows.lines().map(str::to_owned).collect()
}

fn random_seed() -> u64 {
    u64::from_le_bytes(strongroom::crypto::random().unwrap())
}
