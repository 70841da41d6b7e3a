//! Who is it, and may they: what each warm decrypt pays for the question, whatever the number of policies.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::path::Path;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression,
};
use jiff::Timestamp;
use strongroom::vault::policy::{Resource, Verdict, Vocabulary};
use strongroom::vault::{
    Action, Caller, Credential, CredentialState, Health, Path as Name, Policies, Principal, Proof,
};
use uuid::Uuid;

use crate::Plan;
use crate::inside::{Inside, each};
use crate::server::{ORG, runtime};
use crate::table::{Row, Target, median, section, time};

const DEFAULT: &str = include_str!("../../config/policy/default.cedar");

pub fn run(plan: Plan, home: &Path) {
    section("authentication and authorisation of a decrypt", "here", "Cedar over the whole set");
    let runtime = runtime();
    let inside = {
        let _inside = runtime.enter();
        Inside::new(home)
    };
    let authorization = runtime.block_on(async {
        let admin = inside.admin().await;
        inside.pipeline(&admin, ORG).await
    });
    let caller = runtime.block_on(inside.caller(&authorization));

    for number in [20, 1_000, 2_000] {
        let text = policies(number);
        let directory = home.join(format!("{number}-policies"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("all.cedar"), &text).unwrap();
        let policies = Policies::load(&directory, &Vocabulary::default()).unwrap();
        let decide = |credential: &Credential, caller: &Caller| {
            let decision = policies.decide(caller, Action::Decrypt, Resource::Credential(credential), Timestamp::now());
            assert_eq!(decision.verdict, Verdict::Allowed);
        };

        let (mut known, mut first, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        let world = Whole::new(&text);
        let mut credential = credential();
        for _ in 0..plan.rounds() {
            whole.push(each(plan.pick(20, 200), |_| world.decide()));
            first.push(each(plan.pick(300, 2_000), |_| {
                credential.revision += 1;
                decide(&credential, &caller);
            }));
            known.push(runtime.block_on(async {
                let begin = std::time::Instant::now();
                let times = plan.pick(20_000, 100_000);
                for _ in 0..times {
                    let caller = inside.caller(&authorization).await;
                    decide(black_box(&credential), &caller);
                }
                begin.elapsed() / times
            }));
        }
        let whole = median(whole);
        let line = |what: &str, figure| Row::shown(format!("{number} policies, {what}"), time(figure), time(whole));
        let (known, first) = (median(known), median(first));
        line("known decision", known).value(known.as_secs_f64() * 1e6, " µs", Target::AtMost(5.0)).print();
        line("first decision", first).ratio(first.as_secs_f64() / whole.as_secs_f64(), Target::None).print();

        // What reads the time, the address or a second factor is decided at each request.
        std::fs::write(directory.join("moment.cedar"), MOMENT).unwrap();
        let policies = Policies::load(&directory, &Vocabulary::default()).unwrap();
        for proof in [Proof::Token, Proof::Jwt, Proof::Mtls, Proof::Unix, Proof::Grant] {
            let caller = by(proof);
            let taken = (0..plan.rounds()).map(|_| {
                each(plan.pick(300, 2_000), |_| {
                    let now = Timestamp::now();
                    let decision = policies.decide(&caller, Action::Decrypt, Resource::Credential(&credential), now);
                    assert_eq!(decision.verdict, Verdict::Allowed);
                })
            });
            let taken = median(taken);
            let what = format!("decided anew, by {}", proof.as_str());
            line(&what, taken).ratio(taken.as_secs_f64() / whole.as_secs_f64(), Target::None).print();
        }
    }
}

const MOMENT: &str = "@id(\"steps-up\")\nforbid (principal, action == Strongroom::Action::\"decrypt\", resource)\n\
    when { principal.role == \"admin\" } unless { context has step_up && context.step_up.age <= 300 };\n\
    @id(\"office\")\nforbid (principal, action == Strongroom::Action::\"decrypt\", resource)\n\
    when { context has source && !context.source.isLoopback() };\n";

/// A pipeline as each proof makes it, with all that such a one tells.
fn by(proof: Proof) -> Caller {
    let claims = ["sub", "repository", "repository_id", "ref", "environment", "workflow_ref", "actor"];
    let told = if proof == Proof::Jwt { claims.len() } else { 1 };
    let principal = Principal {
        id: format!("{}:somebody", proof.as_str()),
        name: "a pipeline".into(),
        role: "pipeline".into(),
        org: ORG.into(),
        providers: vec!["*".into()],
        proof,
        claims: claims.iter().take(told).map(|name| ((*name).to_owned(), format!("some-{name}"))).collect(),
        run: "4711".into(),
        phase: "plan".into(),
        known_as: Some(Uuid::now_v7()),
        ..Principal::default()
    };
    let mut caller = Caller::new(principal.into(), String::new());
    caller.circumstances.address = (proof != Proof::Unix).then(|| [127, 0, 0, 1].into());
    caller.circumstances.certificate = (proof == Proof::Mtls).then(|| "spiffe://acme/pipeline".into());
    caller
}

/// The embedded roles, and one policy for each of many tenants.
fn policies(number: usize) -> String {
    let mut text = DEFAULT.to_owned();
    for tenant in DEFAULT.matches("@id(").count()..number {
        text += &format!(
            "@id(\"tenant-{tenant}\")\npermit (\n  principal in Strongroom::Role::\"pipeline\",\n  \
             action == Strongroom::Action::\"decrypt\",\n  resource in Strongroom::Org::\"tenant-{tenant}\"\n)\n\
             when {{ resource.state == \"active\" && resource.health != \"expired\" }};\n"
        );
    }
    text
}

fn credential() -> Credential {
    let name = Name { org: ORG.into(), project: "default".into(), provider: "openai".into(), name: "default".into() };
    Credential {
        id: Uuid::now_v7(),
        path: name,
        state: CredentialState::Active,
        disabled: false,
        failing_since: None,
        active_version: Some(1),
        latest_version: 1,
        fingerprint: "00000000".into(),
        public_identity: Default::default(),
        metadata: Default::default(),
        labels: Default::default(),
        revision: 1,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
        expires_at: None,
        declared_expires_at: None,
        secret_created_at: Timestamp::now(),
        warnings: Vec::new(),
        last_test: None,
        next_test_at: None,
        told_health: Health::Ok,
        deleted_at: None,
        destroy_at: None,
    }
}

/// The same question asked of Cedar as it comes: every policy is looked at.
struct Whole {
    policies: PolicySet,
    entities: Entities,
    request: Request,
}

impl Whole {
    fn new(text: &str) -> Self {
        let uid = |kind: &str, id: &str| format!("Strongroom::{kind}::\"{id}\"").parse::<EntityUid>().unwrap();
        let word = |value: &str| RestrictedExpression::new_string(value.into());
        let words = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), word(value))).collect();
        let none = || RestrictedExpression::new_set([]);
        let mut who: HashMap<String, RestrictedExpression> =
            words(&[("name", "a pipeline"), ("role", "pipeline"), ("org", ORG)]);
        who.insert("projects".into(), none());
        who.insert("providers".into(), RestrictedExpression::new_set([word("*")]));
        let what = words(&[
            ("org", ORG),
            ("project", "default"),
            ("provider", "openai"),
            ("name", "default"),
            ("state", "active"),
            ("health", "ok"),
        ]);
        let (principal, resource) = (uid("Caller", "1"), uid("Credential", "1"));
        let above: HashSet<EntityUid> =
            [uid("Org", ORG), uid("Project", "acme/default"), uid("Provider", "openai")].into();
        let entities = [
            Entity::new(principal.clone(), who, [uid("Role", "pipeline")].into()).unwrap(),
            Entity::new(resource.clone(), what, above).unwrap(),
        ];
        Self {
            policies: text.parse().unwrap(),
            entities: Entities::from_entities(entities, None).unwrap(),
            request: Request::new(principal, uid("Action", "decrypt"), resource, Context::empty(), None).unwrap(),
        }
    }

    fn decide(&self) {
        let answer = Authorizer::new().is_authorized(&self.request, &self.policies, &self.entities);
        assert_eq!(answer.decision(), Decision::Allow);
    }
}
