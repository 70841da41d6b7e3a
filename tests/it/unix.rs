//! Callers over the Unix socket: by the user and group that the kernel tells, without a token.

use std::process::{Command, Output};

use crate::daemon::{Daemon, program};

const CONFIG: &str = "unix = \"socket\"\n[authn]\ncallers = \"callers.toml\"\n";

struct World {
    daemon: Daemon,
    home: tempfile::TempDir,
}

impl World {
    /// With one caller who comes when all of this is so.
    fn new(when: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let caller = "[[caller]]\nname = \"sidecar\"\nfrom = \"unix\"\nrole = \"service\"\norg = \"acme\"\n";
        std::fs::write(home.path().join("callers.toml"), format!("{caller}when = {{ {when} }}\n")).unwrap();
        Self { daemon: Daemon::start_with(home.path(), CONFIG), home }
    }

    fn list(&self, org: &str, token: &str) -> Output {
        let address = format!("unix:{}", self.home.path().join("socket").display());
        let mut list = Command::new(program());
        list.args(["list", org, "--addr", &address, "--output", "json"]);
        list.env("STRONGROOM_TOKEN", token).output().unwrap()
    }

    fn is_refused(&self, why: &str) {
        let refused = self.list("acme", "");
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        self.daemon.logged(|line| line.contains("nobody was proven") && line.contains(why));
    }
}

fn ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

#[test]
fn who_the_kernel_vouches_for_needs_no_token() {
    let (uid, gid) = ids();
    let world = World::new(&format!("uid = \"{uid}\", gid = \"{gid}\""));
    let listed = world.list("acme", "");
    assert!(listed.status.success(), "{listed:?}");
    let other = world.list("globex", "");
    assert!(!other.status.success(), "another tenant's");

    let token = world.daemon.token.clone();
    assert!(world.list("globex", &token).status.success(), "a token decides");
    let bad = world.list("acme", "srt_AaH8AF2Ad4qok3IffrQaGla_CrjZLiTRmNNvoYSqypkXJgBWWvo4tcE0vBwY0sVpnWGCcA");
    assert!(!bad.status.success(), "a bad token is not made good by the socket");

    let audit = world.daemon.cli(&token, &["audit", "list", "--org", "acme", "--output", "json"], None);
    let audit = String::from_utf8(audit.stdout).unwrap();
    assert!(audit.contains(&format!("\"unix:{uid}\"")) && audit.contains("\"sidecar\""), "{audit}");

    // Over TCP the same process is nobody.
    assert_eq!(world.daemon.http("GET", "/integrations/acme", "", None).0, 401);
    assert!(world.daemon.stop().success());
}

#[test]
fn another_user_or_group_is_nobody() {
    let (uid, gid) = ids();
    for when in [format!("uid = \"{}\"", uid + 1), format!("uid = \"{uid}\", gid = \"{}\"", gid + 1)] {
        let world = World::new(&when);
        world.is_refused(&format!("no caller of callers.toml is unix:{uid} of group {gid}"));
        assert!(world.daemon.stop().success());
    }
}
