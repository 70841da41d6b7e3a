//! The hot path: may this version still be answered? What the rows say is kept in memory, which is safe because this
//! writer alone changes them: it forgets what a change touches, and everything when a commit failed.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::super::{Change, Error, Target, VersionState};
use crate::store::sql::confirm::{self, Valid};
use crate::store::sql::grants;
use crate::store::sql::uses::{COARSE, Uses};

/// At most about 8 MB. Beyond that, everything is forgotten and learnt again.
const LIMIT: usize = 65_536;

#[derive(Default)]
pub struct Memo {
    /// The revision of each live, enabled credential, and the version that it serves.
    served: HashMap<Uuid, (u64, u32)>,
    /// Tokens that exist and are not revoked.
    valid: HashMap<Uuid, Valid>,
    pub uses: Uses,
}

impl Memo {
    /// Confirms what a plaintext is answered on. Writes nothing but, when all else is well, the use of a grant.
    pub fn confirm(
        &mut self,
        connection: &Connection,
        (target, version): (Target, u32),
        token: Option<Uuid>,
        grant: Option<Uuid>,
        at: Timestamp,
    ) -> Result<(), Error> {
        if let Some(token) = token {
            self.confirm_token(connection, token, at)?;
        }
        let now = match self.served.get(&target.credential) {
            Some(known) => Some(*known),
            None => self.learn(connection, target.credential)?,
        };
        if now == Some((target.revision, version)) {
            return grant.map_or(Ok(()), |grant| grants::spend(connection, grant, at));
        }
        Err(confirm::stale(connection, target.credential)?)
    }

    /// Confirms what a plaintext is tested on. Writes nothing, and remembers nothing: tests are rare.
    pub fn confirm_test(
        &mut self,
        connection: &Connection,
        target: Target,
        version: u32,
        from: VersionState,
        token: Option<Uuid>,
        at: Timestamp,
    ) -> Result<(), Error> {
        if let Some(token) = token {
            self.confirm_token(connection, token, at)?;
        }
        confirm::test(connection, target, version, from)
    }

    /// Forgets what a change is about to touch.
    pub fn forget(&mut self, change: &Change) {
        match change {
            Change::Record | Change::KeepOrgKey(_) | Change::KeepRules { .. } => (),
            Change::MintGrant { .. } | Change::RevokeGrant { .. } => (),
            Change::Serve { .. } | Change::Test { .. } => (),
            // These leave the revision and what is served alone.
            Change::Postpone { .. } | Change::Tell { .. } | Change::PutOffDestruction { .. } => (),
            // Nor do these know of either.
            Change::Factor(_) | Change::Approval(_) => (),
            Change::KeepAuditKey(_) | Change::PruneAudit { .. } => (),
            Change::AddWraps(_) | Change::DropWraps(_) | Change::ProveRecovery | Change::Scrub => (),
            Change::AddResealed(_) | Change::SettleResealed(_) | Change::DropResealed => (),
            Change::Create { id, .. } => self.forget_credential(*id),
            Change::Settle { credential, .. } => self.forget_credential(*credential),
            Change::Rotate { target, .. }
            | Change::Activate { target, .. }
            | Change::Update { target, .. }
            | Change::Delete { target, .. }
            | Change::Undelete { target }
            | Change::Destroy { target } => self.forget_credential(target.credential),
            Change::By { change, .. } => self.forget(change),
            Change::IssueToken(token) | Change::FirstAdmin(token) => drop(self.valid.remove(&token.id)),
            // All of an org at once.
            Change::Org(_) => {
                self.served.clear();
                self.valid.clear();
            }
            // Whoever descends from it ends too, and is not known here.
            Change::RevokeToken { .. } | Change::RotateToken { .. } => self.valid.clear(),
        }
    }

    pub fn clear(&mut self) {
        self.served.clear();
        self.valid.clear();
        self.uses.clear();
    }

    /// A failure loses them: they are not worth another try.
    pub fn write_uses(&mut self, connection: &mut Connection) {
        if self.uses.is_empty() {
            return;
        }
        let written = connection.transaction().map_err(Error::from).and_then(|transaction| {
            self.uses.write(&*transaction, None)?;
            Ok(transaction.commit()?)
        });
        if written.is_err() {
            self.uses.clear();
        }
    }

    /// `at` is when the request came: who is let in in time is not put out for the store's slowness.
    pub fn confirm_token(&mut self, connection: &Connection, id: Uuid, at: Timestamp) -> Result<(), Error> {
        let at = at.as_microsecond();
        if !self.valid.contains_key(&id) {
            let token = confirm::token(connection, id)?;
            make_room(&mut self.valid);
            self.valid.insert(id, token);
        }
        let token = self.valid.get_mut(&id).filter(|token| at < token.ends_at).ok_or(Error::Revoked)?;
        if at.saturating_sub(token.used_at) >= COARSE {
            token.used_at = at;
            self.uses.note(id, at);
        }
        Ok(())
    }

    fn learn(&mut self, connection: &Connection, id: Uuid) -> Result<Option<(u64, u32)>, Error> {
        let Some(served) = confirm::served(connection, id)? else { return Ok(None) };
        make_room(&mut self.served);
        self.served.insert(id, served);
        Ok(Some(served))
    }

    fn forget_credential(&mut self, id: Uuid) {
        self.served.remove(&id);
    }
}

fn make_room<T>(map: &mut HashMap<Uuid, T>) {
    if map.len() >= LIMIT {
        map.clear();
    }
}
