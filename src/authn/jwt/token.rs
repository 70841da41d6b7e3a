//! A token's text (RFC 7519, in the compact form of RFC 7515), read before anybody vouches for it.
//!
//! ```text
//!   base64url( header ) . base64url( claims ) . base64url( signature )
//! ```

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::jwks::{Key, KeySet, Kind, algorithm, is_kid};
use super::strict::{self, Object};

const LONGEST: usize = 16 * 1024;

/// Nothing of it is believed yet: it tells which issuer to ask, and waits to be verified.
pub struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    kind: Kind,
    kid: Option<String>,
    claims: Object,
}

/// Claims whose signature was verified, made by [`Unverified::verify`] alone.
#[derive(Debug)]
pub struct Verified(Object);

/// Why there is no [`Verified`].
#[derive(Debug)]
pub enum Unsigned {
    /// The keys may be too old.
    UnknownKey,
    Refused(&'static str),
}

/// Members of a header that would have us take the key, the rules or the meaning from whoever sent it. The right keys
/// are known, and the rest is not spoken here.
const REFUSED: [(&str, &str); 8] = [
    ("crit", "has `crit`, which asks for what is not known here"),
    ("jku", "has `jku`, and keys come from the issuer alone"),
    ("jwk", "has `jwk`, and keys come from the issuer alone"),
    ("x5u", "has `x5u`, and keys come from the issuer alone"),
    ("x5c", "has `x5c`, and keys come from the issuer alone"),
    ("b64", "has `b64`, which is not spoken here"),
    ("zip", "has `zip`, which is not spoken here"),
    ("enc", "is encrypted, which is not spoken here"),
];

impl<'a> Unverified<'a> {
    /// What is wrong is told without a part of the token.
    pub fn read(text: &'a str) -> Result<Self, String> {
        check_length(text)?;
        let (signed, signature) = text.rsplit_once('.').ok_or("it has not three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("it has not three parts")?;
        if claims.contains('.') {
            return Err("it has not three parts".to_owned());
        }
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err("one of its three parts is empty".to_owned());
        }
        let part = |name: &str, part: &str| {
            BASE64.decode(part).map_err(|_| format!("its {name} is no base64url without padding"))
        };
        part("signature", signature)?;
        let header = strict::object(&part("header", header)?).map_err(|why| format!("its header {why}"))?;
        let claims = strict::object(&part("claims", claims)?).map_err(|why| format!("its set of claims {why}"))?;
        let (algorithm, kind, kid) = read_header(&header).map_err(|why| format!("its header {why}"))?;
        Ok(Self { signed, signature, algorithm, kind, kid, claims })
    }

    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// For choosing an issuer, which then decides about it.
    pub fn issuer(&self) -> Result<&str, &'static str> {
        self.claims.get("iss").and_then(Value::as_str).ok_or("it has no `iss`, or one that is no text")
    }

    /// For the same.
    pub fn is_for(&self, audience: &[String]) -> Result<bool, &'static str> {
        const WRONG: &str = "its `aud` is neither a text nor a list of texts";
        let of_ours = |one: &str| audience.iter().any(|own| own == one);
        match self.claims.get("aud").ok_or("it has no `aud`")? {
            Value::String(one) => Ok(of_ours(one)),
            Value::Array(all) => {
                let all = all.iter().map(|one| one.as_str().ok_or(WRONG)).collect::<Result<Vec<_>, _>>()?;
                Ok(all.into_iter().any(of_ours))
            }
            _ => Err(WRONG),
        }
    }

    pub fn verify(&self, keys: &KeySet, algorithms: &[Algorithm]) -> Result<Verified, Unsigned> {
        if !algorithms.contains(&self.algorithm) {
            return Err(Unsigned::Refused("its `alg` is none that this issuer signs with"));
        }
        let key = match (&self.kid, keys.find(self.kid.as_deref())) {
            (_, Some(key)) => key,
            (Some(_), None) => return Err(Unsigned::UnknownKey),
            (None, None) => return Err(Unsigned::Refused("it has no `kid`, and its issuer has several keys")),
        };
        if !key.fits(self.algorithm, self.kind) {
            return Err(Unsigned::Refused("its `alg` is not for the key that it names"));
        }
        if !self.is_signed_by(key) {
            return Err(Unsigned::Refused("its signature is wrong"));
        }
        Ok(Verified(self.claims.clone()))
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        let verified =
            jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key.decoding(), self.algorithm);
        verified.unwrap_or(false)
    }
}

impl Verified {
    pub const fn claims(&self) -> &Object {
        &self.0
    }
}

pub fn check_length(text: &str) -> Result<(), String> {
    if text.len() > LONGEST { Err(format!("it is longer than {LONGEST} bytes")) } else { Ok(()) }
}

fn read_header(header: &Object) -> Result<(Algorithm, Kind, Option<String>), &'static str> {
    if let Some((_, why)) = REFUSED.iter().find(|(member, _)| header.contains_key(*member)) {
        return Err(why);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)) => {}
        Some(_) => return Err("has a `typ` that is neither JWT nor at+jwt"),
    }
    let name = header.get("alg").and_then(Value::as_str).ok_or("has no `alg`")?;
    let (algorithm, kind) = algorithm(name).ok_or("has an `alg` that is never accepted")?;
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if is_kid(kid) => Some(kid.clone()),
        Some(_) => return Err("has a `kid` that names no key"),
    };
    Ok((algorithm, kind, kid))
}

const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
