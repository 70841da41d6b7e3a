//! Who is it: what each kind of proof costs, the first time and when it is known.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::json;
use strongroom::authn::Callers;

use crate::Plan;
use crate::inside::{Inside, each};
use crate::server::{ORG, runtime};
use crate::signer::{Signer, jwks};
use crate::table::{Row, Target, median, section, time};

const ISSUER: &str = "https://issuer.example";

pub fn run(plan: Plan, home: &Path) {
    section("authentication of a caller", "here", "the signature alone");
    let runtime = runtime();
    let inside = {
        let _inside = runtime.enter();
        Inside::new(home)
    };
    let token = runtime.block_on(async {
        let admin = inside.admin().await;
        inside.pipeline(&admin, ORG).await
    });
    let signers = [Signer::rsa("rsa"), Signer::elliptic("ec")];
    std::fs::write(home.join("keys.json"), jwks(&[&signers[0], &signers[1]]).to_string()).unwrap();
    inside.authenticator.replace(Callers::parse("callers.toml", &callers(&home.join("keys.json"))).unwrap());

    let prove = |headers: &[String]| {
        runtime.block_on(async {
            let begin = Instant::now();
            for header in headers {
                black_box(inside.caller(header).await);
            }
            begin.elapsed() / headers.len() as u32
        })
    };
    let often = |header: &String| vec![header.clone(); plan.pick(20_000, 100_000)];
    let line = |what: &str, here: Vec<Duration>, alone: Option<Duration>| {
        let here = median(here);
        let row = Row::shown(what, time(here), alone.map_or_else(String::new, time));
        let ratio = |alone: Duration| here.as_secs_f64() / alone.as_secs_f64();
        match alone {
            Some(alone) => row.ratio(ratio(alone), Target::None).print(),
            None => row.print(),
        }
    };

    line("an API token, known", (0..plan.rounds()).map(|_| prove(&often(&token))).collect(), None);
    for (signer, name, algorithm) in
        [(&signers[0], "RS256", Algorithm::RS256), (&signers[1], "ES256", Algorithm::ES256)]
    {
        let (mut first, mut known, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..plan.rounds() {
            let headers: Vec<String> = (0..plan.pick(300, 1_000)).map(|at| header(signer, round, at)).collect();
            first.push(prove(&headers));
            known.push(prove(&often(&headers[0])));
            let text = headers[0].strip_prefix("Bearer ").unwrap();
            let (signed, signature) = text.rsplit_once('.').unwrap();
            let key = public(signer);
            alone.push(each(300, |_| {
                let is_good = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, algorithm);
                assert!(is_good.unwrap());
            }));
        }
        line(&format!("a JWT by {name}, first"), first, Some(median(alone)));
        line(&format!("a JWT by {name}, known"), known, None);
    }
}

/// Never two alike.
fn header(signer: &Signer, round: usize, at: usize) -> String {
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": ISSUER, "aud": "strongroom", "sub": "repo:acme/app:ref:refs/heads/main", "iat": now, "exp": now + 3_000,
        "jti": format!("{round}-{at}"), "repository_id": "4711", "ref": "refs/heads/main", "run_id": "17",
        "workflow_ref": "acme/app/.github/workflows/deploy.yml@refs/heads/main", "environment": "production",
    });
    format!("Bearer {}", signer.token(&claims))
}

fn public(signer: &Signer) -> DecodingKey {
    let jwk = serde_json::from_value(signer.jwk()).unwrap();
    DecodingKey::from_jwk(&jwk).unwrap()
}

fn callers(keys: &Path) -> String {
    format!(
        "[[issuer]]\nname = \"ci\"\npreset = \"github\"\nissuer = \"{ISSUER}\"\naudience = \"strongroom\"\n\
         jwks = \"file:{}\"\n\
         [[caller]]\nname = \"deploy\"\nfrom = \"ci\"\nwhen = {{ repository_id = \"4711\" }}\nrole = \"pipeline\"\n\
         org = \"{ORG}\"\nproviders = [\"*\"]\n",
        keys.display()
    )
}
