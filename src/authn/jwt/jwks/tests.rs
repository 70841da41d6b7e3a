use serde_json::json;

use super::*;
use crate::authn::jwt::signer::{Signer, encode, jwks};

fn parse(set: &Value) -> Result<KeySet, String> {
    KeySet::parse(set.to_string().as_bytes())
}

/// One of the keys, with that changed; taken away where it is null.
fn with(signer: &Signer, changes: &[(&str, Value)]) -> Value {
    let mut key = signer.jwk();
    for (name, value) in changes {
        key[*name] = value.clone();
    }
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    json!({"keys": [key]})
}

#[test]
fn a_set_in_which_a_key_is_wrong_is_not_taken() {
    let (rsa, elliptic, edwards) = (Signer::rsa("r1"), Signer::elliptic("e1"), Signer::edwards("d1"));
    assert_eq!(parse(&jwks(&[&rsa, &elliptic, &edwards])).unwrap().len(), 3);
    let key = |signer: &Signer, name: &str, value: Value| with(signer, &[(name, value)]);
    let point = elliptic.jwk();
    let short_modulus = encode([0xff; 255]);
    let padded_modulus = encode([&[0; 8][..], &[0xff; 255]].concat());
    let long_modulus = encode([0xff; 1025]);
    let mut twins = jwks(&[&rsa, &Signer::elliptic("r1")]);
    let many = json!({"keys": vec![rsa.jwk(); 101]});
    let cases = [
        (json!({}), "has no list `keys`"),
        (json!({"keys": rsa.jwk()}), "has no list `keys`"),
        (json!({"keys": []}), "has no key for signatures"),
        (json!({"keys": ["r1"]}), "key 1: is no object"),
        (many, "has 101 keys, and 100 are the most"),
        (twins.clone(), "key 2: has the `kid` of another key"),
        (key(&rsa, "kty", Value::Null), "key 1: has no `kty`"),
        (key(&rsa, "kty", json!(1)), "key 1: `kty` is no text"),
        (json!({"keys": [rsa.jwk(), {"kty": "oct", "kid": "o1", "k": "c2VjcmV0"}]}), "key 2: is symmetric"),
        (key(&rsa, "d", json!("AQAB")), "key 1: has the private member `d`: its secret is out"),
        (key(&elliptic, "d", json!("AQAB")), "key 1: has the private member `d`"),
        (key(&rsa, "qi", json!("AQAB")), "key 1: has the private member `qi`"),
        (key(&rsa, "kid", json!("r 1")), "key 1: has a `kid` that no token may name"),
        (key(&rsa, "kid", json!("")), "key 1: has a `kid` that no token may name"),
        (key(&rsa, "kid", json!(7)), "key 1: `kid` is no text"),
        (key(&rsa, "alg", json!("ES256")), "key 1: has an `alg` that does not fit"),
        (key(&elliptic, "alg", json!("ES384")), "key 1: has an `alg` that does not fit"),
        (key(&edwards, "alg", json!("RS256")), "key 1: has an `alg` that does not fit"),
        (key(&rsa, "n", Value::Null), "key 1: has no `n`"),
        (key(&rsa, "n", json!("AQ==")), "key 1: `n` is no base64url"),
        (key(&rsa, "n", json!("")), "key 1: is an RSA key of 0 bits"),
        (key(&rsa, "n", json!(short_modulus)), "key 1: is an RSA key of 2040 bits, less than 2048"),
        (key(&rsa, "n", json!(padded_modulus)), "key 1: is an RSA key of 2040 bits, less than 2048"),
        (key(&rsa, "n", json!(long_modulus)), "key 1: is an RSA key of 8200 bits, more than 8192"),
        (key(&rsa, "e", json!("AQ")), "exponent signs nothing"),
        (key(&rsa, "e", json!("AA")), "exponent signs nothing"),
        (key(&rsa, "e", json!("BA")), "exponent signs nothing"),
        (key(&rsa, "e", json!(encode([0xff; 5]))), "exponent signs nothing"),
        (key(&elliptic, "x", point["y"].clone()), "key 1: is no point of its curve"),
        (key(&elliptic, "x", json!(encode([0; 32]))), "key 1: is no point of its curve"),
        (key(&elliptic, "x", json!("AQ")), "must have 32 bytes each"),
        (key(&elliptic, "crv", json!("P-384")), "must have 48 bytes each"),
        (key(&edwards, "x", json!("AQ")), "is no Ed25519 key"),
        (key(&rsa, "key_ops", json!("verify")), "key 1: `key_ops` is no list"),
    ];
    for (set, why) in cases {
        let told = parse(&set).expect_err(why);
        assert!(told.contains(why), "{why}: {told}");
    }
    let two = [with(&rsa, &[("kid", Value::Null)]), with(&elliptic, &[("kid", Value::Null)])];
    twins["keys"] = two.iter().map(|set| set["keys"][0].clone()).collect();
    assert!(parse(&twins).unwrap_err().contains("or neither has one"));
    let twice = jwks(&[&rsa]).to_string().replacen("\"kid\":", "\"kid\":\"r0\",\"kid\":", 1);
    assert_eq!(KeySet::parse(twice.as_bytes()).unwrap_err(), "has a member twice");
}

#[test]
fn keys_for_something_else_are_left_out() {
    let (rsa, elliptic) = (Signer::rsa("r1"), Signer::elliptic("e1"));
    let others = [
        json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "x", "n": "AQ", "e": "AQAB"}),
        json!({"kty": "RSA", "key_ops": ["encrypt"], "kid": "x", "n": "AQ", "e": "AQAB"}),
        json!({"kty": "RSA", "alg": "RSA-OAEP-256", "kid": "x", "n": "AQ", "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-521", "alg": "ES512", "kid": "x", "x": "AQ", "y": "AQ"}),
        json!({"kty": "EC", "crv": "secp256k1", "kid": "x", "x": "AQ", "y": "AQ"}),
        json!({"kty": "OKP", "crv": "Ed448", "kid": "x", "x": "AQ"}),
        json!({"kty": "AKP", "alg": "ML-DSA-65", "kid": "x", "pub": "AQ"}),
    ];
    for other in others {
        let set = parse(&json!({"keys": [other, rsa.jwk(), elliptic.jwk()]})).unwrap();
        assert_eq!(set.len(), 2);
        assert!(set.find(Some("x")).is_none());
        assert!(parse(&json!({"keys": [other]})).unwrap_err().contains("has no key for signatures"));
    }
}

#[test]
fn a_key_is_found_by_its_name_and_fits_its_own_algorithm() {
    let (rsa, elliptic) = (Signer::rsa("r1"), Signer::elliptic("e1"));
    let both = parse(&jwks(&[&rsa, &elliptic])).unwrap();
    let (found, other) = (both.find(Some("r1")).unwrap(), both.find(Some("e1")).unwrap());
    assert!(both.find(None).is_none() && both.find(Some("R1")).is_none() && both.find(Some("")).is_none());
    assert!(found.fits(Algorithm::RS256, Kind::Rsa) && other.fits(Algorithm::ES256, Kind::P256));
    assert!(!found.fits(Algorithm::PS256, Kind::Rsa), "its `alg` says RS256");
    assert!(!found.fits(Algorithm::ES256, Kind::P256) && !other.fits(Algorithm::ES384, Kind::P384));
    let one = parse(&with(&rsa, &[("alg", Value::Null), ("kid", Value::Null)])).unwrap();
    assert!(one.find(None).unwrap().fits(Algorithm::PS256, Kind::Rsa) && one.find(Some("r1")).is_none());
    // The same keys are the same set.
    assert_eq!(parse(&jwks(&[&rsa, &elliptic])).unwrap(), both);
    assert_ne!(parse(&jwks(&[&rsa])).unwrap(), both);
    assert_ne!(parse(&jwks(&[&Signer::rsa("r1"), &elliptic])).unwrap(), both);
}
