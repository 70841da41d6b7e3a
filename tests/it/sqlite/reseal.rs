//! Where blobs that were sealed anew are in the file: what they took over from is nowhere.

use super::*;
use crate::store::reseal::{anew, read};

fn times(folder: &Folder, needle: &str) -> usize {
    let files = [folder.file(), folder.side("-wal")].map(|file| fs::read(file).unwrap_or_default());
    files.iter().map(|file| file.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count()).sum()
}

/// Short ones, and ones of several pages.
fn blob(tag: &str, number: u32) -> String {
    format!("{tag} of {number};").repeat(1 + (number as usize % 5) * 700)
}

#[tokio::test]
async fn what_was_taken_over_from_is_in_no_file() {
    let folder = Folder::new();
    let store = folder.open();
    let mut ids = Vec::new();
    for number in 0..60 {
        let id = Uuid::now_v7();
        let mut version = active(id, 1);
        version.sealed.blob = blob("first", number).into_bytes();
        done(&store, creation(id, path("acme", "p", "openai", &number.to_string()), version)).await;
        ids.push(id);
    }
    let rows =
        || -> i64 { folder.raw().query_row("SELECT count(*) FROM resealed_blobs", [], |row| row.get(0)).unwrap() };
    // From one seal to the other, back, and to the other again: rows are taken again.
    let mut before = "first";
    for (tag, seal, there) in [
        ("fernet", Seal::Fernet, 120),
        ("second", Seal::Aes256Gcm, 240),
        ("backto", Seal::Fernet, 240),
        ("fourth", Seal::Aes256Gcm, 240),
    ] {
        let all: Vec<_> = ids.iter().zip(0..).map(|(id, number)| anew(*id, 1, seal, &blob(tag, number))).collect();
        commit(&store, Change::AddResealed(all.iter().map(|one| anew(one.credential, 1, seal, "given up")).collect()))
            .await
            .unwrap();
        commit(&store, Change::DropResealed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(times(&folder, "given up"), 0);
        for page in all.chunks(7) {
            commit(&store, Change::AddResealed(page.to_vec())).await.unwrap();
            commit(&store, Change::SettleResealed(page.to_vec())).await.unwrap();
        }
        commit(&store, Change::DropResealed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(times(&folder, &format!("{before} of ")), 0, "what was read before {tag}");
        for (id, number) in ids.iter().zip(0..) {
            assert_eq!(read(&store, *id, 1).await.unwrap(), (seal, blob(tag, number)));
            assert!(times(&folder, &format!("{tag} of {number};")) > 0);
        }
        assert_eq!(rows(), there, "after {tag}");
        before = tag;
    }
    let raw = folder.raw();
    let integrity: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");

    for id in ids {
        let credential = store.credential_by_id(id).await.unwrap().unwrap();
        commit(&store, Change::Delete { target: at(&credential), destroy_at: None }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(times(&folder, "fourth of "), 0, "what was destroyed");
    let left = "SELECT count(*) FROM resealed_blobs WHERE sealed_blob <> zeroblob(length(sealed_blob))";
    assert_eq!(raw.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
