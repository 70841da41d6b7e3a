//! What every request gets, whichever transport it came by: an id, a deadline, a caller, a measurement, and a fault that
//! stays its own even when the handler panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use metrics::counter;
use tracing::Instrument as _;
use uuid::Uuid;

use super::listen::{CarriedSecret, Guest};
use super::rpc::Rpc;
use super::status::{self, Fault};
use super::{Api, digest};
use crate::authn::{Peer, Presented};
use crate::vault::{Caller, Error};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRANT: HeaderName = HeaderName::from_static("strongroom-grant");
const CODE: HeaderName = HeaderName::from_static("strongroom-code");
const APPROVAL: HeaderName = HeaderName::from_static("strongroom-approval");

/// A handler: one per rpc, the same for gRPC and REST. Implemented by every function of this form, so that a wrapper can
/// demand that its future may move between threads.
pub trait Handler<'a, Request, Reply>: Send + Sync + Copy + 'static {
    type Answer: Future<Output = Result<Reply, Fault>> + Send + 'a;

    fn call(self, api: &'a Api, caller: &'a Caller, request: Request) -> Self::Answer;
}

impl<'a, F, Request, Reply, Answer> Handler<'a, Request, Reply> for F
where
    F: Fn(&'a Api, &'a Caller, Request) -> Answer + Send + Sync + Copy + 'static,
    Answer: Future<Output = Result<Reply, Fault>> + Send + 'a,
{
    type Answer = Answer;

    fn call(self, api: &'a Api, caller: &'a Caller, request: Request) -> Answer {
        self(api, caller, request)
    }
}

/// Runs a handler. A change that was begun is finished, even when the client goes away or the deadline passes: between
/// its commit and its end there are caches to be told.
pub async fn run<Message, Reply, H>(
    api: Arc<Api>,
    rpc: &Rpc,
    mut caller: Caller,
    message: Message,
    handler: H,
) -> Result<Reply, Fault>
where
    Message: prost::Message + 'static,
    Reply: Send + 'static,
    H: for<'a> Handler<'a, Message, Reply>,
{
    let named = caller.circumstances.named_approval;
    if named.is_some() || api.vault.weighs_approvals() {
        caller.circumstances.request = Some(digest::of(rpc, &message)?);
    }
    let work = async move {
        if let (Some(id), Some(request)) = (named, caller.circumstances.request) {
            api.vault.use_approval(&caller, id, request).await?;
            caller.circumstances.approval = named;
        }
        handler.call(&api, &caller, message).await
    };
    match rpc.changes {
        // Boxed, here and elsewhere: tokio compiles what it is given as it is several times over.
        true => tokio::spawn(work.in_current_span().boxed()).await.unwrap_or_else(|_| Err(panicked())),
        false => work.await,
    }
}

fn panicked() -> Fault {
    Error::bug("a handler panicked").into()
}

impl Api {
    /// Authenticates by connection and headers alone, then does the work (reading the body is part of it), all within the deadline.
    pub(super) async fn serve<T, W>(
        &self,
        rpc: &Rpc,
        from: From,
        headers: &HeaderMap,
        request_id: &str,
        work: impl FnOnce(Caller) -> W + Send,
    ) -> Result<T, Fault>
    where
        W: Future<Output = Result<T, Fault>> + Send,
    {
        let started = Instant::now();
        let walk = async {
            let (peer, guest) = from.ok_or_else(|| Error::bug("a request came over no connection of ours"))?;
            let presented = presented(headers, &peer);
            let mut caller = self.authenticator.authenticate(presented, request_id.to_owned()).await?;
            guest.prove();
            caller.turn = self.vault.take_turn(&caller, rpc.action).await?;
            match work(caller.clone()).await {
                Err(fault) => Err(self.record(rpc, &caller, fault).await),
                done => done,
            }
        };
        // One connection carries many requests: a panic must not take the others down. Nothing that the handler held is
        // used again. The panic's own words may hold anything, so they are not repeated.
        let walk = AssertUnwindSafe(walk).catch_unwind().map(|done| done.unwrap_or_else(|_| Err(panicked())));
        let span = tracing::debug_span!("rpc", rpc = rpc.name, request_id);
        let result = tokio::time::timeout(deadline(headers, self.settings.deadline), walk.instrument(span))
            .await
            .unwrap_or(Err(Fault::Deadline));
        self.measure(rpc, started.elapsed(), &result);
        if let Err(Fault::Vault(error)) = &result {
            status::report(&rpc.name, request_id, error);
        }
        result
    }

    /// What was refused before the vault saw it is on record too. When it cannot be recorded, that is the answer.
    async fn record(&self, rpc: &Rpc, caller: &Caller, fault: Fault) -> Fault {
        let Some(invalid) = fault.of_request() else { return fault };
        match self.vault.refused(caller, rpc.action, invalid.into()).await {
            Error::Invalid { .. } => fault,
            unrecorded => unrecorded.into(),
        }
    }

    fn measure<T>(&self, rpc: &Rpc, took: Duration, result: &Result<T, Fault>) {
        rpc.seconds.record(took);
        match result {
            Ok(_) => rpc.served.increment(1),
            Err(fault) => {
                let outcome = fault.line().reason;
                counter!("strongroom_requests_total", "rpc" => rpc.name.clone(), "outcome" => outcome).increment(1);
            }
        }
    }
}

/// The connection that a request came over.
pub type From = Option<(Peer, Arc<Guest>)>;

pub fn from(extensions: &http::Extensions) -> From {
    Some((extensions.get::<Peer>()?.clone(), Arc::clone(extensions.get::<Arc<Guest>>()?)))
}

/// Tells the connection that its buffers hold a secret, before anything can go wrong.
pub fn mark(rpc: &Rpc, extensions: &http::Extensions) {
    if let Some(connection) = extensions.get::<CarriedSecret>().filter(|_| rpc.carries_secret) {
        connection.mark();
    }
}

/// The client's own id, when it is one that logs can bear: as long as a UUID at most, which nearly every key is longer
/// than. Else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=36).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let theirs = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    theirs.map_or_else(|| Uuid::now_v7().to_string(), Into::into)
}

/// The id as a header. Ids are made or checked by [`request_id`], so it always is one.
pub fn request_id_header(request_id: &str) -> HeaderValue {
    HeaderValue::from_str(request_id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn presented<'a>(headers: &'a HeaderMap, peer: &'a Peer) -> Presented<'a> {
    Presented {
        authorization: only(headers, &header::AUTHORIZATION),
        grant: only(headers, &GRANT),
        code: only(headers, &CODE),
        approval: only(headers, &APPROVAL),
        peer,
    }
}

/// Two proofs are a bad one: which of them counts is not for us to choose. Bad is not absent, or else the connection
/// would speak for somebody who wanted to be somebody else.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let only = values.next()?;
    match values.next() {
        None => Some(only.to_str().unwrap_or_default()),
        Some(_) => Some(""),
    }
}

/// The configured deadline, or the client's `grpc-timeout` when that is sooner.
fn deadline(headers: &HeaderMap, configured: Duration) -> Duration {
    let asked = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(timeout);
    asked.map_or(configured, |asked| asked.min(configured))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 defines it.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(request_id(&headers(&[("x-request-id", "run-7.a_B")])), "run-7.a_B");
        let long = "x".repeat(37);
        for hostile in ["", "a b", "a\tb", "é", "{}", "a\u{7f}".trim_end_matches('\u{7f}').repeat(65).as_str(), &long]
        {
            let id = request_id(&headers(&[("x-request-id", hostile)]));
            assert_eq!(Uuid::parse_str(&id).map(|id| id.get_version_num()), Ok(7), "{hostile}");
        }
    }

    #[test]
    fn the_sooner_deadline_counts() {
        let configured = Duration::from_secs(30);
        for (asked, expected) in [
            ("5S", Duration::from_secs(5)),
            ("250m", Duration::from_millis(250)),
            ("1n", Duration::from_nanos(1)),
            ("99999999H", configured),
            ("100000000n", configured),
            ("S", configured),
            ("5", configured),
            ("-5S", configured),
            ("5é", configured),
        ] {
            assert_eq!(deadline(&headers(&[("grpc-timeout", asked)]), configured), expected, "{asked}");
        }
        assert_eq!(deadline(&headers(&[]), configured), configured);
    }

    #[test]
    fn two_authorizations_are_a_bad_one() {
        let authorization =
            |pairs: &[(&'static str, &str)]| only(&headers(pairs), &header::AUTHORIZATION).map(str::to_owned);
        assert_eq!(authorization(&[]), None);
        assert_eq!(authorization(&[("authorization", "Bearer a")]).as_deref(), Some("Bearer a"));
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(authorization(&twice).as_deref(), Some(""));
        let mut odd = HeaderMap::new();
        odd.insert("authorization", HeaderValue::from_bytes("Bearer ä".as_bytes()).unwrap());
        assert_eq!(only(&odd, &header::AUTHORIZATION), Some(""));
    }

    #[test]
    fn two_codes_are_there_and_no_good() {
        let code = |pairs: &[(&'static str, &str)]| only(&headers(pairs), &CODE).map(str::to_owned);
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[("strongroom-code", "123456")]).as_deref(), Some("123456"));
        assert_eq!(code(&[("strongroom-code", "123456"), ("strongroom-code", "123456")]).as_deref(), Some(""));
        assert_eq!(code(&[("strongroom-code", "１２３４５６")]).as_deref(), Some(""));
    }
}
