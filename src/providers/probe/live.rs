//! The tests that the registry describes, made for real.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ::http::header::AUTHORIZATION;
use async_trait::async_trait;
use zeroize::Zeroizing;

use super::answer::{Judged, judge};
use super::plan::Step;
use super::plan::owner::OWNER_TEST;
use super::request::{NotSent, aside, assertion, fill, sign};
use super::template::Unfit;
use super::values::Values;
use super::{Learned, Metadata, Outcome, Probe, Verdict};
use crate::crypto::Secret;
use crate::http::{self, Client, Hosts};
use crate::providers::Provider;

/// Goes out through one client, which enforces where to.
pub struct Live {
    client: Client,
    owner_hosts: Hosts,
}

impl Live {
    /// `owner_hosts` is where a test that a credential's owner wrote may go.
    pub const fn new(client: Client, owner_hosts: Hosts) -> Self {
        Self { client, owner_hosts }
    }
}

#[async_trait]
impl Probe for Live {
    async fn probe(&self, provider: &Provider, secret: &Secret, metadata: &Metadata) -> Outcome {
        let Some(mut values) = Values::new(provider, secret, metadata) else {
            let hint = "what is stored is not what the registry describes today: set the credential up again";
            return Outcome::new(Verdict::Misconfigured, "format", hint);
        };
        if let Some(written) = metadata.get(OWNER_TEST).filter(|_| provider.owner_test) {
            return match provider.owner_test(written) {
                Ok(step) => Run::new(&self.client, &self.owner_hosts, Asker::Owner, values).steps(&[step]).await,
                Err(invalid) => Outcome::new(Verdict::Misconfigured, "format", invalid.to_string()),
            };
        }
        let Some(test) = &provider.test else { return Outcome::untested() };
        values.name(&test.names);
        Run::new(&self.client, &test.hosts, Asker::Registry, values).steps(&test.steps).await
    }
}

/// Who wrote the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Registry,
    Owner,
}

struct Run<'a> {
    client: &'a Client,
    hosts: &'a Hosts,
    asker: Asker,
    values: Arc<Values>,
    begun: Instant,
    has_retried: bool,
}

/// Without a wish of the provider's.
const PAUSE: Duration = Duration::from_millis(300);
/// Later, a second try would only cost the caller the first one's outcome.
const LAST_RETRY: Duration = Duration::from_secs(10);

impl<'a> Run<'a> {
    fn new(client: &'a Client, hosts: &'a Hosts, asker: Asker, values: Values) -> Self {
        Self { client, hosts, asker, values: Arc::new(values), begun: Instant::now(), has_retried: false }
    }

    /// What the last step that was asked says, and what all of them told.
    async fn steps(mut self, steps: &[Step]) -> Outcome {
        let kept = steps.iter().flat_map(|step| step.keep.iter().map(|(name, _)| name.as_str()));
        Arc::make_mut(&mut self.values).expect_made(kept);
        let mut learned = Learned::default();
        let mut last = Outcome::untested();
        for step in steps {
            let fits = |name: &str| self.values.get(name).unwrap_or_default();
            if !step.when.iter().all(|(name, pattern)| pattern.is_match(fits(name))) {
                continue;
            }
            let Judged { outcome, go_on, kept } = self.step(step).await;
            let limited = (last.verdict == Verdict::Ok && outcome.verdict == Verdict::Ok).then_some(last.reason);
            last = outcome;
            // What an earlier step could not see is not made good by a later one.
            if let (Some(limited), "") = (limited, last.reason.as_ref()) {
                last.reason = limited;
            }
            learned.add(std::mem::take(&mut last.learned));
            for (name, value) in kept {
                Arc::make_mut(&mut self.values).keep(&name, value);
            }
            if !go_on {
                break;
            }
        }
        last.learned = learned;
        last
    }

    /// Asks a second time where that may help, once in a run.
    async fn step(&mut self, step: &Step) -> Judged {
        let judged = self.ask(step).await;
        let Some(pause) = second_try(&judged.outcome, self.begun.elapsed()).filter(|_| !self.has_retried) else {
            return judged;
        };
        self.has_retried = true;
        tokio::time::sleep(pause).await;
        self.ask(step).await
    }

    /// Made anew each time: signatures and assertions are for once.
    async fn ask(&mut self, step: &Step) -> Judged {
        let request = match self.request(step).await {
            Ok(request) => request,
            Err(error) => return Judged::without_answer(not_sent(&error, &self.values)),
        };
        match self.client.send(request, self.hosts).await {
            Ok(response) => judge(step, &response, &self.values, SystemTime::now()),
            Err(error) => {
                let is_theirs = step.address.host_names().iter().any(|name| !self.values.is_registered(name));
                Judged::without_answer(unanswered(&error, is_theirs, self.asker))
            }
        }
    }

    async fn request(&mut self, step: &Step) -> Result<http::Request, NotSent> {
        let at = SystemTime::now();
        if let Some(assert) = step.assert.clone() {
            let name = assert.name.clone();
            let made = aside(&self.values, move |values| assertion(&assert, values, at)).await?;
            Arc::make_mut(&mut self.values).keep(&name, made);
        }
        let mut request = fill(step, &self.values)?;
        let Some(how) = step.sign.clone() else { return Ok(request) };
        let request = aside(&self.values, move |values| {
            sign(&how, &mut request, values, at)?;
            Ok(request)
        })
        .await?;
        if let Some(signature) = signature(&request) {
            Arc::make_mut(&mut self.values).keep(SIGNATURE, signature);
        }
        Ok(request)
    }
}

/// No template can say it.
const SIGNATURE: &str = "the signature";

/// For some minutes it lets whoever has it ask the same again: an answer must not bring it to light.
fn signature(request: &http::Request) -> Option<Zeroizing<String>> {
    let authorization = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, rest) = authorization.split_once("Signature=").or_else(|| authorization.split_once("signature=\""))?;
    Some(Zeroizing::new(rest.split('"').next()?.to_owned()))
}

impl Judged {
    const fn without_answer(outcome: Outcome) -> Self {
        Self { outcome, go_on: false, kept: Vec::new() }
    }
}

/// How long to wait for a second try, where there is a point in one.
fn second_try(outcome: &Outcome, elapsed: Duration) -> Option<Duration> {
    let pause = match outcome.verdict {
        Verdict::RateLimited => outcome.retry_after?,
        // A second timeout would take the time that is left.
        Verdict::ProviderUnreachable if outcome.reason != "timeout" => outcome.retry_after.unwrap_or(PAUSE).max(PAUSE),
        _ => return None,
    };
    Some(pause).filter(|pause| *pause <= LAST_RETRY && elapsed + *pause <= LAST_RETRY)
}

fn not_sent(error: &NotSent, values: &Values) -> Outcome {
    let hint = match error {
        NotSent::Unfit(Unfit::Missing(name)) if !values.is_given(name) => {
            let hint = "the provider answered without what its test goes on with: try again later";
            return Outcome::new(Verdict::ProviderUnreachable, "broken", hint);
        }
        NotSent::Unfit(Unfit::Missing(name)) => match name.strip_prefix("metadata.") {
            Some(key) => format!("the connection test needs {key}: give it with `strongroom metadata`"),
            None => format!("the connection test needs the field {name}, which this credential has not"),
        },
        NotSent::Unfit(Unfit::Value(name)) => format!("{name} does not fit where the connection test puts it"),
        NotSent::Unsigned(why) => why.clone(),
    };
    Outcome::new(Verdict::Misconfigured, "format", hint)
}

/// Whoever does not answer has refused nothing. `is_theirs` where the customer has a part in the host's name: only then
/// that there is none says something about the credential.
fn unanswered(error: &http::Error, is_theirs: bool, asker: Asker) -> Outcome {
    let unreachable = |reason| Outcome::new(Verdict::ProviderUnreachable, reason, error.to_string());
    let unseen = |reason| {
        let hint = format!("{error}: where providers are reached through a proxy, the operator sets outbound.proxy");
        Outcome::new(Verdict::ProviderUnreachable, reason, hint)
    };
    match error {
        http::Error::Forbidden { .. } => {
            let hint = match asker {
                Asker::Registry => error.to_string(),
                Asker::Owner => format!("{error}: the operator allows hosts with `outbound.owner_hosts`"),
            };
            Outcome::new(Verdict::Misconfigured, "endpoint", hint)
        }
        http::Error::NoSuchHost { .. } if is_theirs => {
            Outcome::new(Verdict::NotFound, "resource", format!("{error}: is the name right?"))
        }
        http::Error::NoSuchHost { .. } | http::Error::Dns { .. } => unseen("dns"),
        http::Error::Connect { .. } => unseen("connect"),
        http::Error::Tls { .. } => unreachable("tls"),
        http::Error::Timeout { .. } => unreachable("timeout"),
        http::Error::Broken { .. } | http::Error::TooLong { .. } => unreachable("broken"),
    }
}

#[cfg(test)]
mod tests;
