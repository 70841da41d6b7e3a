//! Run-scoped grants through the real daemon.

use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{
    AuditRecord, BatchDecryptRequest, CredentialRef, Grant, IssueTokenRequest, ListAuditRequest,
    ListCredentialsRequest, ListGrantsRequest, MintGrantRequest, RevokeGrantRequest, RevokeTokenRequest,
    batch_decrypt_result,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use crate::daemon::{Bearer, Daemon, decrypt, openai_key, runtime, setup};

/// A daemon with two credentials of acme and one of globex, and a service that looks after acme's.
struct World {
    daemon: Daemon,
    service: String,
    /// Mints what the runs of acme get: an administrator of that.
    starter: String,
    _home: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(home.path());
        let mut admin = daemon.credentials(&daemon.token).await;
        for (org, name) in [("acme", "one"), ("acme", "two"), ("globex", "one")] {
            admin.setup_credential(setup(org, name, &openai_key(name))).await.unwrap();
        }
        let service = daemon.issue("service", "acme", &[]).await;
        let starter = daemon.issue("admin", "acme", &[]).await;
        Self { daemon, service, starter, _home: home }
    }

    async fn grants(
        &self,
        token: &str,
    ) -> GrantServiceClient<tonic::service::interceptor::InterceptedService<tonic::transport::Channel, Bearer>> {
        GrantServiceClient::with_interceptor(self.daemon.channel().await, Bearer::new(token))
    }

    async fn mint(&self, by: &str, request: MintGrantRequest) -> Result<(String, Grant), Status> {
        let reply = self.grants(by).await.mint_grant(request).await?.into_inner();
        Ok((reply.grant.unwrap().expose_text().unwrap().to_owned(), reply.info.unwrap()))
    }

    async fn minted(&self, request: MintGrantRequest) -> (String, Grant) {
        self.mint(&self.starter, request).await.unwrap()
    }

    /// How a decrypt ends, with a grant beside the token where one is given.
    async fn decrypt(&self, token: &str, grant: Option<&str>, org: &str, name: &str) -> Code {
        let mut request = Request::new(decrypt(org, name));
        if let Some(grant) = grant {
            request.metadata_mut().insert("strongroom-grant", grant.parse().unwrap());
        }
        match self.daemon.credentials(token).await.decrypt_credential(request).await {
            Ok(reply) => {
                assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key(name).as_bytes());
                Code::Ok
            }
            Err(status) => status.code(),
        }
    }

    async fn used(&self, id: &str) -> u32 {
        let list = self.grants(&self.daemon.token).await.list_grants(ListGrantsRequest::default()).await.unwrap();
        list.into_inner().grants.into_iter().find(|grant| grant.id == id).unwrap().used
    }

    async fn records(&self, action: &str) -> Vec<(AuditRecord, serde_json::Value)> {
        let request = ListAuditRequest { action: action.into(), page_size: 1_000, ..Default::default() };
        let records =
            self.daemon.admin(&self.daemon.token).await.list_audit(request).await.unwrap().into_inner().records;
        let read = |record: AuditRecord| {
            let json = serde_json::from_str(&record.canonical).unwrap();
            (record, json)
        };
        records.into_iter().map(read).collect()
    }

    async fn token(&self, request: IssueTokenRequest) -> (String, String) {
        let reply = self.daemon.admin(&self.daemon.token).await.issue_token(request).await.unwrap().into_inner();
        (reply.token.unwrap().expose_text().unwrap().to_owned(), reply.info.unwrap().id)
    }
}

fn named(name: &str) -> CredentialRef {
    CredentialRef { provider: "openai".into(), name: name.into(), ..CredentialRef::default() }
}

fn one() -> MintGrantRequest {
    MintGrantRequest {
        org: "acme".into(),
        run: "run-7".into(),
        credentials: vec![named("one")],
        ..MintGrantRequest::default()
    }
}

fn role(role: &str, org: &str, providers: &[&str]) -> IssueTokenRequest {
    let providers = providers.iter().map(ToString::to_string).collect();
    IssueTokenRequest { name: role.into(), role: role.into(), org: org.into(), providers, ..Default::default() }
}

#[test]
fn a_grant_alone_opens_what_it_lists_and_nothing_else() {
    runtime().block_on(async {
        let world = World::new().await;
        let (grant, info) = world.minted(MintGrantRequest { uses: 2, phase: "plan".into(), ..one() }).await;
        assert!(grant.starts_with("srg_"));
        assert_eq!((info.uses, info.used, info.phase.as_str()), (2, 0, "plan"));
        let lives = info.expires_at.unwrap().seconds - info.created_at.unwrap().seconds;
        assert_eq!(lives, 3600);

        // What is not listed looks as what is not there, and costs nothing.
        for (org, name) in [("acme", "two"), ("acme", "none"), ("globex", "one"), ("nobody", "one")] {
            assert_eq!(world.decrypt(&grant, None, org, name).await, Code::PermissionDenied, "{org}/{name}");
        }
        let list = ListCredentialsRequest { org: "acme".into(), ..Default::default() };
        let refused = world.daemon.credentials(&grant).await.list_credentials(list).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(world.mint(&grant, one()).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(world.used(&info.id).await, 0);

        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Ok);
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Ok);
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Unauthenticated);
        assert_eq!(world.used(&info.id).await, 2);

        // Its records join to the run.
        for action in ["mintGrant", "decrypt"] {
            let records = world.records(action).await;
            let joined = records.iter().filter(|(_, json)| json["grant"] == *info.id);
            for (record, json) in joined.clone() {
                assert_eq!((&json["run"], &json["phase"]), (&"run-7".into(), &"plan".into()));
                assert!(action == "mintGrant" || record.caller == format!("grant:{}", info.id), "{record:?}");
            }
            let done = joined.filter(|(record, _)| record.outcome == "ok").count();
            assert_eq!(done, if action == "decrypt" { 2 } else { 1 });
        }
    });
}

#[test]
fn a_one_time_grant_is_used_once() {
    runtime().block_on(async {
        let world = World::new().await;
        let (grant, info) = world.minted(one()).await;
        let client = world.daemon.credentials(&grant).await;
        let mut crowd = JoinSet::new();
        for _ in 0..64 {
            let mut client = client.clone();
            crowd.spawn(async move { client.decrypt_credential(decrypt("acme", "one")).await });
        }
        let answers = crowd.join_all().await;
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(refused.clone().all(|status| status.code() == Code::Unauthenticated));
        assert_eq!(refused.count(), 63);
        assert_eq!(world.used(&info.id).await, 1);
        let done = world.records("decrypt").await.into_iter().filter(|(record, _)| record.outcome == "ok");
        assert_eq!(done.count(), 1);

        // A batch counts each of its parts.
        let (grant, info) = world.minted(MintGrantRequest { uses: 3, ..one() }).await;
        let batch = BatchDecryptRequest { org: "acme".into(), credentials: vec![named("one"); 8] };
        let results = world.daemon.credentials(&grant).await.batch_decrypt(batch).await.unwrap().into_inner().results;
        let opened =
            results.iter().filter(|it| matches!(it.outcome, Some(batch_decrypt_result::Outcome::Decrypted(_)))).count();
        assert_eq!((opened, world.used(&info.id).await), (3, 3));
    });
}

#[test]
fn beside_a_token_a_grant_is_the_permit_that_it_lacks() {
    runtime().block_on(async {
        let world = World::new().await;
        let (operator, _) = world.token(role("operator", "acme", &[])).await;
        let (grant, info) = world.minted(MintGrantRequest { uses: 10, ..one() }).await;
        let with = Some(grant.as_str());
        assert_eq!(world.decrypt(&operator, None, "acme", "one").await, Code::PermissionDenied);
        assert_eq!(world.decrypt(&operator, with, "acme", "one").await, Code::Ok);
        assert_eq!(world.decrypt(&operator, with, "acme", "two").await, Code::PermissionDenied);
        let (record, json) = world.records("decrypt").await.into_iter().find(|(it, _)| it.outcome == "ok").unwrap();
        assert_eq!((record.caller_name.as_str(), &json["grant"]), ("operator", &info.id.as_str().into()));

        // What policies forbid stays forbidden, and so does what the token itself leaves out.
        let (elsewhere, _) = world.token(role("pipeline", "acme", &["github"])).await;
        assert_eq!(world.decrypt(&elsewhere, with, "acme", "one").await, Code::PermissionDenied);
        let narrow = IssueTokenRequest { actions: vec!["list".into()], ..role("operator", "acme", &[]) };
        let (narrow, _) = world.token(narrow).await;
        assert_eq!(world.decrypt(&narrow, with, "acme", "one").await, Code::PermissionDenied);
        // Another tenant's caller, two grants, and what is none.
        let (stranger, _) = world.token(role("admin", "globex", &[])).await;
        assert_eq!(world.decrypt(&stranger, with, "acme", "one").await, Code::Unauthenticated);
        assert_eq!(world.decrypt(&grant, with, "acme", "one").await, Code::Unauthenticated);
        for none in ["srg_", operator.as_str(), &grant.replace("srg_", "srt_"), &grant[..grant.len() - 1]] {
            assert_eq!(world.decrypt(&operator, Some(none), "acme", "one").await, Code::Unauthenticated, "{none}");
        }
        // Who may decrypt anyway is held to the grant that it presents.
        assert_eq!(world.decrypt(&world.daemon.token, with, "acme", "two").await, Code::PermissionDenied);
        assert_eq!(world.decrypt(&world.daemon.token, with, "acme", "one").await, Code::Ok);
        assert_eq!(world.used(&info.id).await, 2);
    });
}

#[test]
fn a_holders_grant_is_nobody_elses() {
    runtime().block_on(async {
        let world = World::new().await;
        let (holder, id) = world.token(role("operator", "acme", &[])).await;
        let (other, _) = world.token(role("operator", "acme", &[])).await;
        let (grant, _) = world.minted(MintGrantRequest { holder: id, uses: 5, ..one() }).await;
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Unauthenticated);
        assert_eq!(world.decrypt(&other, Some(&grant), "acme", "one").await, Code::Unauthenticated);
        assert_eq!(world.decrypt(&world.daemon.token, Some(&grant), "acme", "one").await, Code::Unauthenticated);
        assert_eq!(world.decrypt(&holder, Some(&grant), "acme", "one").await, Code::Ok);
    });
}

#[test]
fn a_grant_ends() {
    runtime().block_on(async {
        let world = World::new().await;
        let second = pbjson_types::Duration { seconds: 1, nanos: 0 };
        let (short, _) = world.minted(MintGrantRequest { ttl: Some(second), uses: 5, ..one() }).await;
        assert_eq!(world.decrypt(&short, None, "acme", "one").await, Code::Ok);
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(world.decrypt(&short, None, "acme", "one").await, Code::Unauthenticated);

        // Revoked, by whoever may on each credential.
        let (grant, info) = world.minted(MintGrantRequest { uses: 5, ..one() }).await;
        let id = RevokeGrantRequest { id: info.id.clone() };
        let (operator, _) = world.token(role("operator", "acme", &[])).await;
        let (limited, _) = world.token(role("service", "acme", &["github"])).await;
        let (stranger, _) = world.token(role("admin", "globex", &[])).await;
        let absent = RevokeGrantRequest { id: "01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d".into() };
        for nobody in [&operator, &limited, &stranger, &grant] {
            let mut client = world.grants(nobody).await;
            let refusals = [client.revoke_grant(id.clone()).await, client.revoke_grant(absent.clone()).await]
                .map(|it| it.unwrap_err());
            assert_eq!(refusals[0].code(), Code::PermissionDenied);
            assert_eq!(refusals[0].message(), refusals[1].message());
        }
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Ok);
        let revoked = world.grants(&world.service).await.revoke_grant(id).await.unwrap().into_inner().info.unwrap();
        assert!(revoked.revoked_at.is_some());
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::Unauthenticated);

        // With the token that minted it, or an ancestor of that.
        let (parent, token) = world.token(role("admin", "acme", &[])).await;
        let derive = strongroom::pb::v1::DeriveTokenRequest { name: "job".into(), ..Default::default() };
        let child = world.daemon.admin(&parent).await.derive_token(derive).await.unwrap().into_inner();
        let child = child.token.unwrap().expose_text().unwrap().to_owned();
        let (by_parent, _) = world.mint(&parent, MintGrantRequest { uses: 5, ..one() }).await.unwrap();
        let (by_child, info) = world.mint(&child, MintGrantRequest { uses: 5, ..one() }).await.unwrap();
        let lives = info.expires_at.unwrap().seconds - info.created_at.unwrap().seconds;
        assert!(lives <= 900, "no longer than the child");
        for grant in [&by_parent, &by_child] {
            assert_eq!(world.decrypt(grant, None, "acme", "one").await, Code::Ok);
        }
        let mut admin = world.daemon.admin(&world.daemon.token).await;
        admin.revoke_token(RevokeTokenRequest { id: token }).await.unwrap();
        for grant in [&by_parent, &by_child] {
            assert_eq!(world.decrypt(grant, None, "acme", "one").await, Code::Unauthenticated);
        }

        // Another credential under the old name is not meant.
        let (grant, _) = world.minted(MintGrantRequest { uses: 5, ..one() }).await;
        let mut admin = world.daemon.credentials(&world.daemon.token).await;
        let gone = strongroom::pb::v1::DeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "one".into(),
            ..Default::default()
        };
        admin.delete_credential(gone).await.unwrap();
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::PermissionDenied);
        admin.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        assert_eq!(world.decrypt(&grant, None, "acme", "one").await, Code::PermissionDenied);
    });
}

#[test]
fn only_who_may_on_each_credential_mints() {
    runtime().block_on(async {
        let world = World::new().await;
        let both = MintGrantRequest { credentials: vec![named("one"), named("two")], ..one() };
        let (_, info) = world.minted(both.clone()).await;
        // Each credential has a record of it.
        let records = world.records("mintGrant").await;
        let of: std::collections::BTreeSet<_> =
            records.iter().map(|(record, _)| record.credential_id.clone()).collect();
        assert_eq!(of, info.credential_ids.iter().cloned().collect());
        assert!(records.iter().all(|(_, json)| json["grant"] == *info.id && json["outcome"] == "ok"));

        for (who, org, providers) in [
            ("pipeline", "acme", &["openai"][..]),
            ("operator", "acme", &[]),
            // It has a grant before whoever it hands it to, and must not read anything back.
            ("service", "acme", &[]),
            ("admin", "acme", &["github"]),
            ("admin", "globex", &[]),
        ] {
            let (token, _) = world.token(role(who, org, providers)).await;
            let absent = MintGrantRequest { credentials: vec![named("one"), named("none")], ..one() };
            for request in [both.clone(), absent] {
                assert_eq!(world.mint(&token, request).await.unwrap_err().code(), Code::PermissionDenied, "{who}");
            }
        }
        let twice = MintGrantRequest { credentials: vec![named("one"), named("one")], ..one() };
        assert_eq!(world.mint(&world.starter, twice).await.unwrap_err().code(), Code::InvalidArgument);
        let list = ListGrantsRequest { org: "acme".into(), run: "run-7".into(), page_size: 1, ..Default::default() };
        let page = world.grants(&world.service).await.list_grants(list.clone()).await.unwrap().into_inner();
        assert_eq!((page.grants.len(), page.grants[0].id.as_str()), (1, info.id.as_str()));
        let rest = ListGrantsRequest { page_token: page.next_page_token, ..list.clone() };
        assert!(world.grants(&world.service).await.list_grants(rest).await.unwrap().into_inner().grants.is_empty());
        let other = ListGrantsRequest { org: "globex".into(), ..list };
        let refused = world.grants(&world.service).await.list_grants(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    });
}

#[test]
fn a_run_takes_its_grant_from_the_environment() {
    runtime().block_on(async {
        let world = World::new().await;
        let mint = ["grant", "mint", "acme", "--run", "run-7", "--credential", "default/openai/one", "--uses", "3"];
        let minted = world.daemon.cli(&world.starter, &mint, None);
        let line = String::from_utf8(minted.stdout).unwrap();
        let grant = line.trim().strip_prefix("export STRONGROOM_GRANT=").unwrap_or_else(|| panic!("{line}")).to_owned();
        let file = world.daemon.home.join("grant");
        std::fs::write(&file, format!("{grant}\n")).unwrap();
        let (operator, _) = world.token(role("operator", "acme", &[])).await;
        let run = |token: &str, variable: &str, value: &str| {
            std::process::Command::new(crate::daemon::program())
                .args(["decrypt", "acme", "openai", "--name", "one"])
                .env("STRONGROOM_ADDR", &world.daemon.addr)
                .env("STRONGROOM_TOKEN", token)
                .env(variable, value)
                .output()
                .unwrap()
        };
        for (token, variable, value) in [
            ("", "STRONGROOM_GRANT", grant.as_str()),
            (operator.as_str(), "STRONGROOM_GRANT", grant.as_str()),
            ("", "STRONGROOM_GRANT_FILE", file.to_str().unwrap()),
        ] {
            let output = run(token, variable, value);
            assert_eq!(output.stdout, openai_key("one").as_bytes(), "{output:?}");
        }
        let output = run("", "STRONGROOM_GRANT", &grant);
        assert!(!output.status.success() && output.stdout.is_empty());
        let list = world.daemon.cli(&world.service, &["grant", "list", "--org", "acme"], None);
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(list.contains("3 of 3") && list.contains("run-7"), "{list}");

        let body =
            serde_json::json!({"org": "acme", "run": "r", "credentials": [{"provider": "openai", "name": "one"}]});
        let (status, reply) = world.daemon.http("POST", "/admin/grants", &world.starter, Some(&body.to_string()));
        assert_eq!(status, 200, "{reply}");
        let grant = serde_json::from_str::<serde_json::Value>(&reply).unwrap()["grant"].as_str().unwrap().to_owned();
        let path = "/integrations/acme/openai/decrypt?name=one";
        assert_eq!(world.daemon.http("POST", path, &grant, None).0, 200);
        assert_eq!(world.daemon.http("POST", path, &grant, None).0, 401);
    });
}
