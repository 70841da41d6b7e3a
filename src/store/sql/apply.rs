//! Makes one change. Every precondition is looked at first, and nobody else changes rows meanwhile, in this process or another;
//! a refusal leaves nothing behind in any case, because the writer rolls the change's savepoint back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{
    Change, Credential, CredentialState, Draft, Error, Health, NewVersion, Path, ProbeRecord, Settlement, Target,
    Version, VersionState,
};
use super::cells::stored;
use super::changes::{self, Happened};
use super::{
    Sql, access, approvals, credentials, factors, grants, ledger, meta, orgs, resealed, tests, versions, wraps,
};

use crate::store::Word as _;

type Metadata = serde_json::Map<String, serde_json::Value>;
type Labels = BTreeMap<String, String>;

/// What a change left behind.
#[derive(Debug, Default)]
pub struct Applied {
    pub credential: Option<Credential>,
    /// The version that came with the change.
    pub version: Option<Version>,
    /// The newest row of `changes`, when there is a new one.
    pub newest_change: Option<u64>,
    /// Ciphertext was destroyed, and the write-ahead log still holds the pages from before.
    pub destroyed: bool,
    /// The credential's health before and after, where it changed.
    pub health: Option<(Health, Health)>,
}

/// The action of the record that tells of another health: in the same transaction as the change that brought it.
const HEALTH: &str = "health";

impl Applied {
    /// The record that a change brings besides its own.
    pub fn also_told(&self, record: &Draft) -> Option<Draft> {
        let (_, after) = self.health.filter(|_| record.action != HEALTH)?;
        let outcome = after.word().to_owned();
        Some(Draft { action: HEALTH.to_owned(), outcome, policies: Vec::new(), ..record.clone() })
    }
}

/// `at` is the time of everything that happens here: that of the audit record.
pub fn apply(connection: &dyn Sql, chain: &str, change: Change, at: Timestamp) -> Result<Applied, Error> {
    let act = Act { connection, at: stored(at) };
    match change {
        Change::Record | Change::Serve { .. } | Change::Test { .. } => Ok(Applied::default()),
        Change::By { change, .. } => apply(connection, chain, *change, at),
        Change::Create { id, path, metadata, labels, expires_at, version } => {
            act.create(id, path, (metadata, labels), expires_at, &version)
        }
        Change::Rotate { target, metadata, labels, expires_at, version } => {
            act.rotate(target, (metadata, labels), expires_at, &version)
        }
        Change::Settle { credential, version, from, settlement, probe, probe_at, failures } => {
            let (credential, from) = act.test(credential, version, from, settlement, &probe)?;
            versions::set_next_test(connection, credential.id, version, probe_at.map(stored), failures)?;
            act.settled(credential, version, from, settlement)
        }
        Change::Postpone { credential, version, probe_at, failures } => {
            act.postpone(credential, version, stored(probe_at), failures)
        }
        Change::Tell { target } => act.put(act.live(target)?, &[]),
        Change::Activate { target, version } => act.activate(target, version),
        Change::Update { target, metadata, labels, disabled } => act.update(target, metadata, labels, disabled),
        Change::Delete { target, destroy_at } => act.delete(target, destroy_at),
        Change::Undelete { target } => act.undelete(target),
        Change::Destroy { target } => act.destroy(target),
        Change::IssueToken(token) => access::issue(connection, &token, act.at).map(|()| Applied::default()),
        Change::FirstAdmin(token) => access::first_admin(connection, &token, act.at).map(|()| Applied::default()),
        Change::RevokeToken { id } => access::revoke(connection, id, act.at).map(|()| Applied::default()),
        Change::RotateToken { id, ends_at, successor } => {
            access::rotate(connection, id, stored(ends_at), &successor, act.at).map(|()| Applied::default())
        }
        Change::MintGrant { grant, .. } => grants::mint(connection, &grant, act.at).map(|()| Applied::default()),
        Change::RevokeGrant { id, .. } => grants::revoke(connection, id, act.at).map(|()| Applied::default()),
        Change::KeepOrgKey(key) => access::keep(connection, &key).map(|()| Applied::default()),
        Change::Factor(change) => {
            let destroyed = factors::apply(connection, &change, act.at)?;
            Ok(Applied { destroyed, ..Applied::default() })
        }
        Change::Org(change) => act.org(change),
        Change::PutOffDestruction { until } => orgs::put_off(connection, until).map(|()| Applied::default()),
        Change::Approval(change) => approvals::apply(connection, &change, act.at).map(|()| Applied::default()),
        Change::KeepRules { digests } => meta::keep_rules(connection, &digests, at).map(|()| Applied::default()),
        Change::KeepAuditKey(key) => ledger::keep_key(connection, chain, &key).map(|()| Applied::default()),
        Change::AddWraps(wraps) => wraps::add(connection, &wraps).map(|()| Applied::default()),
        Change::DropWraps(moved) => wraps::drop_moved(connection, &moved).map(|()| Applied::default()),
        Change::AddResealed(new) => resealed::add(connection, &new).map(|()| Applied::default()),
        Change::SettleResealed(new) => resealed::settle(connection, &new).map(|()| Applied::default()),
        Change::DropResealed => {
            resealed::drop_next(connection)?;
            Ok(Applied { destroyed: true, ..Applied::default() })
        }
        Change::ProveRecovery => meta::prove_recovery(connection, act.at).map(|()| Applied::default()),
        Change::Scrub => Ok(Applied { destroyed: true, ..Applied::default() }),
        Change::PruneAudit { size } => ledger::prune(connection, chain, size).map(|()| Applied::default()),
    }
}

pub(super) struct Act<'a> {
    pub connection: &'a dyn Sql,
    pub at: Timestamp,
}

impl Act<'_> {
    fn create(
        &self,
        id: Uuid,
        path: Path,
        (metadata, labels): (Metadata, Labels),
        expires_at: Option<Timestamp>,
        new: &NewVersion,
    ) -> Result<Applied, Error> {
        if credentials::live(self.connection, &path)?.is_some() {
            return Err(Error::Taken);
        }
        if let Some(current) = credentials::by_id(self.connection, id)? {
            return stale(current);
        }
        orgs::refuse(self.connection, &path.org)?;
        if new.version != 1 {
            return Err(Error::Stale { current: None });
        }
        let version = versions::arrived(id, new, self.at);
        let mut credential = Credential {
            active_version: new.activate.then_some(new.version),
            metadata,
            labels,
            next_test_at: version.probe_at,
            declared_expires_at: expires_at.map(stored),
            ..Credential::new(id, path, self.at)
        };
        repeat(&mut credential, version.clone());
        let (health, tell_at) = self.told(&mut credential);
        credentials::insert(self.connection, &credential, tell_at)?;
        versions::insert(self.connection, id, new, self.at)?;
        let applied = self.tell(credential, &happened(new), health)?;
        Ok(Applied { version: Some(version), ..applied })
    }

    fn rotate(
        &self,
        target: Target,
        (metadata, labels): (Option<Metadata>, Option<Labels>),
        expires_at: Option<Timestamp>,
        new: &NewVersion,
    ) -> Result<Applied, Error> {
        let mut credential = self.live(target)?;
        if credential.latest_version.checked_add(1) != Some(new.version) {
            return stale(credential);
        }
        if let (true, Some(before)) = (new.activate, credential.active_version) {
            versions::set_state(self.connection, credential.id, before, VersionState::Superseded)?;
        }
        versions::insert(self.connection, credential.id, new, self.at)?;
        credential.latest_version = new.version;
        credential.declared_expires_at = expires_at.map(stored);
        if new.activate {
            credential.active_version = Some(new.version);
            credential.failing_since = None;
        }
        credential.metadata = metadata.unwrap_or(credential.metadata);
        credential.labels = labels.unwrap_or(credential.labels);
        let version = versions::arrived(credential.id, new, self.at);
        let applied = self.save(credential, &happened(new))?;
        Ok(Applied { version: Some(version), ..applied })
    }

    /// Keeps what a test found.
    fn test(
        &self,
        id: Uuid,
        number: u32,
        from: VersionState,
        settlement: Settlement,
        probe: &ProbeRecord,
    ) -> Result<(Credential, VersionState), Error> {
        let credential = credentials::by_id(self.connection, id)?.ok_or(Error::Stale { current: None })?;
        let version = versions::one(self.connection, id, number)?;
        let applies = version.is_some_and(|version| version.state == from) && credential.deleted_at.is_none();
        // A test that took long must not take back what was activated meanwhile.
        let overtaken = settlement == Settlement::Accept
            && matches!(from, VersionState::Pending | VersionState::Invalid)
            && credential.active_version > Some(number);
        if !applies || overtaken || from == VersionState::Destroyed {
            return stale(credential);
        }
        versions::set_probe(self.connection, id, number, probe)?;
        if probe.outcome == ProbeRecord::OK {
            versions::set_learned(self.connection, id, number, probe)?;
        }
        tests::insert(self.connection, id, number, probe)?;
        Ok((credential, from))
    }

    fn settled(
        &self,
        mut credential: Credential,
        number: u32,
        from: VersionState,
        settlement: Settlement,
    ) -> Result<Applied, Error> {
        use {Settlement as S, VersionState as V};
        let happened = match (from, settlement) {
            (V::Pending | V::Invalid, S::Accept) => {
                self.serve(&mut credential, number)?;
                Some(Happened::Activated)
            }
            (V::Pending | V::Invalid, S::Refuse) => {
                versions::set_state(self.connection, credential.id, number, V::Invalid)?;
                Some(Happened::Refused)
            }
            (V::Pending, S::Wait) => Some(Happened::Pending),
            (V::Active, S::Accept) => credential.failing_since.take().map(|_| Happened::Activated),
            (V::Active, S::Refuse) => {
                credential.failing_since.get_or_insert(self.at);
                Some(Happened::Refused)
            }
            // Of a version that is not served, a test says nothing about the credential.
            (V::Invalid | V::Active, S::Wait) | (V::Superseded | V::Destroyed, _) => None,
        };
        let happened: Vec<_> = happened.into_iter().map(|what| (what, Some(number))).collect();
        self.save(credential, &happened)
    }

    fn postpone(&self, id: Uuid, number: u32, probe_at: Timestamp, failures: u32) -> Result<Applied, Error> {
        let mut credential = credentials::by_id(self.connection, id)?.ok_or(Error::Stale { current: None })?;
        if credential.deleted_at.is_some() {
            return stale(credential);
        }
        versions::set_next_test(self.connection, id, number, Some(probe_at), failures)?;
        credential.next_test_at = self.next_test(&credential)?;
        self.put(credential, &[])
    }

    fn activate(&self, target: Target, number: u32) -> Result<Applied, Error> {
        let mut credential = self.live(target)?;
        let version = versions::one(self.connection, credential.id, number)?;
        match version.map(|version| (version.state, version.probe_at)) {
            Some((VersionState::Pending | VersionState::Superseded, probe_at)) => {
                let probe_at = probe_at.or(Some(self.at));
                versions::set_next_test(self.connection, credential.id, number, probe_at, 0)?;
                self.serve(&mut credential, number)?;
                self.save(credential, &[(Happened::Activated, Some(number))])
            }
            _ => stale(credential),
        }
    }

    fn update(
        &self,
        target: Target,
        metadata: Option<Metadata>,
        labels: Option<Labels>,
        disabled: Option<bool>,
    ) -> Result<Applied, Error> {
        let mut credential = self.live(target)?;
        let mut happened = Vec::new();
        if metadata.is_some() || labels.is_some() {
            happened.push((Happened::Metadata, None));
        }
        match disabled {
            Some(true) if !credential.disabled => happened.push((Happened::Disabled, None)),
            Some(false) if credential.disabled => happened.push((Happened::Enabled, None)),
            _ => (),
        }
        credential.metadata = metadata.unwrap_or(credential.metadata);
        credential.labels = labels.unwrap_or(credential.labels);
        credential.disabled = disabled.unwrap_or(credential.disabled);
        self.save(credential, &happened)
    }

    pub fn delete(&self, target: Target, destroy_at: Option<Timestamp>) -> Result<Applied, Error> {
        let mut credential = self.live(target)?;
        credential.state = CredentialState::Deleted;
        credential.active_version = None;
        credential.deleted_at = Some(self.at);
        credential.destroy_at = destroy_at.map(stored);
        if destroy_at.is_some() {
            return self.save(credential, &[(Happened::Deleted, None)]);
        }
        versions::destroy(self.connection, credential.id, self.at)?;
        let applied = self.save(credential, &[(Happened::Deleted, None), (Happened::Destroyed, None)])?;
        Ok(Applied { destroyed: true, ..applied })
    }

    fn undelete(&self, target: Target) -> Result<Applied, Error> {
        let credential = self.waiting(target)?;
        orgs::refuse(self.connection, &credential.path.org)?;
        if credentials::live(self.connection, &credential.path)?.is_some() {
            return Err(Error::Taken);
        }
        self.save(self.back(credential)?, &[(Happened::Undeleted, None)])
    }

    /// One of many that come back at once. Where its health is another now, that is told afterwards, with a record of its
    /// own.
    pub fn undelete_among(&self, credential: Credential) -> Result<Applied, Error> {
        let mut credential = self.back(credential)?;
        self.refresh(&mut credential)?;
        let is_told = credential.disabled || credential.told_health == credential.health(self.at);
        let tell_at = if is_told { credential.health_changes_at(self.at).map(stored) } else { Some(self.at) };
        credentials::save(self.connection, &credential, tell_at)?;
        self.tell(credential, &[(Happened::Undeleted, None)], None)
    }

    fn back(&self, mut credential: Credential) -> Result<Credential, Error> {
        credential.deleted_at = None;
        credential.destroy_at = None;
        credential.active_version = versions::active(self.connection, credential.id)?;
        Ok(credential)
    }

    fn destroy(&self, target: Target) -> Result<Applied, Error> {
        let mut credential = self.waiting(target)?;
        credential.destroy_at = None;
        orgs::count(self.connection, &credential)?;
        versions::destroy(self.connection, credential.id, self.at)?;
        let applied = self.save(credential, &[(Happened::Destroyed, None)])?;
        Ok(Applied { destroyed: true, ..applied })
    }

    /// The target, if it is live and still what the change was decided on.
    fn live(&self, target: Target) -> Result<Credential, Error> {
        self.target(target, |credential| credential.deleted_at.is_none())
    }

    /// The target, if it is deleted and its ciphertext is still there.
    fn waiting(&self, target: Target) -> Result<Credential, Error> {
        self.target(target, |credential| credential.destroy_at.is_some())
    }

    fn target(&self, target: Target, fits: impl Fn(&Credential) -> bool) -> Result<Credential, Error> {
        match credentials::by_id(self.connection, target.credential)? {
            Some(credential) if credential.revision == target.revision && fits(&credential) => Ok(credential),
            current => Err(Error::Stale { current: current.map(Box::new) }),
        }
    }

    fn serve(&self, credential: &mut Credential, number: u32) -> Result<(), Error> {
        if let Some(before) = credential.active_version {
            versions::set_state(self.connection, credential.id, before, VersionState::Superseded)?;
        }
        versions::set_activated(self.connection, credential.id, number, self.at)?;
        credential.active_version = Some(number);
        credential.failing_since = None;
        Ok(())
    }

    fn save(&self, mut credential: Credential, happened: &[(Happened, Option<u32>)]) -> Result<Applied, Error> {
        self.refresh(&mut credential)?;
        self.put(credential, happened)
    }

    /// Counts the revision up, and repeats what the served version, or else the newest, says. A tombstone goes on saying
    /// what was there.
    fn refresh(&self, credential: &mut Credential) -> Result<(), Error> {
        if credential.deleted_at.is_none() {
            let shown = credential.active_version.unwrap_or(credential.latest_version);
            let version = versions::one(self.connection, credential.id, shown)?
                .ok_or_else(|| Error::Corrupt(format!("credentials {}: version {shown} is missing", credential.id)))?;
            repeat(credential, version);
        }
        credential.next_test_at = self.next_test(credential)?;
        credential.revision += 1;
        credential.updated_at = self.at;
        Ok(())
    }

    fn next_test(&self, credential: &Credential) -> Result<Option<Timestamp>, Error> {
        if credential.disabled || credential.deleted_at.is_some() {
            return Ok(None);
        }
        versions::next_test(self.connection, credential.id, credential.latest_version)
    }

    /// Writes the row, and tells what happened.
    fn put(&self, mut credential: Credential, happened: &[(Happened, Option<u32>)]) -> Result<Applied, Error> {
        let (health, tell_at) = self.told(&mut credential);
        credentials::save(self.connection, &credential, tell_at)?;
        self.tell(credential, happened, health)
    }

    /// Another health than those who watch know, and when time alone will change it. While a credential is disabled or
    /// deleted, its health is nobody's concern.
    fn told(&self, credential: &mut Credential) -> (Option<(Health, Health)>, Option<Timestamp>) {
        let (before, after) = (credential.told_health, credential.health(self.at));
        let is_minded = credential.deleted_at.is_none() && !credential.disabled;
        let health = (is_minded && before != after).then_some((before, after));
        if health.is_some() {
            credential.told_health = after;
        }
        (health, credential.health_changes_at(self.at).map(stored))
    }

    /// Tells what happened; another health too, once.
    fn tell(
        &self,
        credential: Credential,
        happened: &[(Happened, Option<u32>)],
        health: Option<(Health, Health)>,
    ) -> Result<Applied, Error> {
        let happened: Vec<_> = happened.iter().copied().chain(health.map(|_| (Happened::Health, None))).collect();
        let newest_change = changes::insert(self.connection, &credential, &happened, self.at)?;
        Ok(Applied { credential: Some(credential), newest_change, health, ..Applied::default() })
    }
}

/// A credential says what its served version, or else its newest, says.
fn repeat(credential: &mut Credential, version: Version) {
    credential.state = match version.state {
        VersionState::Active => CredentialState::Active,
        VersionState::Pending => CredentialState::Pending,
        VersionState::Invalid | VersionState::Superseded | VersionState::Destroyed => CredentialState::Invalid,
    };
    let (mut identity, mut ends, mut warnings) = (BTreeMap::new(), vec![version.expires_at], version.warnings);
    if let Some(learned) = version.learned {
        identity = learned.identity;
        ends.push(learned.expires_at);
    }
    // What the newest test warns of, be it well or not.
    warnings.extend(version.probe.iter().flat_map(|probe| probe.warnings.iter().cloned()));
    identity.extend(version.public_identity);
    ends.push(credential.declared_end());
    credential.fingerprint = version.fingerprint;
    credential.public_identity = identity;
    credential.expires_at = ends.into_iter().flatten().min().map(stored);
    credential.secret_created_at = version.created_at;
    credential.warnings = warnings;
    credential.last_test = version.probe;
}

fn happened(new: &NewVersion) -> Vec<(Happened, Option<u32>)> {
    let activated = new.activate.then_some((Happened::Activated, Some(new.version)));
    [(Happened::Setup, Some(new.version))].into_iter().chain(activated).collect()
}

fn stale<T>(current: Credential) -> Result<T, Error> {
    Err(Error::Stale { current: Some(Box::new(current)) })
}
