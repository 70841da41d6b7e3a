//! REST: the same handlers, at the paths that the protos state.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Query, RawPathParams, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, Router, on};
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use prost::bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::assemble::{self, Assembled};
use super::rpc::{Rpc, Rpcs, Rule};
use super::serve::{self, Handler};
use super::status::{self, Fault, Invalid};
use super::{Api, admin, credentials, explain, grants, keys, orgs, stepup};
use crate::vault::{Caller, Error};

/// The routes. An error is a fault of the protos or of the table below, and found by a test.
pub fn rest(api: Arc<Api>) -> Result<Router, Error> {
    let mut router = Router::new();
    for Route { rpc, rule, run } in routes(&api.rpcs, table())? {
        let api = Arc::clone(&api);
        let filter = MethodFilter::try_from(rule.method).map_err(Error::bug)?;
        let handler = move |request: Request| answer(api, rpc, rule.body, run, request);
        router = router.route(&rule.path, on(filter, handler));
    }
    Ok(walled(router))
}

/// The handlers by rpc.
fn table() -> Table {
    let mut table = Table::default();
    table.add("SetupCredential", credentials::setup_credential);
    table.add("ValidateCredential", credentials::validate_credential);
    table.add("ListCredentials", credentials::list_credentials);
    table.add("GetCredential", credentials::get_credential);
    table.add("DeleteCredential", credentials::delete_credential);
    table.add("UndeleteCredential", credentials::undelete_credential);
    table.add("UpdateMetadata", credentials::update_metadata);
    table.add("DecryptCredential", credentials::decrypt_credential);
    table.add("BatchDecrypt", credentials::batch_decrypt);
    table.add("ListVersions", credentials::list_versions);
    table.add("ActivateVersion", credentials::activate_version);
    table.add("IssueToken", admin::issue_token);
    table.add("DeriveToken", admin::derive_token);
    table.add("RotateToken", admin::rotate_token);
    table.add("RevokeToken", admin::revoke_token);
    table.add("ListTokens", admin::list_tokens);
    table.add("ListAudit", admin::list_audit);
    table.add("VerifyAudit", admin::verify_audit);
    table.add("GetAuditKey", admin::get_audit_key);
    table.add("RotateAuditKey", admin::rotate_audit_key);
    table.add("ListProviders", admin::list_providers);
    table.add("ListKeys", keys::list_keys);
    table.add("DestroyOrg", orgs::destroy_org);
    table.add("RestoreOrg", orgs::restore_org);
    table.add("ListOrgDestructions", orgs::list_org_destructions);
    table.add("ExplainPolicy", explain::explain_policy);
    table.add("EnrolSecondFactor", stepup::enrol_second_factor);
    table.add("ConfirmSecondFactor", stepup::confirm_second_factor);
    table.add("RemoveSecondFactor", stepup::remove_second_factor);
    table.add("ListSecondFactors", stepup::list_second_factors);
    table.add("ListApprovals", stepup::list_approvals);
    table.add("ApproveRequest", stepup::approve_request);
    table.add("RejectRequest", stepup::reject_request);
    table.add("MintGrant", grants::mint_grant);
    table.add("ListGrants", grants::list_grants);
    table.add("RevokeGrant", grants::revoke_grant);
    table
}

/// A handler that takes a request's fields and answers JSON.
type Run =
    Arc<dyn Fn(Arc<Api>, Arc<Rpc>, Caller, Assembled<'_>) -> BoxFuture<'static, Result<Vec<u8>, Fault>> + Send + Sync>;

#[derive(Default)]
struct Table(BTreeMap<&'static str, Run>);

impl Table {
    fn add<Message, Reply, H>(&mut self, rpc: &'static str, handler: H)
    where
        Message: prost::Message + DeserializeOwned + 'static,
        Reply: Serialize + Send + 'static,
        H: for<'a> Handler<'a, Message, Reply>,
    {
        let run: Run = Arc::new(move |api, rpc, caller, fields| {
            // Decoded before the future is made: the body's text is let go before the handler waits for anything.
            let message = fields.decode::<Message>();
            Box::pin(async move { encode(&serve::run(api, &rpc, caller, message?, handler).await?) })
        });
        self.0.insert(rpc, run);
    }
}

struct Route {
    rpc: Arc<Rpc>,
    rule: Rule,
    run: Run,
}

/// Every rpc with an http rule has a handler here, and every handler such an rpc.
fn routes(rpcs: &Rpcs, Table(mut table): Table) -> Result<Vec<Route>, Error> {
    let mut routes = Vec::new();
    for rpc in rpcs.iter() {
        let Some(rule) = rpc.http.clone() else { continue };
        let run = table.remove(rpc.name.as_str());
        let run = run.ok_or_else(|| Error::bug(format!("{} has a path and no REST handler", rpc.name)))?;
        routes.push(Route { rpc: Arc::clone(rpc), rule, run });
    }
    match table.keys().next() {
        Some(name) => Err(Error::bug(format!("{name} has a REST handler and no path"))),
        None => Ok(routes),
    }
}

async fn answer(api: Arc<Api>, rpc: Arc<Rpc>, takes_body: bool, run: Run, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    serve::mark(&rpc, &parts.extensions);
    let request_id = serve::request_id(&parts.headers);
    let path = path(&mut parts).await;
    let query = query(&parts);
    let result = api
        .serve(&rpc, serve::from(&parts.extensions), &parts.headers, &request_id, |caller| async {
            let (path, query) = (path?, query?);
            let body = read(&parts, body, api.settings.request_bytes).await?;
            if !takes_body && !body.is_empty() {
                return Err(Invalid::new("body", "is not taken by this method").into());
            }
            let parts = assemble::Parts { path: &path, query: &query, body: &body };
            let answer = run(Arc::clone(&api), Arc::clone(&rpc), caller, Assembled::new(&rpc.request, parts)?);
            drop(body);
            answer.await
        })
        .await;
    let mut response = match result {
        Ok(json) => ([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))], json).into_response(),
        Err(fault) => status::rest(&fault, &request_id),
    };
    response.headers_mut().insert(serve::REQUEST_ID, serve::request_id_header(&request_id));
    response
}

const JSON: &str = "application/json";

async fn path(parts: &mut Parts) -> Result<Vec<(String, String)>, Invalid> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| Invalid::new("path", "must be UTF-8"))?;
    Ok(params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn query(parts: &Parts) -> Result<Vec<(String, String)>, Invalid> {
    let Query(query) =
        Query::try_from_uri(&parts.uri).map_err(|_| Invalid::new("query", "must be name=value pairs"))?;
    Ok(query)
}

/// The whole body, once it is known to be JSON and not too long.
async fn read(parts: &Parts, body: Body, limit: usize) -> Result<Bytes, Fault> {
    let claimed = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if claimed.is_some_and(|claimed: u64| claimed > limit as u64) {
        return Err(Fault::TooLarge { limit });
    }
    let body = Limited::new(body, limit).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
        true => Fault::TooLarge { limit },
        false => Invalid::new("body", "was cut off").into(),
    })?;
    let body = body.to_bytes();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match body.is_empty() || essence.eq_ignore_ascii_case(JSON) {
        true => Ok(body),
        false => Err(Fault::MediaType),
    }
}

/// The messages' own forms always serialise; only a secret may not be text.
fn encode(reply: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(reply).map_err(|_| Error::invalid("secret", "is no text; read it over gRPC").into())
}

/// What holds for every answer: unknown paths and methods are problems like any other, and nobody keeps a copy.
fn walled(router: Router) -> Router {
    router
        .fallback(|parts: Parts| refuse(parts, Fault::NoRoute))
        .method_not_allowed_fallback(|parts: Parts| refuse(parts, Fault::NoMethod))
        .layer(axum::middleware::map_response(|mut response: Response| async {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }))
}

async fn refuse(parts: Parts, fault: Fault) -> Response {
    let request_id = serve::request_id(&parts.headers);
    let mut response = status::rest(&fault, &request_id);
    response.headers_mut().insert(serve::REQUEST_ID, serve::request_id_header(&request_id));
    response
}

#[cfg(test)]
mod tests;
