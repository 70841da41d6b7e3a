//! AdminService: one handler per rpc.

use data_encoding::HEXLOWER;

use super::status::Fault;
use super::{Api, convert};
use crate::authn::token::{Derive, Issue};
use crate::pb::v1 as pb;
use crate::vault::{AuditQuery, Caller, ChainReport, Field, Provider, ProviderLimits, Record, Rotated};

pub async fn issue_token(
    api: &Api,
    caller: &Caller,
    request: pb::IssueTokenRequest,
) -> Result<pb::IssueTokenResponse, Fault> {
    let issue = Issue {
        name: request.name,
        role: request.role,
        org: request.org,
        projects: request.projects,
        providers: request.providers,
        actions: request.actions,
        ttl: request.ttl.map(|ttl| convert::duration("ttl", ttl)).transpose()?,
    };
    let (token, info) = api.tokens.issue(caller, issue).await?;
    Ok(pb::IssueTokenResponse { token: Some(token), info: Some(info.into()) })
}

pub async fn derive_token(
    api: &Api,
    caller: &Caller,
    request: pb::DeriveTokenRequest,
) -> Result<pb::DeriveTokenResponse, Fault> {
    let derive = Derive {
        name: request.name,
        org: request.org,
        projects: request.projects,
        providers: request.providers,
        actions: request.actions,
        ttl: request.ttl.map(|ttl| convert::duration("ttl", ttl)).transpose()?,
    };
    let (token, info) = api.tokens.derive(caller, derive).await?;
    Ok(pb::DeriveTokenResponse { token: Some(token), info: Some(info.into()) })
}

pub async fn rotate_token(
    api: &Api,
    caller: &Caller,
    request: pb::RotateTokenRequest,
) -> Result<pb::RotateTokenResponse, Fault> {
    let overlap = request.overlap.map(|overlap| convert::duration("overlap", overlap)).transpose()?;
    let Rotated { secret, token, replaced } = api.tokens.rotate(caller, &request.id, overlap).await?;
    Ok(pb::RotateTokenResponse { token: Some(secret), info: Some(token.into()), replaced: Some(replaced.into()) })
}

pub async fn revoke_token(
    api: &Api,
    caller: &Caller,
    request: pb::RevokeTokenRequest,
) -> Result<pb::RevokeTokenResponse, Fault> {
    let info = api.tokens.revoke(caller, &request.id).await?;
    Ok(pb::RevokeTokenResponse { info: Some(info.into()) })
}

pub async fn list_tokens(
    api: &Api,
    caller: &Caller,
    request: pb::ListTokensRequest,
) -> Result<pb::ListTokensResponse, Fault> {
    let tokens = api.tokens.list(caller, convert::given(request.org).as_deref()).await?;
    Ok(pb::ListTokensResponse { tokens: tokens.into_iter().map(Into::into).collect() })
}

pub async fn list_audit(
    api: &Api,
    caller: &Caller,
    request: pb::ListAuditRequest,
) -> Result<pb::ListAuditResponse, Fault> {
    let query = AuditQuery {
        credential_id: convert::uuid("credential_id", &request.credential_id)?,
        org: convert::given(request.org),
        action: convert::given(request.action),
        outcome: convert::given(request.outcome),
        caller: convert::given(request.caller),
        page_size: request.page_size,
        page_token: request.page_token,
        descending: request.descending,
    };
    let page = api.vault.audit(caller, query).await?;
    Ok(pb::ListAuditResponse { records: page.items.into_iter().map(record).collect(), next_page_token: page.next })
}

pub async fn verify_audit(
    api: &Api,
    caller: &Caller,
    _: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Fault> {
    let chains = api.vault.verify_audit(caller).await?;
    Ok(pb::VerifyAuditResponse {
        intact: chains.iter().all(|chain| chain.broken.is_none()),
        records: chains.iter().map(|chain| chain.records).sum(),
        chains: chains.into_iter().map(chain).collect(),
    })
}

pub async fn list_providers(
    api: &Api,
    caller: &Caller,
    request: pb::ListProvidersRequest,
) -> Result<pb::ListProvidersResponse, Fault> {
    let providers = api.vault.providers(caller, convert::given(request.provider).as_deref()).await?;
    Ok(pb::ListProvidersResponse { providers: providers.iter().map(|entry| provider(entry)).collect() })
}

fn record(record: Record) -> pb::AuditRecord {
    let draft = record.draft;
    pb::AuditRecord {
        instance: record.instance,
        sequence: record.sequence,
        at: Some(convert::wire_time(draft.at)),
        caller: draft.caller,
        caller_name: draft.caller_name,
        action: draft.action,
        outcome: draft.outcome,
        org: draft.org,
        project: draft.project,
        provider: draft.provider,
        name: draft.name,
        credential_id: draft.credential_id.map(|id| id.to_string()).unwrap_or_default(),
        version: draft.version.unwrap_or_default(),
        fingerprint: draft.fingerprint,
        request_id: draft.request_id,
        policies: draft.policies,
        hash: HEXLOWER.encode(&record.hash),
        canonical: record.canonical,
    }
}

fn chain(report: ChainReport) -> pb::AuditChain {
    let (broken_at, fault) = report.broken.unwrap_or_default();
    pb::AuditChain {
        instance: report.instance,
        records: report.records,
        head: HEXLOWER.encode(&report.head),
        broken_at,
        fault: fault.into(),
    }
}

fn provider(entry: &Provider) -> pb::Provider {
    pb::Provider {
        id: entry.id.clone(),
        title: entry.title.clone(),
        category: entry.category.as_str().into(),
        class: entry.class.as_str().into(),
        docs: entry.docs.clone(),
        fingerprint: entry.fingerprint.as_str().into(),
        seal: entry.seal.as_str().into(),
        fields: entry.fields.iter().map(field).collect(),
        either: entry.either.iter().map(|group| pb::FieldGroup { fields: group.clone() }).collect(),
        other_fields: entry.takes_other_fields(),
        document_shapes: entry.document_shapes().into_iter().map(Into::into).collect(),
        document_field: entry.document_field().unwrap_or_default().into(),
        public_identity: entry.public_identity().to_vec(),
        test: entry.test_summary(),
        limits: Some(limits(entry.limits)),
        rotation_days: entry.rotation_days.unwrap_or_default(),
        environment: entry.environment.clone(),
        metadata: Some(convert::wire_metadata(entry.metadata_schema())),
    }
}

fn field(field: &Field) -> pb::ProviderField {
    pb::ProviderField {
        name: field.name.clone(),
        secret: field.secret,
        required: field.required,
        example: field.example.clone(),
        must_be: field.must_be.clone().unwrap_or_default(),
        aliases: field.aliases().to_vec(),
        shape: field.shape().into(),
    }
}

const fn limits(limits: ProviderLimits) -> pb::ProviderLimits {
    pb::ProviderLimits { per_minute: limits.per_minute, burst: limits.burst, at_once: limits.at_once }
}
