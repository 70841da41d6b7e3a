//! Every provider's connection test as the registry describes it, against a fake of the provider that answers what is
//! known of it. Each request is looked at, and computed anew where it is signed.
//!
//! What this does not prove: that a provider still answers so today.

mod added;
mod aws;
mod azure;
mod google;
mod hostile;
mod oracle;
mod plain;
pub mod sample;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use strongroom::http::Hosts;
use strongroom::providers::Verdict::*;
use strongroom::providers::probe::{Live, Metadata, Probe as _};
use strongroom::providers::{Outcome, Registry, Upload, Verdict};

use crate::fake::{Answer, Asked, World};

fn says(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let answer = if body.starts_with('<') { Answer::xml(status, body) } else { Answer::text(status, body) };
    headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
}

fn line(asked: &Asked) -> String {
    format!("{} {}{}", asked.method, asked.host, asked.path)
}

fn form(asked: &Asked) -> BTreeMap<String, String> {
    asked.form().into_iter().collect()
}

/// What a test finds and what it asked, when the provider answers these one after the other. The last one is repeated.
async fn ask(
    provider: &str,
    upload: &Upload,
    metadata: &Value,
    script: impl IntoIterator<Item = Answer>,
) -> (Outcome, Vec<Asked>) {
    ask_by(embedded(), provider, upload, metadata, script).await
}

/// Read once for all: that takes longer than a test.
fn embedded() -> &'static Registry {
    static EMBEDDED: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());
    &EMBEDDED
}

async fn ask_by(
    registry: &Registry,
    provider: &str,
    upload: &Upload,
    metadata: &Value,
    script: impl IntoIterator<Item = Answer>,
) -> (Outcome, Vec<Asked>) {
    let provider = registry.get(provider).unwrap();
    let metadata: Metadata = metadata.as_object().unwrap().clone();
    provider.check_metadata(&metadata).unwrap();
    let parsed = provider.parse(upload).unwrap_or_else(|invalid| panic!("{}: {invalid}", provider.id));
    assert!(provider.is_tested(&metadata), "{} has no test", provider.id);
    let world = scripted(script);
    let live = Live::new(world.client(), Hosts::default());
    let outcome = live.probe(provider, &parsed.secret, &metadata).await;
    (outcome, world.asked())
}

/// A world that gives these answers, the last one again and again.
fn scripted(script: impl IntoIterator<Item = Answer>) -> World {
    let script: Vec<Answer> = script.into_iter().collect();
    let next = AtomicUsize::new(0);
    World::start(move |_| {
        let at = next.fetch_add(1, Ordering::SeqCst).min(script.len() - 1);
        script[at].clone()
    })
}

/// The verdict and, unless it is empty, the reason. A hint stands beside whatever is not well, and nothing of the secret.
async fn gives(provider: &str, script: Vec<Answer>, verdict: Verdict, reason: &str) {
    let upload = sample::upload(provider);
    let said = format!("{script:?}");
    let (outcome, _) = ask(provider, &upload, &json!({}), script).await;
    assert_eq!(outcome.verdict, verdict, "{provider}: {said}: {outcome:?}");
    if !reason.is_empty() {
        assert_eq!(outcome.reason, reason, "{provider}: {said}: {outcome:?}");
    }
    assert!(verdict == Ok || !outcome.hint.is_empty(), "{provider}: {outcome:?} says not what to do");
    for secret in sample::secrets(provider) {
        assert!(!format!("{outcome:?}").contains(&secret), "{provider}");
    }
}

async fn each<const N: usize>(provider: &str, cases: [(Answer, Verdict, &str); N]) {
    for (answer, verdict, reason) in cases {
        gives(provider, vec![answer], verdict, reason).await;
    }
}

#[test]
fn every_provider_with_a_test_has_a_sample_and_every_sample_a_provider() {
    let registry = embedded();
    for provider in registry.all().filter(|provider| provider.is_tested(&Metadata::new())) {
        let parsed = provider.parse(&sample::upload(&provider.id));
        assert!(parsed.is_ok(), "{}: {parsed:?}", provider.id);
    }
    let untested: Vec<&str> = registry
        .all()
        .filter(|provider| !provider.is_tested(&Metadata::new()))
        .map(|provider| provider.id.as_str())
        .collect();
    // Its trust is tested with the vault's own identity, which it has none yet; and what nobody described.
    assert_eq!(untested, ["aws_iam_role", "saas_generic"]);
}
