//! Tokens that do less, that end with others, and that take over from others.

use std::time::Duration;

use strongroom::crypto::Secret;
use strongroom::pb::v1::{
    DeriveTokenRequest, IssueTokenRequest, ListCredentialsRequest, ListTokensRequest, RevokeTokenRequest,
    RotateTokenRequest, RotateTokenResponse, Token,
};
use tonic::{Code, Status};

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

fn issue(role: &str, org: &str) -> IssueTokenRequest {
    IssueTokenRequest {
        name: format!("a-{role}"),
        role: role.into(),
        org: org.into(),
        providers: if role == "pipeline" { vec!["openai".into()] } else { Vec::new() },
        ..IssueTokenRequest::default()
    }
}

fn child(name: &str) -> DeriveTokenRequest {
    DeriveTokenRequest { name: name.into(), ..DeriveTokenRequest::default() }
}

fn seconds(seconds: i64) -> pbjson_types::Duration {
    pbjson_types::Duration { seconds, nanos: 0 }
}

fn text(token: Option<Secret>) -> String {
    token.unwrap().expose_text().unwrap().to_owned()
}

async fn issued(daemon: &Daemon, by: &str, request: IssueTokenRequest) -> Result<(String, Token), Status> {
    let reply = daemon.admin(by).await.issue_token(request).await?.into_inner();
    Ok((text(reply.token), reply.info.unwrap()))
}

async fn derived(daemon: &Daemon, by: &str, request: DeriveTokenRequest) -> Result<(String, Token), Status> {
    let reply = daemon.admin(by).await.derive_token(request).await?.into_inner();
    Ok((text(reply.token), reply.info.unwrap()))
}

async fn rotated(daemon: &Daemon, by: &str, id: &str, overlap: Option<i64>) -> Result<RotateTokenResponse, Status> {
    let request = RotateTokenRequest { id: id.into(), overlap: overlap.map(seconds) };
    Ok(daemon.admin(by).await.rotate_token(request).await?.into_inner())
}

async fn decrypts(daemon: &Daemon, token: &str) -> Result<(), Code> {
    let answer = daemon.credentials(token).await.decrypt_credential(decrypt("acme", "")).await;
    answer.map(drop).map_err(|status| status.code())
}

async fn with_a_credential(home: &tempfile::TempDir) -> Daemon {
    let daemon = Daemon::start(home.path());
    let mut admin = daemon.credentials(&daemon.token).await;
    admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
    daemon
}

fn end(token: &Token) -> i64 {
    token.expires_at.unwrap().seconds
}

/// Which field an invalid request was told about.
#[track_caller]
fn field(refusal: Result<impl Sized, Status>) -> String {
    let status = refusal.err().expect("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.message().split(':').next().unwrap().to_owned()
}

#[test]
fn a_token_with_actions_has_only_those() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let daemon = with_a_credential(&home).await;
        let with = |actions: &[&str]| IssueTokenRequest {
            actions: actions.iter().map(ToString::to_string).collect(),
            ..issue("admin", "acme")
        };
        let list = async |token: &str| {
            let request = ListCredentialsRequest { org: "acme".into(), ..Default::default() };
            let answer = daemon.credentials(token).await.list_credentials(request).await;
            answer.map(|page| page.into_inner().credentials.len()).map_err(|status| status.code())
        };
        let (reader, info) = issued(&daemon, &daemon.token, with(&["decrypt"])).await.unwrap();
        assert_eq!(info.actions, ["decrypt"]);
        decrypts(&daemon, &reader).await.unwrap();
        assert_eq!(list(&reader).await, Err(Code::PermissionDenied));
        let absent = daemon.credentials(&reader).await.decrypt_credential(decrypt("acme", "none")).await.unwrap_err();
        assert_eq!(absent.code(), Code::PermissionDenied, "it may not list, so it does not learn what is absent");

        let (lister, _) = issued(&daemon, &daemon.token, with(&["list"])).await.unwrap();
        assert_eq!(list(&lister).await, Ok(0), "a list shows what `get` may see");
        let (looker, _) = issued(&daemon, &daemon.token, with(&["list", "get"])).await.unwrap();
        assert_eq!((list(&looker).await, decrypts(&daemon, &looker).await), (Ok(1), Err(Code::PermissionDenied)));

        for wrong in ["Decrypt", "decrypt ", "", "*", "authenticate", "destroy"] {
            let refusal = issued(&daemon, &daemon.token, with(&["decrypt", wrong])).await.unwrap_err();
            assert!(refusal.message().starts_with("actions: must be among setup, "), "{wrong}: {refusal:?}");
        }
    });
}

#[test]
fn nobody_issues_more_than_they_have() {
    let home = tempfile::tempdir().unwrap();
    // Here, every role may issue tokens: what is refused is refused by no policy.
    std::fs::create_dir(home.path().join("policy")).unwrap();
    let policy = "@id(\"all\") permit (principal, action, resource is Strongroom::Org);";
    std::fs::write(home.path().join("policy/all.cedar"), policy).unwrap();
    let daemon = Daemon::start_with(home.path(), "\n[policy]\ndirectory = \"policy\"\n");
    runtime().block_on(async {
        let admin = &daemon.token;
        let (service, _) = issued(&daemon, admin, issue("service", "acme")).await.unwrap();
        issued(&daemon, &service, issue("service", "acme")).await.unwrap();
        for role in ["admin", "operator", "pipeline"] {
            assert_eq!(field(issued(&daemon, &service, issue(role, "acme")).await), "role", "{role}");
        }
        assert_eq!(field(issued(&daemon, &service, issue("service", "other")).await), "org");

        let limited = IssueTokenRequest {
            projects: vec!["p".into()],
            providers: vec!["openai".into(), "github".into()],
            actions: vec!["issueToken".into(), "deriveToken".into()],
            ttl: Some(seconds(3600)),
            ..issue("admin", "acme")
        };
        let same = IssueTokenRequest { ttl: Some(seconds(600)), ..limited.clone() };
        let (limited, _) = issued(&daemon, admin, limited).await.unwrap();
        let refused = async |request| field(issued(&daemon, &limited, request).await);
        issued(&daemon, &limited, same.clone()).await.unwrap();
        assert_eq!(refused(IssueTokenRequest { projects: vec!["q".into()], ..same.clone() }).await, "projects");
        assert_eq!(refused(IssueTokenRequest { projects: Vec::new(), ..same.clone() }).await, "projects");
        assert_eq!(refused(IssueTokenRequest { providers: vec!["*".into()], ..same.clone() }).await, "providers");
        assert_eq!(refused(IssueTokenRequest { actions: Vec::new(), ..same.clone() }).await, "actions");
        assert_eq!(refused(IssueTokenRequest { actions: vec!["decrypt".into()], ..same.clone() }).await, "actions");
        assert_eq!(refused(IssueTokenRequest { ttl: Some(seconds(7200)), ..same.clone() }).await, "ttl");
        assert_eq!(refused(IssueTokenRequest { ttl: None, ..same }).await, "ttl");

        // To rotate another's token is to have it.
        let (_, other) = issued(&daemon, admin, issue("operator", "acme")).await.unwrap();
        assert_eq!(field(rotated(&daemon, &service, &other.id, None).await), "role");
    });
}

#[test]
fn a_child_does_less_and_ends_first() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let daemon = with_a_credential(&home).await;
        let wide = IssueTokenRequest {
            providers: vec!["openai".into(), "github".into()],
            ttl: Some(seconds(7200)),
            ..issue("pipeline", "acme")
        };
        let (parent, about) = issued(&daemon, &daemon.token, wide).await.unwrap();
        let lives = |token: &Token| token.expires_at.unwrap().seconds - token.created_at.unwrap().seconds;

        let (same, info) = derived(&daemon, &parent, child("same")).await.unwrap();
        assert_eq!((info.role.as_str(), info.org.as_str(), info.parent.as_str()), ("pipeline", "acme", &*about.id));
        assert_eq!((info.providers.as_slice(), info.created_by.as_str()), (&*about.providers, &*about.id));
        assert_eq!(lives(&info), 900, "a quarter of an hour");
        decrypts(&daemon, &same).await.unwrap();

        let long = DeriveTokenRequest { ttl: Some(seconds(86_400)), ..child("long") };
        let (_, info) = derived(&daemon, &parent, long).await.unwrap();
        assert_eq!(end(&info), end(&about), "it ends with its parent");

        let narrow = DeriveTokenRequest { providers: vec!["github".into()], ..child("narrow") };
        let (narrow, _) = derived(&daemon, &parent, narrow).await.unwrap();
        assert_eq!(decrypts(&daemon, &narrow).await, Err(Code::PermissionDenied));
        let back = DeriveTokenRequest { providers: vec!["openai".into()], ..child("back") };
        assert_eq!(field(derived(&daemon, &narrow, back).await), "providers");

        let harmless = DeriveTokenRequest { actions: vec!["deriveToken".into()], ..child("harmless") };
        let (harmless, _) = derived(&daemon, &parent, harmless).await.unwrap();
        assert_eq!(decrypts(&daemon, &harmless).await, Err(Code::PermissionDenied));
        let again = DeriveTokenRequest { actions: vec!["decrypt".into()], ..child("again") };
        assert_eq!(field(derived(&daemon, &harmless, again).await), "actions");

        let wider = |change: fn(&mut DeriveTokenRequest)| {
            let mut request = child("wider");
            change(&mut request);
            async { field(derived(&daemon, &parent, request).await) }
        };
        assert_eq!(wider(|it| it.org = "other".into()).await, "org");
        assert_eq!(wider(|it| it.org = "*".into()).await, "org");
        assert_eq!(wider(|it| it.providers = vec!["*".into()]).await, "providers");
        assert_eq!(wider(|it| it.actions = vec!["everything".into()]).await, "actions");
        assert_eq!(wider(|it| it.ttl = Some(seconds(86_401))).await, "ttl");
        assert_eq!(wider(|it| it.ttl = Some(seconds(0))).await, "ttl");

        let mut eldest = derived(&daemon, &parent, child("1")).await.unwrap().0;
        for generation in 2..=4 {
            eldest = derived(&daemon, &eldest, child(&generation.to_string())).await.unwrap().0;
        }
        decrypts(&daemon, &eldest).await.unwrap();
        assert_eq!(field(derived(&daemon, &eldest, child("5")).await), "authorization");

        // The great-grandparent's end is everybody's.
        let revoke = RevokeTokenRequest { id: about.id };
        daemon.admin(&daemon.token).await.revoke_token(revoke).await.unwrap();
        for token in [&parent, &same, &narrow, &harmless, &eldest] {
            assert_eq!(decrypts(&daemon, token).await, Err(Code::Unauthenticated));
            assert_eq!(derived(&daemon, token, child("late")).await.unwrap_err().code(), Code::Unauthenticated);
        }
    });
}

/// A child decrypts all the while. What it is answered after its grandparent's revocation was acknowledged is: no.
#[test]
fn a_revoked_parent_takes_its_busy_children_along() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let daemon = with_a_credential(&home).await;
        let (parent, about) = issued(&daemon, &daemon.token, issue("pipeline", "acme")).await.unwrap();
        let (middle, _) = derived(&daemon, &parent, child("middle")).await.unwrap();
        let (youngest, _) = derived(&daemon, &middle, child("youngest")).await.unwrap();
        let revoked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut busy = tokio::task::JoinSet::new();
        for token in [&parent, &middle, &youngest] {
            for _ in 0..4 {
                let (mut client, revoked) = (daemon.credentials(token).await, revoked.clone());
                busy.spawn(async move {
                    let mut answered = 0;
                    loop {
                        let is_late = revoked.load(std::sync::atomic::Ordering::SeqCst);
                        match client.decrypt_credential(decrypt("acme", "")).await {
                            Ok(_) if is_late => panic!("answered after the revocation"),
                            Ok(_) => answered += 1,
                            Err(status) => {
                                assert_eq!(status.code(), Code::Unauthenticated);
                                return answered;
                            }
                        }
                    }
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut admin = daemon.admin(&daemon.token).await;
        admin.revoke_token(RevokeTokenRequest { id: about.id }).await.unwrap();
        revoked.store(true, std::sync::atomic::Ordering::SeqCst);
        let answered = busy.join_all().await;
        assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
    });
}

#[test]
fn a_rotated_token_goes_on_for_a_while() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let daemon = with_a_credential(&home).await;
        let limited =
            IssueTokenRequest { actions: vec!["decrypt".into(), "rotateToken".into()], ..issue("pipeline", "acme") };
        let (old, about) = issued(&daemon, &daemon.token, limited).await.unwrap();

        // By itself: another text, no more time.
        let reply = rotated(&daemon, &old, "self", None).await.unwrap();
        let (new, info, replaced) = (text(reply.token), reply.info.unwrap(), reply.replaced.unwrap());
        assert_eq!((info.replaces.as_str(), replaced.id.as_str()), (&*about.id, &*about.id));
        assert_eq!(end(&info), end(&about));
        let same =
            |token: &Token| (token.role.clone(), token.providers.clone(), token.actions.clone(), token.name.clone());
        assert_eq!(same(&info), same(&about));
        let overlap = replaced.expires_at.unwrap().seconds - info.created_at.unwrap().seconds;
        assert_eq!((overlap, replaced.revoked_at), (3600, None));
        decrypts(&daemon, &old).await.unwrap();
        decrypts(&daemon, &new).await.unwrap();
        assert_eq!(rotated(&daemon, &old, "self", None).await.unwrap_err().code(), Code::Aborted, "once");

        // At once, by an admin: as long again.
        let reply = rotated(&daemon, &daemon.token, &info.id, Some(0)).await.unwrap();
        let (newest, third) = (text(reply.token), reply.info.unwrap());
        assert_eq!(decrypts(&daemon, &new).await, Err(Code::Unauthenticated));
        assert!(third.expires_at.unwrap().seconds >= info.expires_at.unwrap().seconds);
        decrypts(&daemon, &newest).await.unwrap();
        assert_eq!(rotated(&daemon, &daemon.token, &info.id, None).await.unwrap_err().code(), Code::Aborted);
        assert_eq!(field(rotated(&daemon, &newest, "self", Some(7 * 86_400 + 1)).await), "overlap");

        // A second of overlap, and what descends from the old one goes with it.
        let (parent, about) = issued(&daemon, &daemon.token, issue("pipeline", "acme")).await.unwrap();
        let (young, _) = derived(&daemon, &parent, child("young")).await.unwrap();
        decrypts(&daemon, &young).await.unwrap();
        rotated(&daemon, &daemon.token, &about.id, Some(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for token in [&parent, &young] {
            assert_eq!(decrypts(&daemon, token).await, Err(Code::Unauthenticated));
        }

        // Another's is not for whoever may not issue.
        for id in [third.id.as_str(), "01990b5e-7c1c-7d3a-9a51-0f6f3c1b2a4d"] {
            let (stranger, _) = issued(&daemon, &daemon.token, issue("operator", "acme")).await.unwrap();
            assert_eq!(rotated(&daemon, &stranger, id, None).await.unwrap_err().code(), Code::PermissionDenied);
        }
        assert_eq!(field(rotated(&daemon, &daemon.token, "nobody", None).await), "id");
    });
}

#[test]
fn the_list_tells_where_tokens_come_from_and_when_they_were_used() {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let daemon = with_a_credential(&home).await;
        let (used, about) = issued(&daemon, &daemon.token, issue("pipeline", "acme")).await.unwrap();
        let (_, young) = derived(&daemon, &used, child("young")).await.unwrap();
        let new = rotated(&daemon, &used, "self", None).await.unwrap().info.unwrap();
        decrypts(&daemon, &used).await.unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        let list = loop {
            let request = ListTokensRequest { org: "acme".into() };
            let list = daemon.admin(&daemon.token).await.list_tokens(request).await.unwrap().into_inner().tokens;
            if list.iter().any(|token| token.last_used_at.is_some()) || std::time::Instant::now() > end {
                break list;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let found = |id: &str| list.iter().find(|token| token.id == id).unwrap();
        assert!(found(&about.id).last_used_at.is_some() && found(&new.id).last_used_at.is_none());
        assert_eq!(found(&young.id).parent, about.id);
        assert_eq!(found(&new.id).replaces, about.id);
        let shown = daemon.cli(&daemon.token, &["token", "list", "--org", "acme"], None);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains(&format!("child of {}", about.id)), "{shown}");
        assert!(shown.contains(&format!("instead of {}", about.id)), "{shown}");
        let line = daemon.cli(&used, &["token", "derive", "job", "--action", "decrypt"], None).stdout;
        assert!(String::from_utf8(line).unwrap().starts_with("export STRONGROOM_TOKEN=srt_"));
        let line = daemon.cli(&daemon.token, &["token", "rotate", &new.id, "--now"], None);
        assert!(
            String::from_utf8(line.stdout).unwrap().starts_with("export STRONGROOM_TOKEN=srt_"),
            "{:?}",
            line.stderr
        );
    });
}
