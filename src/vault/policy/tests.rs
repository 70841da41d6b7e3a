use std::collections::BTreeMap;

use cedar_policy::{Context, PolicySet, Schema};
use uuid::Uuid;

use super::*;
use crate::store::{Credential, CredentialState, Path};
use crate::vault::{Principal, Proof};

pub(super) fn caller(role: &str, org: &str, providers: &[&str]) -> Caller {
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

pub(super) fn path(org: &str, provider: &str) -> Path {
    Path { org: org.into(), project: "default".into(), provider: provider.into(), name: "default".into() }
}

pub(super) fn credential(org: &str, provider: &str) -> Credential {
    Credential {
        state: CredentialState::Active,
        active_version: Some(1),
        fingerprint: "01234567".into(),
        labels: BTreeMap::from([("team".to_owned(), "search".to_owned())]),
        ..Credential::new(Uuid::now_v7(), path(org, provider), Timestamp::UNIX_EPOCH)
    }
}

pub(super) fn policies(text: &str) -> Result<Policies, LoadError> {
    Policies::from_sources(&[("my.cedar".to_owned(), text.to_owned())], &Vocabulary::default())
}

fn allows(policies: &Policies, caller: &Caller, action: Action, resource: Resource<'_>) -> bool {
    let first = policies.decide(caller, action, resource, Timestamp::UNIX_EPOCH);
    let again = policies.decide(caller, action, resource, Timestamp::UNIX_EPOCH);
    assert_eq!(first, again, "what is remembered is what was decided");
    first.verdict == Verdict::Allowed
}

#[test]
fn the_schema_knows_exactly_the_actions_that_are_asked() {
    let (schema, _) = Schema::from_cedarschema_str(schema::TEXT).unwrap();
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

    // Who mints a grant has it first, and neither reads anything back.
    assert!([&service, &pipeline, &operator].iter().all(|who| !allows(&policies, who, Action::MintGrant, it)));
    assert!(allows(&policies, &service, Action::RevokeGrant, it));
    assert!([&pipeline, &operator].iter().all(|who| !allows(&policies, who, Action::RevokeGrant, it)));
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
    let decide =
        |now| policies.decide(&caller, Action::Decrypt, Resource::Credential(&it), now).verdict == Verdict::Allowed;
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
        ("permit (principal, action, resource)\nwhen { resource.orgg == \"acme\" };", ":2"),
        ("permit (principal, action == Strongroom::Action::\"decript\", resource);", ":1"),
        ("\n\npermit (principal, action, resource", ":3"),
        ("permit (principal == ?principal, action, resource);", "templates"),
        ("@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);", "`a`"),
    ];
    for (text, names) in wrong {
        let error = policies(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("my.cedar:") && error.contains(names), "{text}\n→ {error}");
    }
}

#[test]
fn a_typo_of_any_kind_is_refused_where_it_stands() {
    let known = Vocabulary {
        claims: ["team".to_owned()].into(),
        providers: ["openai".to_owned(), "aws_access_key".to_owned()].into(),
    };
    let reading = |condition: &str| {
        let text =
            format!("permit (\n  principal, action, resource is Strongroom::Credential)\nwhen {{\n  {condition}\n}};");
        source::read(&[("my.cedar".to_owned(), text)], &known)
    };
    let right = [
        "principal in Strongroom::Role::\"pipeline\"",
        "resource in Strongroom::Provider::\"openai\"",
        "resource in Strongroom::Project::\"acme/default\"",
        "principal.role == \"service\" || [\"mtls\", \"jwt\"].contains(context.proof)",
        "resource.state == \"absent\" || resource.health != \"expired\"",
        "principal.providers.contains(\"*\") || resource.provider == \"openai\"",
        "context.claims has team && context.claims.team == \"search\"",
        "context.claims has repository_id && context.claims.repository_id == \"4711\"",
        "context has source && context.source.isInRange(ip(\"10.0.0.0/8\"))",
        "context has step_up && context.step_up.age <= 300 && context.step_up.method == \"totp\"",
        "context.approved",
        "context has certificate && context.certificate like \"spiffe://acme/*\"",
        "resource.hasTag(\"team\") && resource.getTag(\"team\") == \"search\"",
    ];
    for condition in right {
        assert_eq!(reading(condition).faults, [], "{condition}");
    }
    let wrong = [
        // Entity types, ids, attributes, actions, claims.
        ("principal in Strongroom::Rule::\"pipeline\"", "Rule"),
        ("principal in Strongroom::Role::\"pipelin\"", "there is no role `pipelin`; did you mean pipeline"),
        ("resource in Strongroom::Provider::\"openal\"", "there is no provider `openal`; did you mean openai"),
        ("resource in Strongroom::Project::\"default\"", "ORG/PROJECT"),
        ("principal in Strongrom::Role::\"pipeline\"", "Strongrom"),
        ("action == Strongroom::Action::\"decript\"", "decript"),
        ("principal.rol == \"service\"", "rol"),
        ("resource.projects == \"x\"", "projects"),
        (
            "context has stepup && context.stepup.age < 300",
            "there is no attribute of context, `stepup`; did you mean step_up",
        ),
        ("context.step_up.age <= 300", "step_up"),
        ("context.claims has repo && context.claims.repo == \"x\"", "there is no attribute of context.claims, `repo`"),
        ("!(context has claims.repo)", "there is no attribute of context.claims, `repo`"),
        ("!(context has step_up.ago)", "there is no attribute of context.step_up, `ago`; did you mean age"),
        ("resource has team", "there is no attribute of resource, `team`"),
        ("!(context.claims has \"secret-thing\")", "`secret-thing`"),
        ("context.claims.repository == \"x\"", "repository"),
        ("context.proof == 1", "String"),
        // Words that Cedar takes for any other text.
        ("principal.role == \"servis\"", "there is no role `servis`; did you mean service"),
        ("[\"mtls\", \"jtw\"].contains(context.proof)", "there is no proof `jtw`; there are token, jwt"),
        ("resource.state == \"activ\"", "there is no state `activ`; did you mean active"),
        ("\"expird\" == resource.health", "there is no health `expird`; did you mean expired"),
        ("principal.providers.contains(\"opnai\")", "there is no provider `opnai`; did you mean openai"),
    ];
    for (condition, rule) in wrong {
        let faults = reading(condition).faults;
        let found = faults.iter().any(|fault| fault.line == Some(4) && fault.rule.contains(rule));
        // A policy that can never be true is warned of, where Cedar sees that.
        assert!(found, "{condition}\n→ {faults:?} {:?}", reading(condition).warnings);
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let files = [
        ("a.cedar".to_owned(), "permit (principal, action, resource) when { principal.rol == \"x\" };\n\npermit (principal, action, resource) when { principal.role == \"x\" };".to_owned()),
        ("b.cedar".to_owned(), "permit (principal, action, resource".to_owned()),
    ];
    let faults = source::read(&files, &Vocabulary::default()).faults;
    let places: Vec<_> = faults.iter().map(|fault| (fault.file.as_str(), fault.line)).collect();
    assert_eq!(places, [("a.cedar", Some(1)), ("a.cedar", Some(3)), ("b.cedar", Some(1))], "{faults:?}");
    let error = Policies::from_sources(&files, &Vocabulary::default()).err().unwrap().to_string();
    assert!(
        error.starts_with("a.cedar:1: ") && error.ends_with("and 2 more: `strongroom policy check` tells all"),
        "{error}"
    );
}

#[test]
fn a_policy_is_known_by_where_it_stands() {
    let text = "// first\npermit (principal, action, resource) when { principal.org == \"a\" };\n\n@id(\"b\")\npermit (principal, action, resource) when { principal.org == \"a\" };\n";
    let set = policies(text).unwrap();
    assert_eq!(set.placed("my.cedar#0").map(|it| it.line), Some(2));
    assert_eq!(set.placed("b").map(|it| (it.line, it.text().starts_with("@id"))), Some((4, true)));
}

#[test]
fn a_directory_without_policies_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Policies::load(directory.path(), &Vocabulary::default()), Err(LoadError::Empty(_))));
    std::fs::write(directory.path().join("own.cedar"), DEFAULT).unwrap();
    assert_eq!(
        Policies::load(directory.path(), &Vocabulary::default()).unwrap().digest,
        Policies::embedded().unwrap().digest
    );
    assert!(matches!(
        Policies::load(&directory.path().join("none"), &Vocabulary::default()),
        Err(LoadError::Read { .. })
    ));
}

/// Names are data, ids are identity: whoever may set up one credential anew does not make another that is called like its
/// id, in whichever org.
#[test]
fn a_name_that_is_an_id_is_not_that_credential() {
    let known = credential("acme", "openai");
    let text = format!("permit (principal, action, resource == Strongroom::Credential::\"{}\");", known.id);
    let set = policies(&text).unwrap();
    let service = caller("service", "acme", &[]);
    assert!(allows(&set, &service, Action::Setup, Resource::Credential(&known)));
    for org in ["acme", "globex"] {
        let named = Path { name: known.id.to_string(), ..path(org, "openai") };
        assert!(!allows(&set, &service, Action::Setup, Resource::Absent(&named)), "{org}");
    }
}

#[test]
fn who_is_limited_to_some_projects_or_providers_leaves_the_audit_key_alone() {
    let set = Policies::embedded().unwrap();
    let admin = caller("admin", "*", &[]);
    let limited = caller("admin", "*", &["openai"]);
    // The public key is nobody's secret.
    for (action, may) in [(Action::GetAuditKey, true), (Action::RotateAuditKey, false)] {
        assert!(allows(&set, &admin, action, Resource::Org("*")), "{action:?}");
        assert_eq!(allows(&set, &limited, action, Resource::Org("*")), may, "{action:?}");
    }
}
