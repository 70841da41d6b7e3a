//! The hot path: may this version still be answered? What the rows say is kept in memory, which is safe because this
//! writer alone changes them: it forgets what a change touches, and everything when a commit failed.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::super::{Change, Error, Target, VersionState};
use super::{credentials, versions};

/// At most about 8 MB. Beyond that, everything is forgotten and learnt again.
const LIMIT: usize = 65_536;

#[derive(Default)]
pub struct Memo {
    /// The revision of each live, enabled credential, and the version that it serves.
    served: HashMap<Uuid, (u64, u32)>,
    /// Tokens that exist and are not revoked.
    valid: HashMap<Uuid, ()>,
}

impl Memo {
    /// Confirms what a plaintext is answered on. Writes nothing.
    pub fn confirm(
        &mut self,
        connection: &Connection,
        target: Target,
        version: u32,
        token: Option<Uuid>,
    ) -> Result<(), Error> {
        if let Some(token) = token {
            self.confirm_token(connection, token)?;
        }
        let now = match self.served.get(&target.credential) {
            Some(known) => Some(*known),
            None => self.learn(connection, target.credential)?,
        };
        if now == Some((target.revision, version)) {
            return Ok(());
        }
        let current = credentials::by_id(connection, target.credential)?;
        Err(Error::Stale { current: current.map(Box::new) })
    }

    /// Confirms what a plaintext is tested on. Writes nothing, and remembers nothing: tests are rare.
    pub fn confirm_test(
        &mut self,
        connection: &Connection,
        target: Target,
        version: u32,
        from: VersionState,
        token: Option<Uuid>,
    ) -> Result<(), Error> {
        if let Some(token) = token {
            self.confirm_token(connection, token)?;
        }
        let current = credentials::by_id(connection, target.credential)?;
        let is_same = current.as_ref().is_some_and(|now| now.revision == target.revision && now.deleted_at.is_none());
        if is_same && versions::one(connection, target.credential, version)?.is_some_and(|it| it.state == from) {
            return Ok(());
        }
        Err(Error::Stale { current: current.map(Box::new) })
    }

    /// Forgets what a change is about to touch.
    pub fn forget(&mut self, change: &Change) {
        match change {
            Change::Record | Change::Admit { .. } | Change::KeepOrgKey(_) | Change::KeepRules { .. } => (),
            Change::Serve { .. } | Change::Test { .. } => (),
            // These leave the revision and what is served alone.
            Change::Postpone { .. } | Change::Tell { .. } => (),
            // Nor do these know of either.
            Change::Factor(_) | Change::Approval(_) => (),
            Change::Create { id, .. } => self.forget_credential(*id),
            Change::Settle { credential, .. } => self.forget_credential(*credential),
            Change::Rotate { target, .. }
            | Change::Activate { target, .. }
            | Change::Update { target, .. }
            | Change::Delete { target, .. }
            | Change::Undelete { target }
            | Change::Destroy { target } => self.forget_credential(target.credential),
            Change::IssueToken(token) | Change::FirstAdmin(token) => self.forget_token(token.id),
            Change::RevokeToken { id } => self.forget_token(*id),
        }
    }

    pub fn clear(&mut self) {
        self.served.clear();
        self.valid.clear();
    }

    pub fn confirm_token(&mut self, connection: &Connection, id: Uuid) -> Result<(), Error> {
        if self.valid.contains_key(&id) {
            return Ok(());
        }
        let sql = "SELECT 1 FROM tokens WHERE id = ?1 AND revoked_at IS NULL";
        if !connection.prepare_cached(sql)?.exists([id.as_bytes()])? {
            return Err(Error::Revoked);
        }
        make_room(&mut self.valid);
        self.valid.insert(id, ());
        Ok(())
    }

    fn learn(&mut self, connection: &Connection, id: Uuid) -> Result<Option<(u64, u32)>, Error> {
        let sql = "SELECT revision, active_version FROM credentials \
             WHERE id = ?1 AND deleted_at IS NULL AND disabled = 0 AND active_version IS NOT NULL";
        let mut statement = connection.prepare_cached(sql)?;
        let row: Option<(i64, u32)> =
            statement.query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((revision, version)) = row else { return Ok(None) };
        let served = (revision.unsigned_abs(), version);
        make_room(&mut self.served);
        self.served.insert(id, served);
        Ok(Some(served))
    }

    fn forget_credential(&mut self, id: Uuid) {
        self.served.remove(&id);
    }

    fn forget_token(&mut self, id: Uuid) {
        self.valid.remove(&id);
    }
}

fn make_room<T>(map: &mut HashMap<Uuid, T>) {
    if map.len() >= LIMIT {
        map.clear();
    }
}
