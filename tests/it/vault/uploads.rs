//! Uploads that are work to read: they keep nobody else waiting.

use std::time::Instant;

use strongroom::vault::{Error, Validate};

use super::*;

/// A key that asks for 32,767 rounds instead of the 2,048 that it was locked with: work, and refused in the end.
fn costly() -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let text = include_str!("../cloud/keys/locked-aes256.pem");
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = STANDARD.decode(body).unwrap();
    let rounds = der.windows(4).position(|window| window == [2, 2, 8, 0]).unwrap();
    der[rounds + 2..rounds + 4].copy_from_slice(&[0x7f, 0xff]);
    format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{}\n-----END ENCRYPTED PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// On one thread: whatever takes it for itself is felt by all.
#[tokio::test]
async fn unlocking_a_key_takes_no_thread_that_serves() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(home.path(), &Keys::new(home.path()), nobody(), LIMITS);
    let field = |name: &str, value: &str| (name.to_owned(), Secret::from(value.to_owned()));
    let fields = BTreeMap::from([
        field("account", "myorg-account123"),
        field("user", "LOADER"),
        field("private_key", &costly()),
        field("pass_phrase", "open sesame"),
    ]);
    let path = Path { provider: "snowflake".into(), ..path("acme", "a") };
    let reading = tokio::spawn(async move {
        let request = Validate { path, upload: Some(Upload::Fields(fields)), metadata: None };
        let begun = Instant::now();
        (vault.validate(&admin(), request).await.map(drop), begun.elapsed())
    });
    let mut longest = Duration::ZERO;
    while !reading.is_finished() {
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        longest = longest.max(before.elapsed());
    }
    let (refused, taken) = reading.await.unwrap();
    assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "pass_phrase"), "{refused:?}");
    assert!(longest < taken / 2, "{longest:?} of {taken:?} nobody else had a turn");
}
