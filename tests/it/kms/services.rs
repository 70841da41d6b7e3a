//! The daemon on each service that it asks over its own way out, as who its environment says it is.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon::{Daemon, PORTS, decrypt, openai_key, program, runtime, setup};
use crate::fake::World;
use crate::fake::kms::aws::{self, Amazon};
use crate::fake::kms::azure::{self, Vault};
use crate::fake::kms::transit::{self, Bao};
use crate::fake::kms::{Service, Trouble};

struct Case<'a> {
    world: &'a World,
    hosts: &'a [&'a str],
    uri: String,
    variables: &'a [(&'a str, &'a str)],
    secret: &'a str,
}

impl Case<'_> {
    fn config(&self) -> String {
        let probes = "[probe]\nenabled = false\n";
        format!("[kms]\ndefault = {:?}\ndeadline = \"3s\"\n{}{probes}", self.uri, self.world.config(self.hosts))
    }

    fn start(&self, home: &Path) -> Daemon {
        let variables: Vec<String> = self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut wrapper = vec!["env"];
        wrapper.extend(variables.iter().map(String::as_str));
        Daemon::start_under(home, &self.config(), &wrapper)
    }

    /// The exit code, and what was said.
    fn check(&self, home: &Path) -> (i32, String) {
        std::fs::write(home.join("strongroom.toml"), format!("{PORTS}{}", self.config())).unwrap();
        let mut command = Command::new(program());
        command.args(["serve", "--check", "--config", "strongroom.toml"]).current_dir(home).stdin(Stdio::null());
        let output = command.envs(self.variables.iter().copied()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn all(&self, service: &impl Service, permission: &str) {
        let home = tempfile::tempdir().unwrap();
        let mut token = None;
        for name in ["before", "after"] {
            let daemon = self.start(home.path());
            let token = token.get_or_insert_with(|| daemon.token.clone());
            runtime().block_on(async {
                let mut client = daemon.credentials(token).await;
                client.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap();
                // The first one by another process than the one that wrapped it.
                let opened = client.decrypt_credential(decrypt("acme", "before")).await.unwrap().into_inner();
                assert_eq!(opened.secret.unwrap().expose(), openai_key("before").as_bytes());
            });
            assert!(daemon.stop().success());
            service.rotate();
        }
        assert_eq!(self.check(home.path()).0, 0);
        for (trouble, code, words) in [
            (Trouble::Forbidden, 65, permission),
            (Trouble::WrongPurpose, 65, "needed"),
            (Trouble::Broken, 9, "503"),
            (Trouble::Silent, 9, "no answer within 3s"),
        ] {
            service.trouble(trouble.clone());
            let (status, said) = self.check(home.path());
            assert!(status == code && said.contains(&self.uri) && said.contains(words), "{trouble:?}: {status} {said}");
            assert!(!said.contains(self.secret), "{said}");
        }
        let log = std::fs::read_to_string(home.path().join("log")).unwrap();
        assert!(!log.contains(self.secret), "{log}");
    }
}

#[test]
fn aws() {
    let amazon = Amazon::start();
    let case = Case {
        world: &amazon.world,
        hosts: &[aws::HOST],
        uri: format!("aws-kms://{}", aws::ARN),
        variables: &[("AWS_ACCESS_KEY_ID", aws::ID), ("AWS_SECRET_ACCESS_KEY", aws::SECRET)],
        secret: aws::SECRET,
    };
    case.all(&amazon, "allow kms:Encrypt and kms:Decrypt on");
}

#[test]
fn azure() {
    let vault = Vault::start();
    let case = Case {
        world: &vault.world,
        hosts: &[azure::HOST, "login.microsoftonline.com"],
        uri: format!("azure-kv://contoso/{}", azure::KEY),
        variables: &[
            ("AZURE_TENANT_ID", azure::TENANT),
            ("AZURE_CLIENT_ID", azure::CLIENT),
            ("AZURE_CLIENT_SECRET", azure::SECRET),
        ],
        secret: azure::SECRET,
    };
    case.all(&vault, "the role Key Vault Crypto Service Encryption User");
}

#[test]
fn openbao() {
    let bao = Bao::start();
    let case = Case {
        world: &bao.world,
        hosts: &["bao.example.com"],
        uri: format!("transit://{}/team/transit/{}", transit::SERVER, transit::KEY),
        variables: &[("BAO_ADDR", "https://bao.example.com:8200"), ("BAO_TOKEN", transit::TOKEN)],
        secret: transit::TOKEN,
    };
    case.all(&bao, "`update` on team/transit/encrypt/strongroom");
}
