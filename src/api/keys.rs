//! Keys: what is wrapped under them, and moving it.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{Api, convert};
use crate::api::status::Fault;
use crate::pb::v1 as pb;
use crate::vault::{Caller, Error, Holders, KeyInUse, NotRewrapped, Rewrap, Rewrapped};

pub async fn list_keys(
    api: &Api,
    caller: &Caller,
    request: pb::ListKeysRequest,
) -> Result<pb::ListKeysResponse, Fault> {
    let keys = api.vault.keys(caller, request.by_org).await?;
    Ok(pb::ListKeysResponse { keys: keys.into_iter().map(key).collect() })
}

fn key(key: KeyInUse) -> pb::Key {
    pb::Key {
        key: key.key,
        version: key.version,
        configured: key.configured,
        default: key.default,
        orgs: key.owners,
        recovery: key.recovery,
        held: Some(held(key.held)),
        by_org: key.by_org.into_iter().map(|(org, of_org)| (org, held(of_org))).collect(),
    }
}

const fn held(held: Holders) -> pb::KeyHolders {
    let Holders { versions, org_keys, audit_keys, factors } = held;
    pb::KeyHolders { versions, org_keys, audit_keys, second_factors: factors }
}

/// What a rewrap answers.
pub struct News(pub BoxStream<'static, Result<pb::RewrapResponse, Error>>);

/// The stream ends when the daemon drains, without the message that says that it is done; the rewrap stops with it.
pub async fn rewrap(api: &Api, caller: &Caller, request: pb::RewrapRequest) -> Result<News, Fault> {
    let request = Rewrap {
        to: convert::given(request.to),
        from: convert::given(request.from),
        org: convert::given(request.org),
        rate: request.rate,
        dry_run: request.dry_run,
    };
    let news = Arc::clone(&api.vault).rewrap(caller, request).await?;
    let news = news.map(|news| news.map(progress));
    Ok(News(news.take_until(api.closed()).boxed()))
}

fn progress(news: Rewrapped) -> pb::RewrapResponse {
    let Rewrapped { total, moved, gone, failed, failures, done } = news;
    pb::RewrapResponse { total, moved, gone, failed, failures: failures.into_iter().map(failure).collect(), done }
}

fn failure(failure: NotRewrapped) -> pb::RewrapFailure {
    pb::RewrapFailure {
        what: failure.holder.to_string(),
        key: failure.under.key,
        key_version: failure.under.version,
        why: failure.why,
    }
}
