use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::store::{Credential, CredentialState, Health, Path};
use crate::vault::{Principal, Proof};

fn caller(role: &str, org: &str, providers: &[&str]) -> Caller {
    let id = Uuid::now_v7();
    let principal = Principal {
        id: id.to_string(),
        name: format!("a-{role}"),
        role: role.to_owned(),
        org: org.to_owned(),
        providers: providers.iter().map(|&provider| provider.to_owned()).collect(),
        token: Some(id),
        proof: Proof::Token,
        known_as: Some(id),
        ..Principal::default()
    };
    Caller::new(Arc::new(principal), String::new())
}

fn path(org: &str, provider: &str) -> Path {
    Path { org: org.into(), project: "default".into(), provider: provider.into(), name: "default".into() }
}

fn credential(org: &str, provider: &str) -> Credential {
    Credential {
        id: Uuid::now_v7(),
        path: path(org, provider),
        state: CredentialState::Active,
        disabled: false,
        failing_since: None,
        active_version: Some(1),
        latest_version: 1,
        fingerprint: "01234567".into(),
        public_identity: BTreeMap::new(),
        metadata: serde_json::Map::new(),
        labels: BTreeMap::from([("team".to_owned(), "search".to_owned())]),
        revision: 1,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        declared_expires_at: None,
        secret_created_at: Timestamp::UNIX_EPOCH,
        warnings: Vec::new(),
        last_test: None,
        next_test_at: None,
        told_health: Health::Ok,
        deleted_at: None,
        destroy_at: None,
    }
}

fn policies(text: &str) -> Result<Policies, LoadError> {
    Policies::from_sources(vec![("my.cedar".to_owned(), text.to_owned())])
}

fn allows(policies: &Policies, caller: &Caller, action: Action, resource: Resource<'_>) -> bool {
    let first = policies.decide(caller, action, resource, Timestamp::UNIX_EPOCH);
    let again = policies.decide(caller, action, resource, Timestamp::UNIX_EPOCH);
    assert_eq!(first, again, "what is remembered is what was decided");
    first.allowed
}

#[test]
fn the_schema_knows_exactly_the_actions_that_are_asked() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let mut known: Vec<String> = schema.actions().map(|uid| uid.id().unescaped().to_owned()).collect();
    let mut asked: Vec<String> = Action::asked().map(|action| action.as_str().to_owned()).collect();
    known.sort();
    asked.sort();
    assert_eq!(known, asked);
}

#[test]
fn each_role_may_do_what_it_is_for() {
    let policies = Policies::embedded().unwrap();
    let openai = credential("acme", "openai");
    let it = Resource::Credential(&openai);
    let org = Resource::Org("acme");
    let about_one = [
        Action::Setup,
        Action::Validate,
        Action::Get,
        Action::Delete,
        Action::Undelete,
        Action::UpdateMetadata,
        Action::ListVersions,
        Action::Activate,
    ];

    let service = caller("service", "acme", &[]);
    assert!(about_one.iter().all(|&action| allows(&policies, &service, action, it)));
    assert!(!allows(&policies, &service, Action::Decrypt, it));
    assert!(!allows(&policies, &service, Action::SkipProbe, it));
    assert!(allows(&policies, &service, Action::List, org));
    assert!(!allows(&policies, &service, Action::IssueToken, org));

    let pipeline = caller("pipeline", "acme", &["openai"]);
    assert!(allows(&policies, &pipeline, Action::Decrypt, it));
    assert!(about_one.iter().all(|&action| !allows(&policies, &pipeline, action, it)));
    assert!(!allows(&policies, &pipeline, Action::List, org));
    assert!(!allows(&policies, &pipeline, Action::Decrypt, Resource::Credential(&credential("acme", "aws_keys"))));
    assert!(!allows(&policies, &caller("pipeline", "acme", &[]), Action::Decrypt, it));

    let operator = caller("operator", "*", &[]);
    assert!(allows(&policies, &operator, Action::Get, it));
    assert!(allows(&policies, &operator, Action::VerifyAudit, Resource::Org("*")));
    assert!(!allows(&policies, &operator, Action::Decrypt, it));
    assert!(!allows(&policies, &operator, Action::Delete, it));

    for known in [&service, &pipeline, &caller("admin", "acme", &[])] {
        assert!(
            allows(&policies, known, Action::DeriveToken, org) && allows(&policies, known, Action::RotateToken, org)
        );
    }

    for action in [Action::MintGrant, Action::RevokeGrant] {
        assert!(allows(&policies, &service, action, it) && !allows(&policies, &operator, action, it));
        assert!(!allows(&policies, &pipeline, action, it));
    }
    let grant = caller("grant", "acme", &[]);
    for action in Action::asked() {
        assert_eq!(allows(&policies, &grant, action, it), action == Action::Decrypt, "{action:?}");
        assert!(!allows(&policies, &grant, action, org), "{action:?}");
    }

    let nobody = caller("", "acme", &[]);
    for action in Action::asked() {
        assert!(!allows(&policies, &nobody, action, it), "{action:?}");
        assert!(!allows(&policies, &nobody, action, org), "{action:?}");
    }
}

#[test]
fn whoever_is_limited_does_not_see_or_manage_the_whole_tenant() {
    let policies = Policies::embedded().unwrap();
    for role in ["operator", "admin"] {
        let limited = caller(role, "acme", &["openai"]);
        for action in
            [Action::ListAudit, Action::VerifyAudit, Action::ListTokens, Action::RevokeToken, Action::ListGrants]
        {
            assert!(!allows(&policies, &limited, action, Resource::Org("acme")), "{role} {action:?}");
        }
        assert!(allows(&policies, &limited, Action::List, Resource::Org("acme")), "{role}");
        assert!(allows(&policies, &caller(role, "acme", &["*"]), Action::ListAudit, Resource::Org("acme")), "{role}");
    }
}

#[test]
fn no_role_reaches_into_another_tenant() {
    let policies = Policies::embedded().unwrap();
    let theirs = credential("globex", "openai");
    for role in ["pipeline", "service", "operator", "admin", "grant"] {
        let caller = caller(role, "acme", &["openai"]);
        for action in Action::asked() {
            assert!(!allows(&policies, &caller, action, Resource::Credential(&theirs)), "{role} {action:?}");
            assert!(!allows(&policies, &caller, action, Resource::Absent(&theirs.path)), "{role} {action:?}");
            assert!(!allows(&policies, &caller, action, Resource::Org("globex")), "{role} {action:?}");
            assert!(!allows(&policies, &caller, action, Resource::Org("*")), "{role} {action:?}");
        }
    }
}

#[test]
fn a_slice_decides_as_the_whole_set_does() {
    let text = r#"
        permit (principal in Strongroom::Role::"pipeline", action == Strongroom::Action::"decrypt", resource in Strongroom::Provider::"openai");
        permit (principal, action in [Strongroom::Action::"get", Strongroom::Action::"get"], resource in Strongroom::Project::"acme/default");
        permit (principal, action, resource is Strongroom::Credential in Strongroom::Org::"globex");
        permit (principal is Strongroom::Caller in Strongroom::Role::"operator", action, resource == Strongroom::Org::"acme");
        forbid (principal in Strongroom::Role::"pipeline", action, resource) when { resource is Strongroom::Credential && resource.hasTag("team") && resource.getTag("team") == "secret" };
    "#;
    let sliced = policies(text).unwrap();
    let whole: PolicySet = text.parse().unwrap();
    let mut secret = credential("acme", "openai");
    secret.labels.insert("team".into(), "secret".into());
    let credentials =
        [credential("acme", "openai"), credential("acme", "aws_keys"), credential("globex", "openai"), secret];
    let mut allowed = 0;
    for role in ["pipeline", "operator", "service"] {
        let caller = caller(role, "acme", &[]);
        for action in Action::asked() {
            let about_one = credentials.iter().map(Resource::Credential);
            for resource in about_one.chain([Resource::Org("acme"), Resource::Org("*")]) {
                let scene = entities::scene(&caller, action, resource, Timestamp::UNIX_EPOCH).unwrap();
                let request =
                    Request::new(scene.principal, scene.action, scene.resource, Context::empty(), None).unwrap();
                let expected = Authorizer::new().is_authorized(&request, &whole, &scene.entities);
                let is_allowed = allows(&sliced, &caller, action, resource);
                assert_eq!(
                    is_allowed,
                    expected.decision() == cedar_policy::Decision::Allow,
                    "{role} {action:?} {resource:?}"
                );
                allowed += u32::from(is_allowed);
            }
        }
    }
    assert!(allowed > 10, "the sample must allow something");
}

#[test]
fn what_reads_the_time_is_decided_each_time() {
    let text = r#"permit (principal, action, resource) when { context.now < datetime("2000-01-01") };"#;
    let policies = policies(text).unwrap();
    let (caller, it) = (caller("pipeline", "acme", &[]), credential("acme", "openai"));
    let decide = |now| policies.decide(&caller, Action::Decrypt, Resource::Credential(&it), now).allowed;
    assert!(decide(Timestamp::UNIX_EPOCH));
    assert!(!decide("2026-01-01T00:00:00Z".parse().unwrap()));
    assert!(decide(Timestamp::UNIX_EPOCH));
}

#[test]
fn a_change_of_the_credential_is_a_new_decision() {
    let text = r#"permit (principal, action, resource is Strongroom::Credential) when { resource.hasTag("team") };"#;
    let policies = policies(text).unwrap();
    let caller = caller("pipeline", "acme", &[]);
    let mut it = credential("acme", "openai");
    assert!(allows(&policies, &caller, Action::Decrypt, Resource::Credential(&it)));
    it.labels.clear();
    it.revision += 1;
    assert!(!allows(&policies, &caller, Action::Decrypt, Resource::Credential(&it)));
}

#[test]
fn wrong_policies_are_refused_with_file_and_line() {
    let wrong = [
        ("permit (principal, action, resource)\nwhen { resource.orgg == \"acme\" };", "line 2"),
        ("permit (principal, action == Strongroom::Action::\"decript\", resource);", "line 1"),
        ("\n\npermit (principal, action, resource", "line 3"),
        ("permit (principal == ?principal, action, resource);", "templates"),
        ("@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);", "`a`"),
    ];
    for (text, names) in wrong {
        let error = policies(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("my.cedar: ") && error.contains(names), "{text}\n→ {error}");
    }
}

#[test]
fn a_directory_without_policies_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Policies::load(directory.path()), Err(LoadError::Empty(_))));
    std::fs::write(directory.path().join("own.cedar"), DEFAULT).unwrap();
    assert_eq!(Policies::load(directory.path()).unwrap().digest, Policies::embedded().unwrap().digest);
    assert!(matches!(Policies::load(&directory.path().join("none")), Err(LoadError::Read { .. })));
}
