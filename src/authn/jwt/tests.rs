//! Tokens that are wrong in one thing each, beside their twins that are right.

use std::fs;

use serde_json::{Value, json};

use super::signer::{Signer, encode, jwks};
use super::*;
use crate::http;

const ISSUER: &str = "https://issuer.example/realm";

pub struct Place {
    pub home: tempfile::TempDir,
    pub rsa: Signer,
    pub elliptic: Signer,
    pub edwards: Signer,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            home: tempfile::tempdir().unwrap(),
            rsa: Signer::rsa("r1"),
            elliptic: Signer::elliptic("e1"),
            edwards: Signer::edwards("d1"),
        };
        place.publish(&jwks(&[&place.rsa, &place.elliptic, &place.edwards]));
        place
    }

    pub fn publish(&self, keys: &Value) {
        fs::write(self.file(), keys.to_string()).unwrap();
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.home.path().join("keys.json")
    }

    pub fn issuers(&self) -> Issuers {
        self.issuers_with("")
    }

    pub fn callers(&self, more: &str) -> Arc<Callers> {
        let text = format!(
            r#"
            [[issuer]]
            name = "robots"
            issuer = "{ISSUER}"
            audience = ["strongroom", "second"]
            algorithms = ["RS256", "ES256", "EdDSA"]
            jwks = "file:{}"
            claims = {{ team = "team", run = "run_id", phase = "/deep.er/pha~1se" }}
            step_up = {{ amr = ["otp", "hwk"], acr = ["gold"] }}
            {more}

            [[caller]]
            name = "blue robots"
            from = "robots"
            when = {{ team = "blue" }}
            role = "operator"
            org = "acme"
            projects = ["one"]
            providers = ["openai"]
            actions = ["list"]
            "#,
            self.file().display()
        );
        Arc::new(Callers::parse("callers.toml", &text).unwrap())
    }

    pub fn issuers_with(&self, more: &str) -> Issuers {
        Issuers::new(client(), self.callers(more))
    }

    pub fn good(&self) -> String {
        self.rsa.token(&claims(&[]))
    }
}

fn client() -> Arc<Client> {
    Arc::new(Client::new(http::Settings::default()).unwrap())
}

pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Good ones, but for these; without those that are null.
pub fn claims(changes: &[(&str, Value)]) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "strongroom", "sub": "robot 7", "team": "blue",
        "iat": now() - 5, "nbf": now() - 5, "exp": now() + 300,
    });
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

pub async fn prove(issuers: &Issuers, token: &str) -> Result<Proven, String> {
    issuers.prove(token).await.map_err(|unproven| match unproven {
        Unproven::Refused(why) => why,
        Unproven::Failed(error) => format!("{error}; {}", error.cause().unwrap_or_default()),
    })
}

#[track_caller]
pub fn refused_for(proven: Result<Proven, String>, why: &str, what: &str) {
    let told = proven.expect_err(what);
    assert!(told.starts_with("a JWT is refused: ") && told.contains(why), "{what}: {told}");
}

#[tokio::test]
async fn who_it_is_stands_in_the_claims() {
    let place = Place::new();
    let issuers = place.issuers();
    let said = claims(&[("run_id", json!(4711)), ("deep.er", json!({"pha/se": "plan"})), ("more", json!("x"))]);
    for signer in [&place.rsa, &place.elliptic, &place.edwards] {
        let Proven { principal, step_up, .. } = prove(&issuers, &signer.token(&said)).await.unwrap();
        assert_eq!((principal.id.as_str(), principal.name.as_str()), ("robots:robot 7", "blue robots"));
        assert_eq!((principal.role.as_str(), principal.org.as_str()), ("operator", "acme"));
        assert_eq!((&principal.projects, &principal.providers), (&vec!["one".into()], &vec!["openai".into()]));
        assert_eq!((&principal.actions, principal.token), (&vec!["list".to_owned()], None));
        assert_eq!((principal.run.as_str(), principal.phase.as_str()), ("4711", "plan"));
        let names = |claims: &std::collections::BTreeMap<String, String>| {
            claims.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&principal.claims), "phase=plan run=4711 sub=robot 7 team=blue");
        assert_eq!((principal.proof, step_up), (Proof::Jwt, None));
        assert!(principal.known_as.is_some());
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused() {
    let place = Place::new();
    let issuers = place.issuers();
    let at = |seconds: i64| json!(now() + seconds);
    let list = |all: &[&str]| json!(all);
    // What is changed, to what is good, to what is bad, and why.
    let cases: Vec<(&str, Value, Value, &str)> = vec![
        ("exp", at(300), Value::Null, "it has no `exp`"),
        ("exp", at(300), json!((now() + 300).to_string()), "its `exp` is no date"),
        ("exp", at(300), json!(-1), "its `exp` is no date"),
        ("exp", at(300), json!([now() + 300]), "its `exp` is no date"),
        ("exp", json!(now() as f64 + 300.5), json!(1e300), "`max_age`"),
        ("exp", at(-20), at(-40), "it has expired"),
        ("exp", at(1), json!(0), "it has expired"),
        ("exp", at(3_590), at(3_700), "`max_age`"),
        ("exp", at(300), json!(u64::MAX), "`max_age`"),
        ("nbf", Value::Null, json!("now"), "its `nbf` is no date"),
        ("nbf", at(20), at(90), "its `nbf` lies in the future"),
        ("nbf", at(0), json!(u64::MAX), "its `nbf` lies in the future"),
        ("nbf", at(0), at(10 * 365 * 86_400), "its `nbf` lies in the future"),
        ("iat", at(20), at(90), "its `iat` lies in the future"),
        ("iat", Value::Null, json!(true), "its `iat` is no date"),
        ("iat", at(-3_290), at(-3_400), "`max_age`"),
        ("aud", json!("strongroom"), Value::Null, "it has no `aud`"),
        ("aud", json!("second"), json!("strongroom2"), "is not this issuer's `audience`"),
        ("aud", json!("strongroom"), json!("Strongroom"), "is not this issuer's `audience`"),
        ("aud", json!("strongroom"), json!("strongroom "), "is not this issuer's `audience`"),
        ("aud", json!("strongroom"), json!(""), "is not this issuer's `audience`"),
        ("aud", list(&["other", "strongroom"]), list(&["other", "another"]), "is not this issuer's `audience`"),
        ("aud", list(&["second", "strongroom"]), list(&[]), "is not this issuer's `audience`"),
        ("aud", list(&["strongroom"]), json!([["strongroom"]]), "neither a text nor a list of texts"),
        ("aud", list(&["strongroom"]), json!(["strongroom", 7]), "neither a text nor a list of texts"),
        ("aud", list(&["strongroom"]), json!({"strongroom": true}), "neither a text nor a list of texts"),
        ("aud", json!("strongroom"), json!(7), "neither a text nor a list of texts"),
        ("iss", json!(ISSUER), Value::Null, "it has no `iss`"),
        ("iss", json!(ISSUER), json!([ISSUER]), "it has no `iss`, or one that is no text"),
        ("iss", json!(ISSUER), json!(format!("{ISSUER}/")), "its `iss` is no [[issuer]]'s"),
        ("iss", json!(ISSUER), json!("https://issuer.example"), "its `iss` is no [[issuer]]'s"),
        ("iss", json!(ISSUER), json!("HTTPS://issuer.example/realm"), "its `iss` is no [[issuer]]'s"),
        ("iss", json!(ISSUER), json!(format!("{ISSUER}\0")), "its `iss` is no [[issuer]]'s"),
        ("sub", json!("a"), Value::Null, "it has no `sub`"),
        ("sub", json!("a"), json!(""), "printable"),
        ("sub", json!("a".repeat(255)), json!("a".repeat(256)), "printable"),
        ("sub", json!("a"), json!("a\n"), "printable"),
        ("sub", json!("a"), json!("\u{202e}a"), "printable"),
        ("sub", json!("a"), json!(7), "its `sub` is no text"),
        ("team", json!("blue"), Value::Null, "it fits no [[caller]]: blue robots by team"),
        ("team", json!("blue"), json!("Blue"), "it fits no [[caller]]: blue robots by team"),
        ("team", json!("blue"), json!(["blue"]), "it fits no [[caller]]: blue robots by team"),
        ("team", json!("blue"), json!({"blue": true}), "it fits no [[caller]]: blue robots by team"),
    ];
    for (name, good, bad, why) in cases {
        let what = format!("{name}: {bad}");
        let good = place.elliptic.token(&claims(&[(name, good)]));
        prove(&issuers, &good).await.unwrap_or_else(|told| panic!("the twin of {what}: {told}"));
        refused_for(prove(&issuers, &place.elliptic.token(&claims(&[(name, bad)]))).await, why, &what);
    }
}

#[tokio::test]
async fn texts_that_are_no_token_are_refused() {
    let place = Place::new();
    let issuers = place.issuers();
    let good = place.good();
    prove(&issuers, &good).await.unwrap();
    let [header, said, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let long = place.rsa.token(&claims(&[("more", json!("x".repeat(16 * 1024)))]));
    let fits = place.rsa.token(&claims(&[("more", json!("x".repeat(11 * 1024)))]));
    prove(&issuers, &fits).await.unwrap();
    // The last character of this signature carries bits that nobody reads: each of its spellings would be a new text.
    let last = signature.chars().last().unwrap();
    let spelled = char::from(last as u8 + 1);
    let cases = [
        (".".to_owned(), "not three parts"),
        ("..".to_owned(), "one of its three parts is empty"),
        (format!("{header}.{said}"), "not three parts"),
        (format!("{header}.{said}."), "one of its three parts is empty"),
        (format!(".{said}.{signature}"), "one of its three parts is empty"),
        (format!("{header}..{signature}"), "one of its three parts is empty"),
        (format!("{good}."), "not three parts"),
        (format!("{good}.{signature}"), "not three parts"),
        (format!("{good}.."), "not three parts"),
        (format!("{good}="), "its signature is no base64url"),
        (format!("{good}=="), "its signature is no base64url"),
        (format!("{header}=.{said}.{signature}"), "its header is no base64url"),
        (format!("{header}.{said}=.{signature}"), "its claims is no base64url"),
        (format!(" {good}"), "its header is no base64url"),
        (format!("{good} "), "its signature is no base64url"),
        (format!("{good}\n"), "its signature is no base64url"),
        (format!("{}.{said}.{signature}", header.replacen('e', "+", 1)), "its header is no base64url"),
        (format!("{header}.{said}.{}é", &signature[1..]), "its signature is no base64url"),
        (format!("{}{spelled}", &good[..good.len() - 1]), "its signature is no base64url"),
        (good[..good.len() - 1].to_owned(), "its signature is no base64url"),
        (good[..good.len() - 6].to_owned(), "its signature is wrong"),
        (
            format!("{header}.{}.{signature}", encode(claims(&[("sub", json!("admin"))]).to_string())),
            "its signature is wrong",
        ),
        (format!("{}.{said}.{signature}", encode(r#"{"alg":"RS256","kid":"r1"}"#)), "its signature is wrong"),
        (long, "it is longer than 16384 bytes"),
    ];
    for (text, why) in cases {
        refused_for(prove(&issuers, &text).await, why, &text);
    }
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_not_read() {
    let place = Place::new();
    let issuers = place.issuers();
    let header = place.rsa.header().to_string();
    let said = claims(&[]).to_string();
    let with = |text: &str, more: &str| format!("{},{more}}}", text.strip_suffix('}').unwrap());
    let sign = |header: &str, said: &str| place.rsa.sign(header, said);
    prove(&issuers, &sign(&with(&header, r#""x":1"#), &with(&said, r#""x":{"y":1,"z":[{}]}"#))).await.unwrap();
    let cases = [
        (sign(&with(&header, r#""alg":"RS256""#), &said), "its header has a member twice"),
        (sign(&with(&header, r#""kid":"r1""#), &said), "its header has a member twice"),
        (sign(&with(&header, r#""\u006bid":"r1""#), &said), "its header has a member twice"),
        (sign(&header, &with(&said, r#""sub":"robot 7""#)), "its set of claims has a member twice"),
        (sign(&header, &with(&said, r#""s\u0075b":"admin""#)), "its set of claims has a member twice"),
        (sign(&header, &with(&said, r#""x":{"y":[{"z":1,"z":2}]}"#)), "its set of claims has a member twice"),
        (sign(&header, &format!("{said} {said}")), "its set of claims is no JSON ("),
        (sign(&header, "[]"), "its set of claims is no JSON object"),
        (sign(&header, "null"), "its set of claims is no JSON object"),
        (sign("\"alg\"", &said), "its header is no JSON object"),
        (sign(&header, "{"), "its set of claims is no JSON ("),
        (place.rsa.sign(header.as_bytes(), b"{\"sub\":\"\xff\"}"), "its set of claims is no JSON ("),
        (place.rsa.sign(b"\xff\xfe", said.as_bytes()), "its header is no JSON ("),
        (
            place.rsa.sign(header.as_bytes(), [b"\xef\xbb\xbf", said.as_bytes()].concat()),
            "its set of claims is no JSON (",
        ),
    ];
    for (token, why) in cases {
        refused_for(prove(&issuers, &token).await, why, &token);
    }
}

#[tokio::test]
async fn a_header_decides_nothing() {
    let place = Place::new();
    let issuers = place.issuers();
    let said = claims(&[]).to_string();
    let header = |changes: &[(&str, Value)]| {
        let mut header = place.rsa.header();
        for (name, value) in changes {
            header[*name] = value.clone();
        }
        header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        header.to_string()
    };
    let good: [&[(&str, Value)]; 5] = [
        &[],
        &[("typ", Value::Null)],
        &[("typ", json!("jwt"))],
        &[("typ", json!("at+JWT"))],
        &[("x5t", json!("abc")), ("nonce", json!("abc"))],
    ];
    for changes in good {
        let token = place.rsa.sign(header(changes), &said);
        prove(&issuers, &token).await.unwrap_or_else(|told| panic!("{changes:?}: {told}"));
    }
    let own = Signer::rsa("own");
    let bad: Vec<(&str, Value, &str)> = vec![
        ("alg", Value::Null, "has no `alg`"),
        ("alg", json!(["RS256"]), "has no `alg`"),
        ("alg", json!("none"), "has an `alg` that is never accepted"),
        ("alg", json!("None"), "has an `alg` that is never accepted"),
        ("alg", json!(""), "has an `alg` that is never accepted"),
        ("alg", json!("rs256"), "has an `alg` that is never accepted"),
        ("alg", json!("HS256"), "has an `alg` that is never accepted"),
        ("alg", json!("HS512"), "has an `alg` that is never accepted"),
        ("alg", json!("ES256K"), "has an `alg` that is never accepted"),
        ("alg", json!("RS512"), "its `alg` is none that this issuer signs with"),
        ("alg", json!("PS256"), "its `alg` is none that this issuer signs with"),
        ("alg", json!("ES256"), "its `alg` is not for the key that it names"),
        ("alg", json!("EdDSA"), "its `alg` is not for the key that it names"),
        ("kid", Value::Null, "it has no `kid`, and its issuer has several keys"),
        ("kid", json!(""), "has a `kid` that names no key"),
        ("kid", json!(7), "has a `kid` that names no key"),
        ("kid", json!(["r1"]), "has a `kid` that names no key"),
        ("kid", json!("r1\0"), "has a `kid` that names no key"),
        ("kid", json!("r1 "), "has a `kid` that names no key"),
        ("kid", json!("' or 1=1 --"), "has a `kid` that names no key"),
        ("kid", json!("a".repeat(257)), "has a `kid` that names no key"),
        ("kid", json!("e1"), "its `alg` is not for the key that it names"),
        ("kid", json!("R1"), "its `kid` is none of the issuer's keys"),
        ("kid", json!("../../../../dev/null"), "its `kid` is none of the issuer's keys"),
        ("kid", json!("/etc/hostname"), "its `kid` is none of the issuer's keys"),
        ("kid", json!("https://evil.example/keys"), "its `kid` is none of the issuer's keys"),
        ("kid", json!(place.file().to_str()), "its `kid` is none of the issuer's keys"),
        ("typ", json!("JWE"), "has a `typ`"),
        ("typ", json!("secevent+jwt"), "has a `typ`"),
        ("typ", json!(""), "has a `typ`"),
        ("crit", json!(["exp"]), "has `crit`"),
        ("crit", json!([]), "has `crit`"),
        ("jku", json!("https://evil.example/keys"), "has `jku`"),
        ("x5u", json!("https://evil.example/keys"), "has `x5u`"),
        ("x5c", json!([]), "has `x5c`"),
        ("jwk", own.jwk(), "has `jwk`"),
        ("b64", json!(false), "has `b64`"),
        ("zip", json!("DEF"), "has `zip`"),
        ("enc", json!("A256GCM"), "is encrypted"),
    ];
    for (name, value, why) in bad {
        let what = format!("{name}: {value}");
        refused_for(prove(&issuers, &place.rsa.sign(header(&[(name, value)]), &said)).await, why, &what);
    }
    let embedded = json!({"alg": "RS256", "kid": "own", "jwk": own.jwk()}).to_string();
    refused_for(prove(&issuers, &own.sign(embedded, &said)).await, "has `jwk`", "a key of their own");
}

#[tokio::test]
async fn a_signature_is_by_the_issuers_own_key() {
    let place = Place::new();
    let issuers = place.issuers();
    // Of the right name, kind and everything.
    let forged = Signer::rsa("r1").token(&claims(&[]));
    refused_for(prove(&issuers, &forged).await, "its signature is wrong", "another key");
    let forged = Signer::elliptic("e1").token(&claims(&[]));
    refused_for(prove(&issuers, &forged).await, "its signature is wrong", "another key");

    // The public key as a secret that everybody knows.
    let text = format!("{}.{}", encode(r#"{"alg":"HS256","kid":"r1"}"#), encode(claims(&[]).to_string()));
    let public = place.rsa.jwk()["n"].as_str().unwrap().to_owned();
    let secrets = [public.clone().into_bytes(), place.rsa.jwk().to_string().into_bytes()];
    for secret in secrets {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let token = format!("{text}.{}", encode(aws_lc_rs::hmac::sign(&key, text.as_bytes())));
        refused_for(prove(&issuers, &token).await, "has an `alg` that is never accepted", "HS256");
    }
    // Nothing signs nothing.
    let zeros = format!(
        "{}.{}.{}",
        encode(place.elliptic.header().to_string()),
        encode(claims(&[]).to_string()),
        encode([0; 64])
    );
    refused_for(prove(&issuers, &zeros).await, "its signature is wrong", "zeros");
}

#[tokio::test]
async fn issuers_do_not_vouch_for_each_other() {
    let place = Place::new();
    let other = Signer::rsa("r1");
    let file = place.home.path().join("other.json");
    fs::write(&file, jwks(&[&other]).to_string()).unwrap();
    let more = format!(
        "[[issuer]]\nname = \"others\"\nissuer = \"https://other.example\"\naudience = \"strongroom\"\njwks = \"file:{}\"\n\
         claims = {{ team = \"team\" }}\n\
         [[issuer]]\nname = \"third\"\nissuer = \"{ISSUER}\"\naudience = \"third\"\njwks = \"file:{}\"\n",
        file.display(),
        file.display()
    );
    let issuers = place.issuers_with(&more);
    prove(&issuers, &place.good()).await.unwrap();
    let theirs = claims(&[("iss", json!("https://other.example"))]);
    refused_for(prove(&issuers, &other.token(&claims(&[]))).await, "of robots: its signature is wrong", "their key");
    refused_for(prove(&issuers, &place.rsa.token(&theirs)).await, "of others: its signature is wrong", "our key");
    // Its own tokens are good, and still nobody's.
    refused_for(prove(&issuers, &other.token(&theirs)).await, "of others: no [[caller]] is from this issuer", "nobody");
    let both = claims(&[("aud", json!(["strongroom", "third"]))]);
    refused_for(prove(&issuers, &place.rsa.token(&both)).await, "more than one [[issuer]]'s audience", "both");
}

#[tokio::test]
async fn the_only_key_needs_no_name() {
    let place = Place::new();
    place.publish(&jwks(&[&place.elliptic]));
    let header = json!({"alg": "ES256"}).to_string();
    prove(&place.issuers(), &place.elliptic.sign(header, claims(&[]).to_string())).await.unwrap();
}

#[tokio::test]
async fn a_second_factor_is_one_that_the_issuer_is_believed_about() {
    let place = Place::new();
    let issuers = place.issuers();
    let at = now() - 60;
    let step_up = |changes: &[(&str, Value)]| {
        let token = place.elliptic.token(&claims(changes));
        let issuers = &issuers;
        async move { prove(issuers, &token).await.map(|proven| proven.step_up) }
    };
    let found = |method: &str| Ok(Some(StepUp { at: Timestamp::from_second(at).unwrap(), method: method.to_owned() }));
    assert_eq!(step_up(&[("amr", json!(["pwd", "otp"])), ("auth_time", json!(at))]).await, found("otp"));
    assert_eq!(step_up(&[("acr", json!("gold")), ("auth_time", json!(at))]).await, found("gold"));
    let none: [&[(&str, Value)]; 8] = [
        &[("auth_time", json!(at))],
        &[("amr", json!(["otp"]))],
        &[("amr", json!(["pwd"])), ("auth_time", json!(at))],
        &[("amr", json!(["OTP"])), ("auth_time", json!(at))],
        &[("amr", json!("otp")), ("auth_time", json!(at))],
        &[("amr", json!([["otp"]])), ("auth_time", json!(at))],
        &[("acr", json!("silver")), ("auth_time", json!(at))],
        &[("acr", json!(["gold"])), ("auth_time", json!(at))],
    ];
    for changes in none {
        assert_eq!(step_up(changes).await, Ok(None), "{changes:?}");
    }
    for (value, why) in
        [(json!(now() + 90), "in the future"), (json!("now"), "is no date"), (json!(1e18), "in the future")]
    {
        let told = step_up(&[("amr", json!(["otp"])), ("auth_time", value)]).await.unwrap_err();
        assert!(told.contains("its `auth_time`") && told.contains(why), "{told}");
    }
}
