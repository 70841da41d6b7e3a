//! The work itself: sealing, opening, and walking the audit chain.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use futures_util::StreamExt as _;
use strongroom::crypto::ledger::export::Verification;
use strongroom::crypto::{self, Dek, Identity, Seal, Secret};
use strongroom::store::{AuditFilter, Change, Draft, chain};
use strongroom::vault::{AuditQuery, Caller};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Plan;
use crate::inside::{Inside, each};
use crate::server::{ORG, SECRET_BYTES, runtime};
use crate::table::{Row, Target, count, median, section, time};

pub fn run(plan: Plan, home: &Path) {
    section("sealing 2.3 KiB", "here", "AES-256-GCM alone");
    let dek = Dek::new([7; 32]);
    let identity = Identity {
        org: ORG.into(),
        project: "default".into(),
        provider: "openai".into(),
        name: "default".into(),
        credential: Uuid::from_u128(7),
        version: 1,
    };
    let secret = Secret::from("s3".repeat(SECRET_BYTES / 2));
    let times = plan.pick(2_000, 10_000);
    let rounds = || 0..plan.rounds();
    let raw = median(rounds().map(|_| each(times, |_| raw(&secret))));
    for seal in [Seal::Aes256Gcm, Seal::Fernet] {
        let sealed = || crypto::seal(seal, &dek, [9; 32], &identity, &secret).unwrap();
        let blob = sealed();
        let sealing = median(rounds().map(|_| each(times, |_| drop(black_box(sealed())))));
        let opening =
            median(rounds().map(|_| each(times, |_| drop(black_box(crypto::open(&dek, &identity, &blob).unwrap())))));
        for (what, figure) in [("seal", sealing), ("open", opening)] {
            Row::shown(format!("{what}, {}", seal.as_str()), time(figure), time(raw))
                .ratio(figure.as_secs_f64() / raw.as_secs_f64(), Target::None)
                .print();
        }
    }
    runtime().block_on(chain_walk(plan, home));
}

fn raw(secret: &Secret) {
    let cipher = Aes256Gcm::new(&[7; 32].into());
    black_box(cipher.encrypt(&[0; 12].into(), black_box(secret.expose())).unwrap());
}

async fn chain_walk(plan: Plan, home: &Path) {
    let inside = Inside::new(home);
    let admin = inside.admin().await;
    let many: u64 = plan.pick(20_000, 200_000);
    let mut lanes = JoinSet::new();
    for lane in 0..250 {
        let store = std::sync::Arc::clone(&inside.store);
        lanes.spawn(async move {
            for _ in (lane..many).step_by(250) {
                store.commit(Change::Record, draft().into()).await.unwrap();
            }
        });
    }
    lanes.join_all().await;

    let page = inside.store.audit(&AuditFilter::default(), None, false, 1_000).await.unwrap().records;
    let hash = median((0..plan.rounds()).map(|_| {
        each(10, |_| {
            let walk = page.iter().fold([0; 32], |before, (_, record)| chain::link(&before, &record.canonical));
            black_box(walk);
        }) / u32::try_from(page.len()).unwrap()
    }));
    let mut rates = Vec::new();
    for _ in 0..plan.pick(1, 3) {
        let begin = std::time::Instant::now();
        let chains = inside.vault.verify_audit(&admin).await.unwrap();
        assert!(chains.iter().all(|chain| chain.broken.is_none() && chain.records > many));
        rates.push(many as f64 / begin.elapsed().as_secs_f64());
    }
    let (rate, alone) = (median(rates), 1.0 / hash.as_secs_f64());
    let show = |rate: f64| format!("{} records/s", count(rate));
    Row::shown("audit verify", show(rate), format!("the hashes alone: {}", show(alone)))
        .ratio(rate / alone, Target::None)
        .print();
    signed(&inside, &admin, many, alone).await;
}

/// What a checkpoint costs for each new record, and how fast an export is proven far away from the daemon.
async fn signed(inside: &Inside, admin: &Caller, many: u64, alone: f64) {
    let begin = std::time::Instant::now();
    inside.vault.checkpoint().await.unwrap();
    let each = begin.elapsed() / u32::try_from(many).unwrap();
    let hash = Duration::from_secs_f64(1.0 / alone);
    Row::shown("audit checkpoint, each new record", time(each), format!("the chain's hash alone: {}", time(hash)))
        .ratio(each.as_secs_f64() / hash.as_secs_f64(), Target::None)
        .print();

    let key = inside.vault.audit_keys(admin).await.unwrap().remove(0).verifier.parse().unwrap();
    let mut pieces = inside.vault.export_audit(admin, AuditQuery::default(), Vec::new()).await.unwrap();
    let mut lines = Vec::new();
    while let Some(piece) = pieces.next().await {
        lines.extend(piece.unwrap());
    }
    let begin = std::time::Instant::now();
    let mut verification = Verification::new(vec![key], Vec::new());
    lines.iter().for_each(|line| verification.line(line).unwrap());
    let found = verification.finish().unwrap();
    assert!(found.faults.is_empty() && found.records > many, "{found:?}");
    let rate = found.records as f64 / begin.elapsed().as_secs_f64();
    let show = |rate: f64| format!("{} records/s", count(rate));
    Row::shown("audit verify of an export, offline", show(rate), format!("the hashes alone: {}", show(alone)))
        .ratio(rate / alone, Target::None)
        .print();
}

fn draft() -> Draft {
    let text = |text: &str| text.to_owned();
    Draft {
        at: jiff::Timestamp::now(),
        caller: Uuid::from_u128(7).to_string(),
        caller_name: text("a pipeline"),
        action: text("decrypt"),
        outcome: text("ok"),
        org: text(ORG),
        project: text("default"),
        provider: text("saas_generic"),
        name: text("default"),
        credential_id: Some(Uuid::from_u128(8)),
        version: Some(1),
        fingerprint: text("00000000"),
        request_id: Uuid::from_u128(9).to_string(),
        policies: vec![text("pipeline-decrypts")],
        proof: text("token"),
        address: text("127.0.0.1"),
        ..Draft::default()
    }
}
