//! `age:age1…`: offline recipients. Every data key is also wrapped to each of them, as an age file whose payload is drawn in
//! `bound.rs`; the private halves are never on this machine, so the daemon opens none of these.

use super::{Cause, Context, Error, Wrapped, bound};
use crate::crypto::Dek;
use crate::crypto::age::{self, Identity, Recipient};

const SCHEME: &str = "age:";

/// What stands in a row in a key's place. Recipients have no versions.
pub fn uri(recipient: &Recipient) -> String {
    format!("{SCHEME}{}", recipient.as_str())
}

pub fn is_recovery(key: &str) -> bool {
    key.starts_with(SCHEME)
}

pub fn wrap(recipient: &Recipient, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
    let uri = uri(recipient);
    let file = age::encrypt(recipient, &*bound::seal(dek, context));
    let bytes = file.map_err(|why| Cause::Unavailable(why.to_string()).of(&uri))?;
    Ok(Wrapped { key: uri, key_version: String::new(), bytes })
}

/// Opens what is for this identity, by itself: nobody else is asked.
pub fn unwrap(identity: &Identity, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
    let refused = |why: age::Error| Cause::Refused(why.to_string()).of(&wrapped.key);
    let inside = age::decrypt(identity, &wrapped.bytes).map_err(refused)?;
    bound::open(&inside, context).ok_or_else(|| Cause::Mismatch.of(&wrapped.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_identity_and_context_only() {
        let identity = Identity::from_bytes([7; 32]);
        let (dek, acme) = (Dek::new([5; 32]), Context::for_org_key("acme"));
        let wrapped = wrap(&identity.recipient().unwrap(), &dek, &acme).unwrap();
        assert!(is_recovery(&wrapped.key) && wrapped.key.starts_with("age:age1") && wrapped.key_version.is_empty());
        assert_eq!(unwrap(&identity, &wrapped, &acme).unwrap().expose(), dek.expose());
        let other = unwrap(&identity, &wrapped, &Context::for_org_key("other"));
        assert!(matches!(other, Err(Error::Mismatch { .. })));
        let stranger = unwrap(&Identity::from_bytes([8; 32]), &wrapped, &acme);
        assert!(matches!(stranger, Err(Error::Refused { .. })));
    }
}
