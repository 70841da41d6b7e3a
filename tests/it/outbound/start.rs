//! What `[outbound]` says, and how the daemon takes it.

use std::process::Command;

use super::*;
use crate::daemon::{Daemon, program};

#[test]
fn what_is_wrong_in_outbound_is_told_before_anything_is_made() {
    let home = tempfile::tempdir().expect("a directory");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(home.path().join("empty.pem"), "nothing").expect("writes");
    std::fs::write(home.path().join("broken.pem"), broken).expect("writes");
    let cases = [
        ("authorities = \"gone.pem\"", "outbound.authorities: gone.pem: cannot be read: "),
        ("authorities = \"empty.pem\"", "outbound.authorities: empty.pem: holds no certificate in PEM"),
        (
            "authorities = \"broken.pem\"",
            "outbound.authorities: broken.pem: holds a certificate that is no authority's",
        ),
        ("proxy = \"https://proxy:3128\"", "outbound.proxy"),
        ("proxy = \"http://proxy\"", "outbound.proxy: must be http://HOST:PORT"),
        ("private_hosts = [\"a.example\", \"10.0.0.1\"]", "outbound.private_hosts: `10.0.0.1` must be"),
        (
            "private_hosts = [\"a.example=169.254.169.254:80\"]",
            "outbound.private_hosts: `a.example=169.254.169.254:80` leads",
        ),
    ];
    for (line, told) in cases {
        let text = format!("[outbound]\n{line}\n[kms.local]\ncreate = true\n");
        std::fs::write(home.path().join("strongroom.toml"), text).expect("writes");
        let check = Command::new(program())
            .args(["serve", "--check", "--config", "strongroom.toml"])
            .current_dir(home.path())
            .output()
            .expect("runs");
        let said = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(64), "{line}: {said}");
        assert!(said.contains(told), "{line}: {said}");
        assert!(!home.path().join("strongroom-data").exists(), "{line}");
    }
}

#[test]
fn private_hosts_are_named_loudly_at_the_start() {
    let world = World::start(|_| Answer::status(200));
    let home = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start_with(home.path(), &world.config(&[HOST]));
    let line = daemon.logged(|line| line.contains("outbound.private_hosts"));
    assert!(line.contains("WARN") && line.contains(HOST), "{line}");
    daemon.stop();

    let home = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(home.path());
    daemon.logged(|line| line.contains("serving"));
    assert!(!daemon.log().contains("private_hosts"), "nothing to be loud about");
}
