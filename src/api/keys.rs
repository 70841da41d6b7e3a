//! Keys: what is wrapped under them, and moving it; and sealing anew.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{Api, convert};
use crate::api::status::Fault;
use crate::pb::v1 as pb;
use crate::vault::{Caller, Error, Holders, KeyInUse, Left, Progress, Reseal, Rewrap};

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

/// What a rewrap or a reseal answers.
pub struct News<T>(pub BoxStream<'static, Result<T, Error>>);

/// The stream ends when the daemon drains, without the message that says that it is done; the rewrap stops with it.
pub async fn rewrap(api: &Api, caller: &Caller, request: pb::RewrapRequest) -> Result<News<pb::RewrapResponse>, Fault> {
    let request = Rewrap {
        to: convert::given(request.to),
        from: convert::given(request.from),
        org: convert::given(request.org),
        rate: request.rate,
        dry_run: request.dry_run,
    };
    let news = Arc::clone(&api.vault).rewrap(caller, request).await?;
    Ok(until_closed(api, news, rewrapped))
}

/// As [`rewrap`].
pub async fn reseal(api: &Api, caller: &Caller, request: pb::ResealRequest) -> Result<News<pb::ResealResponse>, Fault> {
    let request = Reseal {
        org: convert::given(request.org),
        provider: convert::given(request.provider),
        rate: request.rate,
        dry_run: request.dry_run,
    };
    let news = Arc::clone(&api.vault).reseal(caller, request).await?;
    Ok(until_closed(api, news, resealed))
}

fn until_closed<T: 'static>(
    api: &Api,
    news: BoxStream<'static, Result<Progress, Error>>,
    shown: fn(Progress) -> T,
) -> News<T> {
    News(news.map(move |news| news.map(shown)).take_until(api.closed()).boxed())
}

fn rewrapped(news: Progress) -> pb::RewrapResponse {
    let Progress { total, moved, gone, failed, failures, done } = news;
    let failures = failures.into_iter().map(|Left { holder, under, why }| {
        let (key, key_version) = under.map(|under| (under.key, under.version)).unwrap_or_default();
        pb::RewrapFailure { what: holder.to_string(), key, key_version, why }
    });
    pb::RewrapResponse { total, moved, gone, failed, failures: failures.collect(), done }
}

fn resealed(news: Progress) -> pb::ResealResponse {
    let Progress { total, moved, gone, failed, failures, done } = news;
    let failures = failures.into_iter();
    let failures = failures.map(|Left { holder, why, .. }| pb::ResealFailure { what: holder.to_string(), why });
    pb::ResealResponse { total, moved, gone, failed, failures: failures.collect(), done }
}
