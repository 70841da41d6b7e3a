//! Changes that may or may not fit what is there.

use strongroom::store::{Health, Settlement as S, VersionState as V};

use super::model::{Entry, Model};
use super::*;

pub fn random_change(random: &mut Random, model: &Model) -> Change {
    let known: Vec<_> = model.entries.values().collect();
    if known.is_empty() || random.chance(12) {
        let id = if known.is_empty() || random.chance(90) { Uuid::now_v7() } else { random.one(&known).credential.id };
        let name =
            path("acme", random.one::<&str>(&["p", "q"]), "openai", random.one::<&str>(&["a", "b", "c", "d", "e"]));
        return creation(id, name, random_version(random, 40, version(id, 1)));
    }
    // Tombstones pile up, and refuse nearly everything.
    let live: Vec<_> = known.iter().copied().filter(|entry| entry.credential.deleted_at.is_none()).collect();
    let few = if live.is_empty() || random.chance(20) { &known } else { &live };
    let Entry { credential, states, .. } = *random.one(few);
    let revision = credential.revision - u64::from(random.chance(10));
    let target = Target { credential: credential.id, revision };
    let some = u32::try_from(1 + random.below(states.len())).unwrap();
    let later = |random: &mut Random| random.chance(50).then(tick);
    match random.below(24) {
        0..=4 => {
            let number = credential.latest_version + u32::from(!random.chance(5));
            let metadata = random.chance(30).then(|| random_metadata(random));
            Change::Rotate {
                target,
                metadata,
                labels: random.chance(30).then(BTreeMap::new),
                expires_at: random_end(random),
                version: Box::new(random_version(random, 30, version(credential.id, number))),
            }
        }
        5..=9 => Change::Settle {
            credential: credential.id,
            version: some,
            from: if random.chance(80) { states[some as usize - 1] } else { V::Pending },
            settlement: *random.one(&[S::Accept, S::Refuse, S::Wait]),
            probe: random_probe(random),
            probe_at: later(random),
            failures: u32::try_from(random.below(3)).unwrap(),
        },
        10..=12 => Change::Activate { target, version: some },
        13..=14 => Change::Update {
            target,
            metadata: random.chance(30).then(|| random_metadata(random)),
            labels: random.chance(50).then(|| BTreeMap::from([("l".into(), "v".into())])),
            disabled: random.chance(50).then(|| random.chance(50)),
        },
        15..=16 => Change::Delete { target, destroy_at: random.chance(80).then(tick) },
        17 => Change::Undelete { target },
        18 => Change::Destroy { target },
        19 => Change::Postpone { credential: credential.id, version: some, probe_at: tick(), failures: 2 },
        20..=21 => Change::Tell { target },
        22 => Change::Test { target, version: some, from: *random.one(&[V::Pending, V::Active]), token: None },
        _ => Change::Serve { target, version: some, token: None, grant: None },
    }
}

/// Never, soon enough to pass while the test runs, or so that it is expiring now.
fn random_end(random: &mut Random) -> Option<Timestamp> {
    let soon = jiff::SignedDuration::from_millis(i64::try_from(random.below(80)).unwrap());
    let wait = *random.one(&[None, Some(soon), Some(Health::EXPIRING), Some(Health::EXPIRING + soon)]);
    wait.map(|wait| tick() + wait)
}

fn random_version(random: &mut Random, active: usize, version: NewVersion) -> NewVersion {
    let warnings = if random.chance(20) { vec!["of the upload".into()] } else { Vec::new() };
    let (expires_at, probe_at) = (random_end(random), random.chance(70).then(tick));
    NewVersion { activate: random.chance(active), probe_at, expires_at, warnings, ..version }
}

fn random_probe(random: &mut Random) -> ProbeRecord {
    let identity = ["key", "account"].into_iter().filter(|_| random.chance(50)).map(|key| (key.into(), "told".into()));
    let identity = identity.collect();
    ProbeRecord {
        identity,
        expires_at: random_end(random),
        warnings: if random.chance(20) { vec!["of the test".into()] } else { Vec::new() },
        ..probe(random.one::<&str>(&["ok", "random"]))
    }
}

fn random_metadata(random: &mut Random) -> serde_json::Map<String, serde_json::Value> {
    random_end(random).map(|end| ("expires_at".to_owned(), end.to_string().into())).into_iter().collect()
}
