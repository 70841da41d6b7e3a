//! Random changes, on the store and on a simple model of it: each must do, refuse and show the same.

use strongroom::store::{CredentialState as C, Filter, Health, Settlement as S, VersionState as V, Word as _};

use super::random::random_change;
use super::*;

const STEPS: usize = 600;

#[derive(Clone, Debug)]
pub struct Entry {
    pub credential: Credential,
    pub states: Vec<V>,
    known: Vec<Known>,
    tests: Vec<(u32, String)>,
}

/// What is known of a version's tests.
#[derive(Clone, Debug)]
struct Known {
    made_at: Timestamp,
    expires_at: Option<Timestamp>,
    warnings: Vec<String>,
    probe: Option<ProbeRecord>,
    learned: Option<ProbeRecord>,
    probe_at: Option<Timestamp>,
    failures: u32,
}

impl Known {
    fn new(version: &NewVersion, made_at: Timestamp) -> Self {
        let NewVersion { expires_at, warnings, probe, probe_at, .. } = version.clone();
        Self { made_at, expires_at, warnings, probe, learned: None, probe_at, failures: 0 }
    }
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Stale(Option<Box<Credential>>),
    Taken,
}

#[derive(Default)]
pub struct Model {
    pub entries: BTreeMap<Uuid, Entry>,
    told: Vec<(Uuid, &'static str)>,
    /// The newest change's record; that of another health may follow it.
    newest: usize,
    records: usize,
}

pub async fn random_changes_match_a_model(place: &impl Place) {
    let mut random = Random(seed());
    let mut model = Model::default();
    let mut store = place.open().await;
    for step in 0..STEPS {
        if random.chance(1) {
            drop(store);
            store = place.open().await;
        }
        let change = random_change(&mut random, &model);
        let record = draft("step");
        let expected = model.apply(&change, record.at);
        let told = format!("step {step}: {change:?}");
        match (store.commit(change, record.into()).await, expected) {
            (Ok(receipt), Ok(credential)) => {
                assert_eq!(receipt.sequence, model.newest as u64, "{told}");
                assert_eq!(receipt.credential, credential, "{told}");
                if let Some(version) = receipt.version {
                    assert_eq!(store.versions(version.credential).await.unwrap().first(), Some(&version), "{told}");
                }
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

impl Model {
    fn apply(&mut self, change: &Change, now: Timestamp) -> Result<Option<Credential>, Refusal> {
        let (mut in_place, mut records) = (false, 1);
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
                    secret_created_at: now,
                    warnings: Vec::new(),
                    last_test: None,
                    next_test_at: None,
                    expires_at: None,
                    declared_expires_at: *expires_at,
                    told_health: Health::Ok,
                    deleted_at: None,
                    destroy_at: None,
                };
                let known = vec![Known::new(version, now)];
                let mut entry = Entry { credential, states: vec![V::Pending], known, tests: Vec::new() };
                self.tell(*id, "setup");
                if version.activate {
                    entry.serve(1);
                    self.tell(*id, "activated");
                }
                Some(entry)
            }
            Change::Settle { credential, version, from, settlement, probe, probe_at, failures } => {
                let mut entry = self.entries[credential].clone();
                let state = entry.states[*version as usize - 1];
                let overtaken = *settlement == S::Accept
                    && matches!(state, V::Pending | V::Invalid)
                    && entry.credential.active_version > Some(*version);
                if entry.credential.deleted_at.is_some() || state != *from || state == V::Destroyed || overtaken {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                let known = &mut entry.known[*version as usize - 1];
                (known.probe, known.probe_at, known.failures) = (Some(probe.clone()), *probe_at, *failures);
                if probe.outcome == "ok" {
                    known.learned.clone_from(&known.probe);
                }
                entry.tests.push((*version, probe.outcome.clone()));
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
            Change::Test { target, version, from, .. } => {
                let entry = self.entry(*target)?;
                if entry.credential.deleted_at.is_some() || entry.states[*version as usize - 1] != *from {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                None
            }
            Change::Postpone { credential, version, probe_at, failures } => {
                let mut entry = self.entries[credential].clone();
                if entry.credential.deleted_at.is_some() {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                let known = &mut entry.known[*version as usize - 1];
                (known.probe_at, known.failures, in_place) = (Some(*probe_at), *failures, true);
                entry.credential.next_test_at = entry.next_test();
                Some(entry)
            }
            Change::Tell { target } => {
                let entry = self.entry(*target)?;
                if entry.credential.deleted_at.is_some() {
                    return Err(Refusal::Stale(Some(Box::new(entry.credential))));
                }
                in_place = true;
                Some(entry)
            }
            change => Some(self.of_target(change, now)?),
        };
        let done = done.map(|entry| if in_place { entry } else { entry.derived(now) });
        if let Some(it) = &done
            && it.credential.deleted_at.is_none()
            && !it.credential.disabled
            && it.credential.health(now) != it.credential.told_health
        {
            self.tell(it.credential.id, "health");
            records += 1;
        }
        self.newest = self.records + 1;
        self.records += records;
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
                row.declared_expires_at = *expires_at;
                row.metadata = metadata.clone().unwrap_or_else(|| row.metadata.clone());
                row.labels = labels.clone().unwrap_or_else(|| row.labels.clone());
                entry.states.push(V::Pending);
                entry.known.push(Known::new(version, now));
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
                let known = &mut entry.known[*version as usize - 1];
                (known.probe_at, known.failures) = (known.probe_at.or(Some(now)), 0);
                entry.serve(*version);
                words.push("activated");
            }
            Change::Update { metadata, labels, disabled, .. } => {
                if metadata.is_some() || labels.is_some() {
                    row.metadata = metadata.clone().unwrap_or_else(|| row.metadata.clone());
                    row.labels = labels.clone().unwrap_or_else(|| row.labels.clone());
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

    fn keep(&mut self, mut entry: Entry, now: Timestamp) -> Credential {
        let row = &mut entry.credential;
        if row.deleted_at.is_none() && !row.disabled {
            row.told_health = row.health(now);
        }
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
        for (id, Entry { credential, states, known, tests }) in &self.entries {
            assert_eq!(store.credential_by_id(*id).await.unwrap().as_ref(), Some(credential));
            let versions = store.versions(*id).await.unwrap();
            assert_eq!(versions.iter().rev().map(|version| version.state).collect::<Vec<_>>(), *states);
            for (version, known) in versions.iter().rev().zip(known) {
                assert_eq!((&version.probe, &version.learned), (&known.probe, &known.learned));
                assert_eq!((version.probe_at, version.failures), (known.probe_at, known.failures));
            }
            let kept = store.tests(*id).await.unwrap().into_iter().map(|test| (test.version, test.outcome));
            assert_eq!(kept.collect::<Vec<_>>(), tests.iter().rev().take(20).cloned().collect::<Vec<_>>());
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
        let told = store.changes(Some("acme"), 0, 10_000).await.unwrap();
        let told: Vec<_> = told.iter().map(|event| (event.credential.id, event.change.as_str())).collect();
        assert_eq!(told, self.told);
        assert_eq!(verified(store).await.len(), self.records);
        let now = tick();
        let mut due: Vec<_> = live.iter().filter(|row| row.next_test_at.is_some_and(|at| at <= now)).collect();
        due.sort_by_key(|row| (row.next_test_at, row.id));
        let found = store.to_test(&["openai".to_owned()], &[], now, 1_000).await.unwrap();
        assert_eq!(
            found.iter().map(|one| one.credential).collect::<Vec<_>>(),
            due.iter().map(|row| row.id).collect::<Vec<_>>()
        );
        let mut unhealthy: BTreeMap<&str, u64> = BTreeMap::new();
        for row in live.iter().filter(|row| !row.disabled && row.told_health != Health::Ok) {
            *unhealthy.entry(row.told_health.word()).or_default() += 1;
        }
        let counted = store.unhealthy().await.unwrap();
        assert_eq!(
            counted.iter().map(|(health, count)| (health.word(), *count)).collect::<BTreeMap<_, _>>(),
            unhealthy
        );
        // Whoever is not told of by a time is known to be as told.
        let to_tell: Vec<_> = store.to_tell(now, 1_000).await.unwrap().into_iter().map(|row| row.id).collect();
        for row in live.iter().filter(|row| !row.disabled) {
            assert_eq!(to_tell.contains(&row.id), row.health(now) != row.told_health, "{row:?}");
        }
    }
}

impl Entry {
    /// Derives what a row repeats of its versions.
    fn derived(mut self, now: Timestamp) -> Self {
        let next_test = self.next_test();
        let row = &mut self.credential;
        let served = self.states.iter().position(|state| *state == V::Active).map(|index| index as u32 + 1);
        row.active_version = served.filter(|_| row.deleted_at.is_none());
        if row.deleted_at.is_some() {
            row.state = C::Deleted;
        } else {
            let shown = row.active_version.unwrap_or(row.latest_version);
            let known = &self.known[shown as usize - 1];
            row.state = match self.states[shown as usize - 1] {
                V::Active => C::Active,
                V::Pending => C::Pending,
                _ => C::Invalid,
            };
            row.fingerprint = version(row.id, shown).fingerprint;
            row.public_identity = known.learned.as_ref().map(|test| test.identity.clone()).unwrap_or_default();
            row.public_identity.extend(version(row.id, shown).public_identity);
            row.secret_created_at = known.made_at;
            row.last_test.clone_from(&known.probe);
            row.warnings = known.warnings.clone();
            row.warnings.extend(known.probe.iter().flat_map(|test| test.warnings.clone()));
            let in_metadata = row.metadata.get("expires_at").map(|end| end.as_str().unwrap().parse().unwrap());
            let told = known.learned.as_ref().and_then(|test| test.expires_at);
            row.expires_at = [row.declared_expires_at, in_metadata, known.expires_at, told].into_iter().flatten().min();
        }
        row.next_test_at = next_test;
        row.revision += 1;
        row.updated_at = now;
        self
    }

    fn next_test(&self) -> Option<Timestamp> {
        let row = &self.credential;
        if row.disabled || row.deleted_at.is_some() {
            return None;
        }
        let tested = (1..).zip(self.states.iter().zip(&self.known)).filter(|(number, (state, _))| match state {
            V::Active => true,
            V::Pending => *number == row.latest_version,
            _ => false,
        });
        tested.filter_map(|(_, (_, known))| known.probe_at).min()
    }

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
