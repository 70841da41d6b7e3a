//! Tests that nobody asked for: whether the schedule keeps to the rate that each provider's entry allows, and to how many
//! may be asked at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use strongroom::crypto::Secret;
use strongroom::providers::probe::Metadata;
use strongroom::providers::{Outcome, Probe, Provider, Registry, Upload, Verdict};
use strongroom::store::{self, Change};
use strongroom::vault::{Caller, Setup};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Plan;
use crate::inside::Inside;
use crate::server::runtime;
use crate::table::{Row, Target, count, section};

const PROVIDERS: usize = 2;
const ORGS: usize = 5;
/// For all providers together.
const AT_ONCE: usize = 16;
/// For one.
const SEATS: usize = 12;
/// For one org and provider.
const PER_MINUTE: u32 = 3_000;
const BURST: usize = 10;
/// As long as a near provider takes to answer.
const ANSWER: Duration = Duration::from_millis(5);

pub fn run(plan: Plan, home: &Path) {
    section("scheduled tests of what is stored", "measured", "configured");
    let orgs = (PROVIDERS * ORGS) as f64;
    let all: usize = plan.pick(2_000, 10_000);
    let configured = f64::from(PER_MINUTE) / 60.0 * orgs;
    let asked = runtime().block_on(tested(&home.join("paced"), all, PER_MINUTE));
    let rate = (all as f64 - orgs * BURST as f64) / asked.took().as_secs_f64();
    let name = format!("{all} credentials of {} orgs", PROVIDERS * ORGS);
    let off = (rate / configured - 1.0) * 100.0;
    Row::shown(name, format!("{}/s behind the burst", count(rate)), format!("{}/s", count(configured)))
        .value(off.abs(), " % off", Target::AtMost(5.0))
        .print();
    asked.print();

    let all = plan.pick(1_000, 5_000);
    let asked = runtime().block_on(tested(&home.join("free"), all, 6_000_000));
    let rate = format!("{}/s", count(all as f64 / asked.took().as_secs_f64()));
    Row::shown("as fast as the seats allow", rate, "no rate to speak of").print();
    asked.print();
}

/// Has so many credentials tested that are due all at once.
async fn tested(home: &Path, all: usize, per_minute: u32) -> Arc<Asked> {
    std::fs::create_dir(home).unwrap();
    let asked = Arc::new(Asked::default());
    let probe: Arc<dyn Probe> = Arc::clone(&asked) as _;
    let inside = Arc::new(Inside::over(home, registry(per_minute), probe, AT_ONCE));
    let admin = inside.admin().await;
    let mut lanes = JoinSet::new();
    for lane in 0..64 {
        let (inside, admin) = (Arc::clone(&inside), admin.clone());
        lanes.spawn(async move {
            for nth in (lane..all).step_by(64) {
                set_up(&inside, &admin, nth).await;
            }
        });
    }
    lanes.join_all().await;

    let (stop, stopped) = watch::channel(false);
    let upkeep = tokio::spawn(Arc::clone(&inside.vault).upkeep(stopped));
    while asked.times.lock().unwrap().len() < all {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send_replace(true);
    upkeep.await.unwrap();
    asked
}

async fn set_up(inside: &Inside, admin: &Caller, nth: usize) {
    let provider = format!("fake_{}", nth % PROVIDERS);
    let org = format!("org-{}", nth / PROVIDERS % ORGS);
    let path = store::Path { org, project: "default".into(), provider, name: format!("c{nth}") };
    let token = Secret::from(format!("{nth:05}{}", "q7w3e9r5t1".repeat(3)));
    let request = Setup {
        path,
        upload: Upload::Fields([("token".to_owned(), token)].into()),
        metadata: None,
        labels: None,
        expires_at: None,
        no_probe: true,
        etag: None,
    };
    let credential = inside.vault.setup(admin, request).await.unwrap().credential;
    let due = Change::Postpone { credential: credential.id, version: 1, probe_at: Timestamp::now(), failures: 0 };
    inside.store.commit(due, Arc::default()).await.unwrap();
}

fn registry(per_minute: u32) -> Registry {
    let mut text = String::from("placeholders: []\nknown_keys: []\ncommon_metadata: {}\nproviders:\n");
    for provider in 0..PROVIDERS {
        text += &format!(
            r#"
  - id: fake_{provider}
    title: Fake
    category: saas
    class: long-lived
    fields: [{{ name: token, example: 00000q7w3e9r5t1, must_be: a token, patterns: ['^[a-z0-9]+$'] }}]
    limits: {{ per_minute: {per_minute}, burst: {BURST}, at_once: {SEATS} }}
    test:
      hosts: [api.example.com]
      steps: [{{ get: 'https://api.example.com/', headers: {{ authorization: 'Bearer {{token}}' }} }}]
    metadata: {{}}
"#
        );
    }
    Registry::parse("bench.yml", &text).unwrap()
}

/// What says yes after a while, and counts.
#[derive(Default)]
struct Asked {
    times: Mutex<Vec<Instant>>,
    running: Mutex<BTreeMap<String, usize>>,
    most: AtomicUsize,
    most_of_one: AtomicUsize,
}

impl Asked {
    /// From the first to the last.
    fn took(&self) -> Duration {
        let times = self.times.lock().unwrap();
        times[times.len() - 1] - times[0]
    }

    fn print(&self) {
        for (what, most, allowed) in
            [("  at once, of one provider", &self.most_of_one, SEATS), ("  at once, of all", &self.most, AT_ONCE)]
        {
            let most = most.load(Ordering::SeqCst);
            Row::shown(what, format!("{most} at most"), format!("{allowed}"))
                .value(most as f64, "", Target::AtMost(allowed as f64))
                .print();
        }
    }
}

#[async_trait]
impl Probe for Asked {
    async fn probe(&self, provider: &Provider, _: &Secret, _: &Metadata) -> Outcome {
        self.times.lock().unwrap().push(Instant::now());
        {
            let mut running = self.running.lock().unwrap();
            let of_one = running.entry(provider.id.clone()).or_default();
            *of_one += 1;
            self.most_of_one.fetch_max(*of_one, Ordering::SeqCst);
            self.most.fetch_max(running.values().sum(), Ordering::SeqCst);
        }
        tokio::time::sleep(ANSWER).await;
        *self.running.lock().unwrap().get_mut(&provider.id).unwrap() -= 1;
        Outcome::new(Verdict::Ok, "", "")
    }
}
