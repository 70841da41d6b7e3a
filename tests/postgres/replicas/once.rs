//! What there is one of, asked for on two replicas at the same time.

use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{CredentialRef, IssueTokenRequest, MintGrantRequest};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use super::World;
use crate::daemon::{Bearer, Daemon, decrypt, openai_key, runtime, setup};

#[test]
fn a_name_is_made_once() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        let mut tries = JoinSet::new();
        for count in 0..64 {
            let mut client = if count % 2 == 0 { &a } else { &b }.credentials(&token).await;
            tries.spawn(async move {
                client.setup_credential(setup("acme", "one", &openai_key(&format!("k{count}")))).await
            });
        }
        let mut versions = Vec::new();
        for reply in tries.join_all().await {
            let reply = match reply {
                Ok(reply) => reply.into_inner(),
                // Somebody else was faster, and is not undone.
                Err(status) if status.code() == Code::Aborted => continue,
                Err(status) => panic!("{status}"),
            };
            versions.push((reply.version.unwrap().version, reply.credential.unwrap().id));
        }
        versions.sort();
        let made = versions.len() as u32;
        assert_eq!(versions.iter().map(|(version, _)| *version).collect::<Vec<_>>(), (1..=made).collect::<Vec<_>>());
        assert!(versions.iter().all(|(_, id)| *id == versions[0].1), "one credential");
        assert_eq!(world.ask("SELECT count(*) FROM credentials WHERE name = 'one'"), "1");
        assert_eq!(world.ask("SELECT count(*) FROM org_integration_credentials"), made.to_string());
        let mut answers = Vec::new();
        for daemon in [&a, &b] {
            let reply = daemon.credentials(&token).await.decrypt_credential(decrypt("acme", "one")).await.unwrap();
            answers.push((reply.get_ref().version, reply.get_ref().fingerprint.clone()));
        }
        assert!(answers[0] == answers[1] && answers[0].0 == made, "{answers:?}");
    });
}

#[test]
fn a_grant_for_one_use_is_used_once() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        let starter = a.issue("admin", "acme", &[]).await;
        let mut minter = GrantServiceClient::with_interceptor(a.channel().await, Bearer::new(&starter));
        for round in 0..4 {
            let one = CredentialRef { provider: "openai".into(), name: "one".into(), ..Default::default() };
            let request = MintGrantRequest {
                org: "acme".into(),
                run: format!("run-{round}"),
                credentials: vec![one],
                ..Default::default()
            };
            let grant = minter.mint_grant(request).await.unwrap().into_inner().grant.unwrap();
            let grant = grant.expose_text().unwrap();
            let mut uses = JoinSet::new();
            for count in 0..64 {
                let mut client = if count % 2 == 0 { &a } else { &b }.credentials(grant).await;
                uses.spawn(async move { client.decrypt_credential(decrypt("acme", "one")).await.is_ok() });
            }
            assert_eq!(uses.join_all().await.into_iter().filter(|used| *used).count(), 1);
        }
        let told = "SELECT count(*) FROM audit_log WHERE run LIKE 'run-%' AND canonical LIKE '%\"outcome\":\"ok\"%' \
                    AND canonical LIKE '%\"decrypt\"%'";
        assert_eq!(world.ask(told), "4");
    });
}

#[test]
fn there_is_one_first_admin() {
    let world = World::new();
    let config = world.config(&world.url());
    let daemons = ["a", "b"].map(|name| Daemon::serve(&world.home(name), &config));
    let first = |name: &str| IssueTokenRequest {
        name: name.into(),
        role: "admin".into(),
        org: "*".into(),
        ..IssueTokenRequest::default()
    };
    runtime().block_on(async {
        assert!(daemons.iter().all(|daemon| !daemon.token.is_empty()), "each offers one");
        let mut tries = JoinSet::new();
        for count in 0..64 {
            let daemon = &daemons[count % 2];
            let mut admin = daemon.admin(&daemon.token).await;
            let request = first(&format!("admin-{count}"));
            tries.spawn(async move { admin.issue_token(request).await.map_err(|status| status.code()) });
        }
        let replies = tries.join_all().await;
        assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 1, "{replies:?}");
        assert!(replies.iter().flat_map(|reply| reply.as_ref().err()).all(|code| *code == Code::Unauthenticated));
        assert_eq!(world.ask("SELECT count(*) FROM tokens"), "1");
    });
}

#[test]
fn a_code_counts_once() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        let (status, said) = a.http("POST", "/admin/second-factors", &token, Some("{}"));
        assert_eq!(status, 200, "{said}");
        let secret = said.split("secret=").nth(1).unwrap().split(['&', '"']).next().unwrap().to_owned();
        let confirm = format!(r#"{{"code": "{}"}}"#, code(&secret, -1));
        let (status, said) = b.http("POST", "/admin/second-factors/confirm", &token, Some(&confirm));
        assert_eq!(status, 200, "{said}");
        let code = code(&secret, 0);
        let mut uses = JoinSet::new();
        for count in 0..16 {
            let mut client = if count % 2 == 0 { &a } else { &b }.credentials(&token).await;
            let mut request = Request::new(setup("acme", &format!("n{count}"), &openai_key("one")));
            request.metadata_mut().insert("strongroom-code", code.parse().unwrap());
            uses.spawn(async move { client.setup_credential(request).await.is_ok() });
        }
        assert_eq!(uses.join_all().await.into_iter().filter(|used| *used).count(), 1);
        assert_eq!(world.ask("SELECT count(*) FROM credentials"), "1");
    });
}

fn code(secret: &str, beside: i64) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let step = jiff::Timestamp::now().as_second() / 30 + beside;
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(&secret).unwrap();
    mac.update(&step.to_be_bytes());
    let mac = mac.finalize().into_bytes();
    let at = usize::from(mac[19] % 16);
    let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}
