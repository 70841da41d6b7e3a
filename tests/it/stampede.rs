//! Many who want the same at once: one of them asks the KMS, and each is on record.

use strongroom::pb::v1::{DecryptCredentialRequest, ListAuditRequest};
use tokio::task::JoinSet;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

/// As many as one connection carries at a time.
const CROWD: usize = 250;

#[test]
fn a_crowd_costs_one_call_of_the_kms() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let key = openai_key("wanted");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        client.setup_credential(setup("acme", "", &key)).await.unwrap();
        let before = unwraps(&daemon);

        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let mut client = client.clone();
            crowd.spawn(async move { client.decrypt_credential(decrypt("acme", "")).await });
        }
        for answer in crowd.join_all().await {
            assert_eq!(answer.unwrap().into_inner().secret.unwrap().expose(), key.as_bytes());
        }
        assert_eq!(unwraps(&daemon), before + 1);

        let fresh = DecryptCredentialRequest { fresh: true, ..decrypt("acme", "") };
        client.decrypt_credential(fresh).await.unwrap();
        assert_eq!(unwraps(&daemon), before + 2, "whoever asks for it past the cache pays for it");

        let decrypts = ListAuditRequest { action: "decrypt".into(), page_size: 1_000, ..Default::default() };
        let records = daemon.admin(&daemon.token).await.list_audit(decrypts).await.unwrap().into_inner().records;
        assert_eq!(records.len(), CROWD + 1);
    });
}

fn unwraps(daemon: &Daemon) -> u64 {
    let (_, page) = daemon.scrape("/metrics");
    let name = "strongroom_kms_calls_total{key=\"local://default\",op=\"unwrap\",outcome=\"ok\"} ";
    page.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
}
