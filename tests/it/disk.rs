//! A disk that is full: answers stop, because their records cannot be written; they come back by themselves when there
//! is space again, and nothing that was acknowledged is lost.
//!
//! The limit on file sizes stands in for the disk: the kernel refuses to let the write-ahead log grow. A real file
//! system without space is tried in `tests/peers/`, which needs root.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use strongroom::pb::v1::VerifyAuditRequest;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

/// The signal that comes with the refusal would end the daemon; the write's error is what is to be tested.
const SURVIVES: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

fn limit(daemon: &Daemon, bytes: Option<u64>) {
    let pid = Pid::from_raw(daemon.pid() as i32).unwrap();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn without_space_nothing_is_answered_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_under(home.path(), "", &SURVIVES);
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "before", &openai_key("before"))).await.unwrap();
        admin.decrypt_credential(decrypt("acme", "before")).await.unwrap();

        limit(&daemon, Some(4096));
        let mut refused = 0;
        let mut acknowledged = Vec::new();
        for n in 0..20 {
            // The answer would come from the cache; without its record it does not leave.
            let status = admin.decrypt_credential(decrypt("acme", "before")).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert_eq!(status.get_error_details().error_info().unwrap().reason, "AUDIT_UNAVAILABLE");
            let name = format!("n{n}");
            match admin.setup_credential(setup("acme", &name, &openai_key(&name))).await {
                Ok(_) => acknowledged.push(name),
                Err(status) => {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                    refused += 1;
                }
            }
        }
        assert_eq!((refused, acknowledged.len()), (20, 0));
        assert_eq!(daemon.scrape("/healthz").0, 200, "alive, and it says so");

        limit(&daemon, None);
        let end = Instant::now() + Duration::from_secs(10);
        while let Err(status) = admin.decrypt_credential(decrypt("acme", "before")).await {
            assert!(Instant::now() < end, "it does not recover: {status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        admin.setup_credential(setup("acme", "after", &openai_key("after"))).await.unwrap();
        let verified =
            daemon.admin(&daemon.token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact, "{verified:?}");
    });
    let token = daemon.token.clone();
    daemon.kill();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        for name in ["before", "after"] {
            let reply = admin.decrypt_credential(decrypt("acme", name)).await.unwrap().into_inner();
            assert_eq!(reply.secret.unwrap().expose(), openai_key(name).as_bytes());
        }
        let verified = daemon.admin(&token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact, "{verified:?}");
    });
}
