//! Random changes, on the store and on a simple model of it: each must do, refuse and show the same.

use strongroom::store::{CredentialState as C, Filter, Settlement as S, VersionState as V};

use super::*;

const STEPS: usize = 600;

#[derive(Clone, Debug)]
struct Entry {
    credential: Credential,
    states: Vec<V>,
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Stale(Option<Box<Credential>>),
    Taken,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<Uuid, Entry>,
    told: Vec<(Uuid, &'static str)>,
    records: usize,
}

pub async fn random_changes_match_a_model(place: &impl Place) {
    let mut random = Random(seed());
    let mut model = Model::default();
    let mut store = place.open();
    for step in 0..STEPS {
        if random.chance(1) {
            drop(store);
            store = place.open();
        }
        let change = random_change(&mut random, &model);
        let record = draft("step");
        let expected = model.apply(&change, record.at);
        let told = format!("step {step}: {change:?}");
        match (store.commit(change, record.into()).await, expected) {
            (Ok(receipt), Ok(credential)) => {
                assert_eq!(receipt.sequence, model.records as u64, "{told}");
                assert_eq!(receipt.credential, credential, "{told}");
            }
            (Err(Error::Stale { current }), Err(expected)) => assert_eq!(Refusal::Stale(current), expected, "{told}"),
            (Err(Error::Taken), Err(expected)) => assert_eq!(Refusal::Taken, expected, "{told}"),
            other => panic!("{told} gave {other:?}"),
        }
        if step % 50 == 49 {
            model.compare(&store).await;
        }
    }
    model.compare(&store).await;
    assert!(model.records > STEPS / 4, "most changes were refused: {} records", model.records);
}

fn random_change(random: &mut Random, model: &Model) -> Change {
    let known: Vec<_> = model.entries.values().collect();
    if known.is_empty() || random.chance(12) {
        let id = if known.is_empty() || random.chance(90) { Uuid::now_v7() } else { random.one(&known).credential.id };
        let name =
            path("acme", random.one::<&str>(&["p", "q"]), "openai", random.one::<&str>(&["a", "b", "c", "d", "e"]));
        return creation(id, name, NewVersion { activate: random.chance(40), ..version(id, 1) });
    }
    // Tombstones pile up, and refuse nearly everything.
    let live: Vec<_> = known.iter().copied().filter(|entry| entry.credential.deleted_at.is_none()).collect();
    let few = if live.is_empty() || random.chance(20) { &known } else { &live };
    let Entry { credential, states } = *random.one(few);
    let revision = credential.revision - u64::from(random.chance(10));
    let target = Target { credential: credential.id, revision };
    let some = u32::try_from(1 + random.below(states.len())).unwrap();
    let later = |random: &mut Random| random.chance(50).then(tick);
    match random.below(20) {
        0..=4 => {
            let number = credential.latest_version + u32::from(!random.chance(5));
            let activate = random.chance(30);
            let metadata = random.chance(30).then(serde_json::Map::new);
            Change::Rotate {
                target,
                metadata,
                labels: random.chance(30).then(BTreeMap::new),
                expires_at: later(random),
                version: Box::new(NewVersion { activate, ..version(credential.id, number) }),
            }
        }
        5..=9 => Change::Settle {
            credential: credential.id,
            version: some,
            from: if random.chance(80) { states[some as usize - 1] } else { V::Pending },
            settlement: *random.one(&[S::Accept, S::Refuse, S::Wait]),
            probe: probe("random"),
        },
        10..=12 => Change::Activate { target, version: some },
        13..=14 => Change::Update {
            target,
            metadata: None,
            labels: random.chance(50).then(|| BTreeMap::from([("l".into(), "v".into())])),
            disabled: random.chance(50).then(|| random.chance(50)),
        },
        15..=16 => Change::Delete { target, destroy_at: random.chance(80).then(tick) },
        17 => Change::Undelete { target },
        18 => Change::Destroy { target },
        _ => Change::Serve { target, version: some, token: None },
    }
}

impl Model {
    fn apply(&mut self, change: &Change, now: Timestamp) -> Result<Option<Credential>, Refusal> {
        let done = match change {
            Change::Create { id, path, metadata, labels, expires_at, version } => {
                if self.live(path).is_some() {
                    return Err(Refusal::Taken);
                }
                if let Some(entry) = self.entries.get(id) {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential.clone()))));
                }
                let credential = Credential {
                    id: *id,
                    path: path.clone(),
                    state: C::Pending,
                    disabled: false,
                    failing_since: None,
                    active_version: None,
                    latest_version: 1,
                    fingerprint: String::new(),
                    public_identity: BTreeMap::new(),
                    metadata: metadata.clone(),
                    labels: labels.clone(),
                    revision: 0,
                    created_at: now,
                    updated_at: now,
                    expires_at: *expires_at,
                    deleted_at: None,
                    destroy_at: None,
                };
                let mut entry = Entry { credential, states: vec![V::Pending] };
                self.tell(*id, "setup");
                if version.activate {
                    entry.serve(1);
                    self.tell(*id, "activated");
                }
                Some(entry)
            }
            Change::Settle { credential, version, from, settlement, .. } => {
                let mut entry = self.entries[credential].clone();
                let state = entry.states[*version as usize - 1];
                let overtaken = *settlement == S::Accept
                    && matches!(state, V::Pending | V::Invalid)
                    && entry.credential.active_version > Some(*version);
                if entry.credential.deleted_at.is_some() || state != *from || state == V::Destroyed || overtaken {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                entry.settle(*version, state, *settlement, now).inspect(|word| self.tell(*credential, word));
                Some(entry)
            }
            Change::Serve { target, version, .. } => {
                let entry = self.entry(*target)?;
                let now = &entry.credential;
                if now.disabled || now.deleted_at.is_some() || now.active_version != Some(*version) {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                None
            }
            change => Some(self.of_target(change, now)?),
        };
        self.records += 1;
        Ok(done.map(|entry| self.keep(entry, now)))
    }

    fn of_target(&mut self, change: &Change, now: Timestamp) -> Result<Entry, Refusal> {
        let (Change::Rotate { target, .. }
        | Change::Activate { target, .. }
        | Change::Update { target, .. }
        | Change::Delete { target, .. }
        | Change::Undelete { target }
        | Change::Destroy { target }) = change
        else {
            unreachable!("{change:?}")
        };
        let mut entry = self.entry(*target)?;
        let stale = Refusal::Stale(Some(Box::new(entry.credential.clone())));
        let row = &mut entry.credential;
        let fits = match change {
            Change::Undelete { .. } | Change::Destroy { .. } => row.destroy_at.is_some(),
            _ => row.deleted_at.is_none(),
        };
        if !fits {
            return Err(stale);
        }
        let mut words = Vec::new();
        match change {
            Change::Rotate { version, metadata, labels, expires_at, .. } => {
                if version.version != row.latest_version + 1 {
                    return Err(stale);
                }
                row.latest_version = version.version;
                row.expires_at = *expires_at;
                row.metadata = metadata.clone().unwrap_or_else(|| row.metadata.clone());
                row.labels = labels.clone().unwrap_or_else(|| row.labels.clone());
                entry.states.push(V::Pending);
                words.push("setup");
                if version.activate {
                    entry.serve(version.version);
                    words.push("activated");
                }
            }
            Change::Activate { version, .. } => {
                if !matches!(entry.states[*version as usize - 1], V::Pending | V::Superseded) {
                    return Err(stale);
                }
                entry.serve(*version);
                words.push("activated");
            }
            Change::Update { labels, disabled, .. } => {
                if let Some(labels) = labels {
                    row.labels.clone_from(labels);
                    words.push("metadata");
                }
                if let Some(disabled) = *disabled
                    && disabled != row.disabled
                {
                    row.disabled = disabled;
                    words.push(if disabled { "disabled" } else { "enabled" });
                }
            }
            Change::Delete { destroy_at, .. } => {
                row.deleted_at = Some(now);
                row.destroy_at = *destroy_at;
                words.push("deleted");
                if destroy_at.is_none() {
                    entry.states.fill(V::Destroyed);
                    words.push("destroyed");
                }
            }
            Change::Undelete { .. } => {
                if self.live(&row.path).is_some() {
                    return Err(Refusal::Taken);
                }
                row.deleted_at = None;
                row.destroy_at = None;
                words.push("undeleted");
            }
            _ => {
                row.destroy_at = None;
                entry.states.fill(V::Destroyed);
                words.push("destroyed");
            }
        }
        words.into_iter().for_each(|word| self.tell(target.credential, word));
        Ok(entry)
    }

    /// Derives what a row repeats of its versions, and keeps it.
    fn keep(&mut self, mut entry: Entry, now: Timestamp) -> Credential {
        let row = &mut entry.credential;
        let served = entry.states.iter().position(|state| *state == V::Active).map(|index| index as u32 + 1);
        row.active_version = served.filter(|_| row.deleted_at.is_none());
        if row.deleted_at.is_some() {
            row.state = C::Deleted;
        } else {
            let shown = row.active_version.unwrap_or(row.latest_version);
            row.state = match entry.states[shown as usize - 1] {
                V::Active => C::Active,
                V::Pending => C::Pending,
                _ => C::Invalid,
            };
            row.fingerprint = version(row.id, shown).fingerprint;
            row.public_identity = version(row.id, shown).public_identity;
        }
        row.revision += 1;
        row.updated_at = now;
        let credential = row.clone();
        self.entries.insert(credential.id, entry);
        credential
    }

    fn entry(&self, target: Target) -> Result<Entry, Refusal> {
        let entry = self.entries[&target.credential].clone();
        if entry.credential.revision == target.revision {
            Ok(entry)
        } else {
            Err(Refusal::Stale(Some(Box::new(entry.credential))))
        }
    }

    fn live(&self, path: &Path) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.credential.path == *path && entry.credential.deleted_at.is_none())
    }

    fn tell(&mut self, credential: Uuid, word: &'static str) {
        self.told.push((credential, word));
    }

    async fn compare(&self, store: &impl Store) {
        for (id, Entry { credential, states }) in &self.entries {
            assert_eq!(store.credential_by_id(*id).await.unwrap().as_ref(), Some(credential));
            let versions = store.versions(*id).await.unwrap();
            assert_eq!(versions.iter().rev().map(|version| version.state).collect::<Vec<_>>(), *states);
            for (number, state) in (1..).zip(states) {
                let sealed = store.sealed(*id, number).await.unwrap().map(|(_, sealed)| sealed);
                assert_eq!(sealed, (*state != V::Destroyed).then(|| version(*id, number).sealed));
            }
        }
        let mut live: Vec<_> = self.entries.values().map(|entry| &entry.credential).collect();
        live.retain(|credential| credential.deleted_at.is_none());
        live.sort_by(|a, b| a.path.cmp(&b.path));
        let filter = Filter { org: "acme".into(), ..Filter::default() };
        assert_eq!(store.list(&filter, None, 1_000).await.unwrap().iter().collect::<Vec<_>>(), live);
        let told = store.changes("acme", 0, 10_000).await.unwrap();
        let told: Vec<_> = told.iter().map(|event| (event.credential.id, event.change.as_str())).collect();
        assert_eq!(told, self.told);
        assert_eq!(verified(store).await.len(), self.records);
    }
}

impl Entry {
    fn serve(&mut self, version: u32) {
        for state in &mut self.states {
            if *state == V::Active {
                *state = V::Superseded;
            }
        }
        self.states[version as usize - 1] = V::Active;
        self.credential.failing_since = None;
    }

    fn settle(&mut self, version: u32, state: V, settlement: S, now: Timestamp) -> Option<&'static str> {
        match (state, settlement) {
            (V::Superseded | V::Destroyed, _) | (V::Active | V::Invalid, S::Wait) => None,
            (V::Pending, S::Wait) => Some("pending"),
            (V::Active, S::Accept) => self.credential.failing_since.take().map(|_| "activated"),
            (V::Active, S::Refuse) => {
                self.credential.failing_since.get_or_insert(now);
                Some("refused")
            }
            (V::Pending | V::Invalid, S::Refuse) => {
                self.states[version as usize - 1] = V::Invalid;
                Some("refused")
            }
            (V::Pending | V::Invalid, S::Accept) => {
                self.serve(version);
                Some("activated")
            }
        }
    }
}
