//! Blobs that are sealed anew: beside what is read, then in its place, and never in that of what was destroyed.

use strongroom::store::{Held, HeldFor, Holder, Resealed, SealedAs};

use super::*;

pub fn anew(credential: Uuid, number: u32, seal: Seal, blob: &str) -> Resealed {
    Resealed { credential, version: number, seal, blob: blob.as_bytes().to_vec() }
}

/// What is read of a version, however it is asked for.
pub async fn read(store: &impl Store, credential: Uuid, number: u32) -> Option<(Seal, String)> {
    let versions = store.versions(credential).await.unwrap();
    let listed = versions.into_iter().find(|version| version.version == number).unwrap();
    let all = store.sealed_as(None, 10_000).await.unwrap();
    let row = all.into_iter().find(|row| (row.credential, row.version) == (credential, number));
    let held = store.held(&Holder::Version { credential, version: number }).await.unwrap();
    let sealed = store.sealed(credential, number).await.unwrap();
    assert_eq!((row.is_some(), held.is_some()), (sealed.is_some(), sealed.is_some()));
    let (version, sealed) = sealed?;
    let (row, Held { what, wraps }) = (row?, held?);
    assert!(matches!(what, HeldFor::Version { blob, .. } if blob == sealed.blob), "another blob is held");
    assert_eq!((&wraps, &listed.keys), (&sealed.wraps, &version.keys));
    assert_eq!((row.seal, row.head.as_slice()), (version.seal, &sealed.blob[..2]));
    assert_eq!(listed.seal, version.seal);
    Some((version.seal, String::from_utf8(sealed.blob).unwrap()))
}

pub async fn a_blob_sealed_anew_takes_over(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let id = credential.id;
    let first = (Seal::Aes256Gcm, format!("sealed blob of {}-1", id.simple()));
    assert_eq!(read(&store, id, 1).await.unwrap(), first);
    let (second, third) = (anew(id, 1, Seal::Fernet, "another blob"), anew(id, 1, Seal::Aes256Gcm, "the third"));

    commit(&store, Change::AddResealed(vec![second.clone()])).await.unwrap();
    assert_eq!(read(&store, id, 1).await.unwrap(), first, "it was not proven yet");
    assert_eq!(store.next_blob(id, 1).await.unwrap().unwrap(), second.blob);
    // What is not as it was proven, or not there, does not take over.
    for other in [anew(id, 1, Seal::Fernet, "a strange one"), anew(id, 2, Seal::Fernet, "another blob")] {
        commit(&store, Change::SettleResealed(vec![other])).await.unwrap();
        assert_eq!(read(&store, id, 1).await.unwrap(), first);
    }
    for _ in 0..2 {
        commit(&store, Change::SettleResealed(vec![second.clone()])).await.unwrap();
        assert_eq!(read(&store, id, 1).await.unwrap(), (Seal::Fernet, "another blob".to_owned()));
        assert_eq!(store.next_blob(id, 1).await.unwrap(), None);
    }
    // Nothing else of it has changed.
    assert_eq!(store.credential_by_id(id).await.unwrap().unwrap(), credential);

    // Again, and what was given up leaves what is read alone.
    commit(&store, Change::AddResealed(vec![anew(id, 1, Seal::Aes256Gcm, "given up")])).await.unwrap();
    commit(&store, Change::DropResealed).await.unwrap();
    assert_eq!(store.next_blob(id, 1).await.unwrap(), None);
    commit(&store, Change::AddResealed(vec![anew(id, 1, Seal::Aes256Gcm, "given up")])).await.unwrap();
    commit(&store, Change::AddResealed(vec![third.clone()])).await.unwrap();
    assert_eq!(store.next_blob(id, 1).await.unwrap().unwrap(), third.blob);
    assert_eq!(read(&store, id, 1).await.unwrap().0, Seal::Fernet);
    commit(&store, Change::SettleResealed(vec![third.clone()])).await.unwrap();
    assert_eq!(read(&store, id, 1).await.unwrap(), (Seal::Aes256Gcm, "the third".to_owned()));
    drop(store);
    let store = place.open().await;
    assert_eq!(read(&store, id, 1).await.unwrap(), (Seal::Aes256Gcm, "the third".to_owned()));
    verified(&store).await;
}

pub async fn what_is_destroyed_is_not_sealed_anew(place: &impl Place) {
    let store = place.open().await;
    let (before, between, after) = (
        served(&store, path("acme", "p", "openai", "before")).await,
        served(&store, path("acme", "p", "openai", "between")).await,
        served(&store, path("acme", "p", "openai", "after")).await,
    );
    let all = [before.id, between.id, after.id].map(|id| anew(id, 1, Seal::Fernet, "another blob"));
    let destroy = |credential: &Credential| Change::Delete { target: at(credential), destroy_at: None };
    commit(&store, destroy(&before)).await.unwrap();
    commit(&store, Change::AddResealed(all.to_vec())).await.unwrap();
    commit(&store, destroy(&between)).await.unwrap();
    assert_eq!(store.next_blob(before.id, 1).await.unwrap(), None);
    assert_eq!(store.next_blob(between.id, 1).await.unwrap(), None);
    commit(&store, Change::SettleResealed(all.to_vec())).await.unwrap();
    assert_eq!(read(&store, after.id, 1).await.unwrap().0, Seal::Fernet);
    let ciphertexts = async || store.remains("acme", tick()).await.unwrap().ciphertexts;
    assert_eq!(ciphertexts().await, 1, "an org's end looks for it elsewhere");
    commit(&store, destroy(&after)).await.unwrap();
    assert_eq!(ciphertexts().await, 0);
    for change in [Change::AddResealed(all.to_vec()), Change::SettleResealed(all.to_vec()), Change::DropResealed] {
        commit(&store, change).await.unwrap();
        for gone in [&before, &between, &after] {
            assert_eq!(read(&store, gone.id, 1).await, None);
            assert_eq!(store.next_blob(gone.id, 1).await.unwrap(), None);
        }
    }
}

/// Every version that has its ciphertext, once, in an order that can be gone on with.
pub async fn versions_are_gone_through(place: &impl Place) {
    let store = place.open().await;
    let mut all = Vec::new();
    for number in 0..20 {
        let credential = served(&store, path("acme", "p", "openai", &number.to_string())).await;
        let rotated = done(&store, rotation(at(&credential), active(credential.id, 2))).await;
        let gone = number % 5 == 0;
        match number % 5 {
            0 => done(&store, Change::Delete { target: at(&rotated), destroy_at: None }).await,
            1 => done(&store, Change::Delete { target: at(&rotated), destroy_at: Some(later()) }).await,
            _ => rotated,
        };
        all.extend((1..=2).filter(|_| !gone).map(|version| (credential.id, version)));
    }
    let (mut found, mut after) = (Vec::<SealedAs>::new(), None);
    loop {
        let page = store.sealed_as(after, 7).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 7);
        after = Some((last.credential, last.version));
        found.extend(page);
    }
    all.sort();
    assert_eq!(found.iter().map(|row| (row.credential, row.version)).collect::<Vec<_>>(), all);
    assert!(found.iter().all(|row| (row.org.as_str(), row.provider.as_str()) == ("acme", "openai")));
}
