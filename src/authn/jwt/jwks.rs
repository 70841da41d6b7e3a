//! An issuer's public keys (RFC 7517), read strictly: a set in which one key is wrong is not taken at all, as whoever
//! wrote it has made a mistake that nobody knows the size of. Keys for other uses than signatures, and of kinds that are
//! not known here, are left out.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::strict::{self, Object};

const MOST_KEYS: usize = 100;
const LONGEST_KID: usize = 256;
const WEAKEST_RSA: usize = 2048;
const STRONGEST_RSA: usize = 8192;

/// What a signature may be made with. Nothing symmetric is here: a key that verifies would also sign.
pub const ALGORITHMS: [(&str, Algorithm, Kind); 9] = [
    ("RS256", Algorithm::RS256, Kind::Rsa),
    ("RS384", Algorithm::RS384, Kind::Rsa),
    ("RS512", Algorithm::RS512, Kind::Rsa),
    ("PS256", Algorithm::PS256, Kind::Rsa),
    ("PS384", Algorithm::PS384, Kind::Rsa),
    ("PS512", Algorithm::PS512, Kind::Rsa),
    ("ES256", Algorithm::ES256, Kind::P256),
    ("ES384", Algorithm::ES384, Kind::P384),
    ("EdDSA", Algorithm::EdDSA, Kind::Ed25519),
];

/// To the letter.
pub fn algorithm(name: &str) -> Option<(Algorithm, Kind)> {
    ALGORITHMS.iter().find(|(known, ..)| *known == name).map(|(_, algorithm, kind)| (*algorithm, *kind))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Debug, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    kind: Kind,
    /// The only one that it is for, where it says so.
    algorithm: Option<Algorithm>,
    public: Vec<u8>,
    key: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let parts = |key: &Self| (key.kid.clone(), key.kind, key.algorithm);
        parts(self) == parts(other) && self.public == other.public
    }
}

impl Eq for Key {}

impl KeySet {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let set = strict::object(bytes)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("has no list `keys`")?;
        if keys.len() > MOST_KEYS {
            return Err(format!("has {} keys, and {MOST_KEYS} are the most that are looked through", keys.len()));
        }
        let mut taken: Vec<Key> = Vec::new();
        for (number, key) in keys.iter().enumerate() {
            let wrong = |why: String| format!("key {}: {why}", number + 1);
            let key = key.as_object().ok_or_else(|| wrong("is no object".into()))?;
            let Some(key) = Key::parse(key).map_err(wrong)? else { continue };
            if taken.iter().any(|other| other.kid == key.kid) {
                return Err(wrong("has the `kid` of another key, or neither has one".into()));
            }
            taken.push(key);
        }
        if taken.is_empty() {
            return Err("has no key for signatures that is of a known kind".to_owned());
        }
        Ok(Self(taken))
    }

    /// The key of that name; without a name the only one that there is.
    pub fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }
}

impl Key {
    /// None: for something else than signatures, or of a kind that is not known here.
    fn parse(key: &Object) -> Result<Option<Self>, String> {
        let text = |name: &str| match key.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("`{name}` is no text")),
        };
        let kty = text("kty")?.ok_or("has no `kty`")?;
        if kty == "oct" {
            return Err("is symmetric: whoever knows it signs whatever they like, and it was just told to us".into());
        }
        if let Some(private) = PRIVATE.iter().find(|name| key.contains_key(**name)) {
            return Err(format!("has the private member `{private}`: its secret is out, the issuer must replace it"));
        }
        let is_for_signatures = text("use")?.is_none_or(|used| used == "sig") && verifies(key)?;
        let kind = match (kty, text("crv")?) {
            ("RSA", _) => Kind::Rsa,
            ("EC", Some("P-256")) => Kind::P256,
            ("EC", Some("P-384")) => Kind::P384,
            ("OKP", Some("Ed25519")) => Kind::Ed25519,
            _ => return Ok(None),
        };
        if !is_for_signatures {
            return Ok(None);
        }
        let kid = text("kid")?.map(str::to_owned);
        if kid.as_deref().is_some_and(|kid| !is_kid(kid)) {
            return Err("has a `kid` that no token may name".into());
        }
        let algorithm = match text("alg")?.map(|name| (name, algorithm(name))) {
            None => None,
            Some((_, Some((algorithm, fits)))) if fits == kind => Some(algorithm),
            Some((_, Some(_))) => return Err("has an `alg` that does not fit its `kty` or `crv`".into()),
            // Such as ES512 or an algorithm to encrypt with.
            Some((_, None)) => return Ok(None),
        };
        let bytes = |name: &str| {
            let written = text(name)?.ok_or_else(|| format!("has no `{name}`"))?;
            BASE64.decode(written).map_err(|_| format!("`{name}` is no base64url without padding"))
        };
        let (public, key) = match kind {
            Kind::Rsa => rsa(bytes("n")?, bytes("e")?)?,
            Kind::P256 | Kind::P384 => elliptic(kind, bytes("x")?, bytes("y")?)?,
            Kind::Ed25519 => edwards(bytes("x")?)?,
        };
        Ok(Some(Self { kid, kind, algorithm, public, key }))
    }

    /// Whether it may verify a signature of that algorithm.
    pub fn fits(&self, algorithm: Algorithm, kind: Kind) -> bool {
        self.kind == kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    pub const fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

/// Members of private keys (RFC 7518, 6.2.2 and 6.3.2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

fn verifies(key: &Object) -> Result<bool, String> {
    match key.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(all)) => Ok(all.iter().any(|one| one == "verify")),
        Some(_) => Err("`key_ops` is no list".into()),
    }
}

/// It is compared and nothing else, so this keeps what is odd out of comparisons.
pub fn is_kid(kid: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=+/:~@".contains(&byte);
    (1..=LONGEST_KID).contains(&kid.len()) && kid.bytes().all(fits)
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<(Vec<u8>, DecodingKey), String> {
    let bits = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        (bytes.len() - first) * 8 - bytes.get(first).map_or(0, |byte| byte.leading_zeros() as usize)
    };
    match bits(&n) {
        weak if weak < WEAKEST_RSA => return Err(format!("is an RSA key of {weak} bits, less than {WEAKEST_RSA}")),
        long if long > STRONGEST_RSA => return Err(format!("is an RSA key of {long} bits, more than {STRONGEST_RSA}")),
        _ => {}
    }
    let is_odd = e.last().is_some_and(|last| last % 2 == 1);
    if !is_odd || !(2..=33).contains(&bits(&e)) {
        return Err("is an RSA key whose exponent signs nothing".into());
    }
    let key = DecodingKey::from_rsa_raw_components(&n, &e);
    Ok(([n, e].concat(), key))
}

fn elliptic(kind: Kind, x: Vec<u8>, y: Vec<u8>) -> Result<(Vec<u8>, DecodingKey), String> {
    let (length, verifies) = match kind {
        Kind::P384 => (48, &ECDSA_P384_SHA384_FIXED),
        _ => (32, &ECDSA_P256_SHA256_FIXED),
    };
    if x.len() != length || y.len() != length {
        return Err(format!("is no point of its curve: `x` and `y` must have {length} bytes each"));
    }
    let point = [&[4][..], &x, &y].concat();
    if ParsedPublicKey::new(verifies, &point).is_err() {
        return Err("is no point of its curve".into());
    }
    let key = DecodingKey::from_ec_der(&point);
    Ok((point, key))
}

fn edwards(x: Vec<u8>) -> Result<(Vec<u8>, DecodingKey), String> {
    if x.len() != 32 {
        return Err("is no Ed25519 key: `x` must have 32 bytes".into());
    }
    let key = DecodingKey::from_ed_der(&x);
    Ok((x, key))
}

#[cfg(test)]
mod tests;
