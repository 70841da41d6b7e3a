//! Keys and verified tokens as they are held: replaced, kept for their time, forgotten.

use std::fs;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::authn::Unproven;
use crate::authn::jwt::claims as verified_claims;
use crate::authn::jwt::jwks::KeySet;
use crate::authn::jwt::signer::{Signer, jwks};
use crate::authn::jwt::tests::{Place, claims, now, prove, refused_for};
use crate::authn::jwt::token::Unverified;

#[tokio::test]
async fn rotated_keys_are_picked_up_and_revoked_ones_forgotten() {
    let place = Place::new();
    let (issuers, patient) = (place.issuers_with("refresh = \"1s\""), place.issuers());
    let old = place.good();
    let first = prove(&issuers, &old).await.unwrap();
    let again = prove(&issuers, &old).await.unwrap();
    assert_eq!(first.principal.known_as, again.principal.known_as, "it was remembered");
    prove(&patient, &old).await.unwrap();

    let new = Signer::rsa("r2");
    place.publish(&jwks(&[&new]));
    let token = new.token(&claims(&[]));
    refused_for(prove(&patient, &token).await, "its `kid` is none of the issuer's keys", "asked again at once");
    prove(&patient, &old).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let at_once = join_all((0..64).map(|_| prove(&issuers, &token))).await;
    assert!(at_once.iter().all(Result::is_ok));
    refused_for(prove(&issuers, &old).await, "its `kid` is none of the issuer's keys", "revoked, although remembered");
}

#[tokio::test]
async fn a_wrong_set_of_keys_leaves_the_last_one_until_its_time_is_over() {
    let place = Place::new();
    let issuers = place.issuers_with("refresh = \"1s\"\nkeep = \"8s\"");
    let token = place.good();
    let test = async {
        prove(&issuers, &token).await.unwrap();
        fs::write(place.file(), "{\"keys\": []}").unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        prove(&issuers, &token).await.expect("tried in vain by now, and kept");
        let error = loop {
            match issuers.prove(&token).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(Unproven::Failed(error)) => break error,
                Err(Unproven::Refused(why)) => panic!("{why}"),
            }
        };
        let Error::Unavailable { what: Dependency::Issuer, retry_after, cause } = error else { panic!("{error}") };
        assert!(retry_after <= Duration::from_secs(1) && cause.contains("robots"), "{retry_after:?} {cause}");
        place.publish(&jwks(&[&place.rsa]));
        while prove(&issuers, &token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = issuers.keep_fresh() => {}
        done = tokio::time::timeout(Duration::from_secs(60), test) => done.unwrap(),
    }
}

#[tokio::test]
async fn another_callers_file_forgets_whom_it_let_in_and_keeps_the_keys() {
    let place = Place::new();
    let issuers = place.issuers();
    let token = place.good();
    let before = prove(&issuers, &token).await.unwrap().principal;
    fs::remove_file(place.file()).unwrap();
    let same = issuers.replaced(place.callers(""));
    let after = prove(&same, &token).await.unwrap().principal;
    assert_ne!(before.known_as, after.known_as);
    let nobody = same.replaced(Arc::default());
    refused_for(prove(&nobody, &token).await, "its `iss` is no [[issuer]]'s", "an issuer that is gone");
    // Its keys went with it.
    let back = nobody.replaced(place.callers(""));
    assert!(prove(&back, &token).await.unwrap_err().contains("there are no keys of the issuer robots"));
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_jump_without_letting_anybody_in() {
    let place = Place::new();
    let (callers, keys) = (place.callers(""), KeySet::parse(&fs::read(place.file()).unwrap()).unwrap());
    let issuer = &callers.issuers()[0];
    let begin = now();
    let said = claims(&[("iat", json!(begin)), ("nbf", json!(begin)), ("exp", json!(begin + 300))]);
    let token = place.elliptic.token(&said);
    let verified = Unverified::read(&token).unwrap().verify(&keys, &issuer.algorithms).unwrap();
    let at = |seconds: i64| Timestamp::from_second(begin + seconds).unwrap();
    let span = verified_claims::check(&verified, issuer, at(0)).unwrap().span;
    // Thirty seconds by default; what is remembered holds no longer than what is new.
    for (seconds, holds) in
        [(-86_400, false), (-31, false), (-30, true), (0, true), (329, true), (330, false), (86_400, false)]
    {
        assert_eq!(verified_claims::check(&verified, issuer, at(seconds)).is_ok(), holds, "{seconds}");
        assert_eq!(span.holds(at(seconds)), holds, "{seconds}");
    }
}
