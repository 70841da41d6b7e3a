//! Callers over the Unix socket: the kernel says whose process it is.
//!
//! It tells the user and the group that the process had when it connected, as numbers; supplementary groups it does not
//! tell, so they cannot be asked for. Numbers are compared, never names: who is behind a name is for the machine's user
//! database to say, which may be anybody's.

use std::sync::Arc;

use super::callers::{Attributes, Callers};
use crate::vault::{Principal, Proof};

/// As callers.toml calls this proof.
pub const FROM: &str = "unix";
pub const ATTRIBUTES: &[&str] = &[UID, GID];
const UID: &str = "uid";
const GID: &str = "gid";

/// Who that is here; or why that is nobody.
pub fn find(callers: &Callers, uid: u32, gid: u32) -> Result<Arc<Principal>, String> {
    let id = format!("{FROM}:{uid}");
    let attributes = Attributes::from([(UID.to_owned(), uid.to_string()), (GID.to_owned(), gid.to_string())]);
    let caller = callers.find(FROM, &attributes).map_err(|unknown| unknown.of(&format!("{id} of group {gid}")))?;
    Ok(Arc::new(caller.principal(id, Proof::Unix, attributes)))
}

/// Whether an attribute can ever have this value.
pub fn check(_: &str, value: &str) -> Result<(), &'static str> {
    match value.parse::<u32>().is_ok_and(|number| number.to_string() == value) {
        true => Ok(()),
        false => Err("is no number as `id` prints it"),
    }
}
