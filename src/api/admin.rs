//! AdminService: one handler per rpc.

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::status::Fault;
use super::{Api, convert};
use crate::authn::token::{Derive, Issue};
use crate::pb::v1 as pb;
use crate::vault::{
    AuditFound, AuditKeyInfo, AuditQuery, Caller, ChainReport, Error, Field, Provider, ProviderLimits, Record, Rotated,
};

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
    let AuditFound { records, next, more, pruned } = api.vault.audit(caller, query(request)?).await?;
    Ok(pb::ListAuditResponse {
        records: records.into_iter().map(record).collect(),
        next_page_token: next,
        more,
        pruned,
    })
}

fn query(request: pb::ListAuditRequest) -> Result<AuditQuery, Fault> {
    Ok(AuditQuery {
        credential_id: convert::uuid("credential_id", &request.credential_id)?,
        grant: convert::uuid("grant", &request.grant)?,
        since: request.since.map(|time| convert::time("since", time)).transpose()?,
        until: request.until.map(|time| convert::time("until", time)).transpose()?,
        org: convert::given(request.org),
        action: convert::given(request.action),
        outcome: convert::given(request.outcome),
        caller: convert::given(request.caller),
        run: convert::given(request.run),
        page_size: request.page_size,
        page_token: request.page_token,
        descending: request.descending,
    })
}

/// What an export answers.
pub struct Pieces(pub BoxStream<'static, Result<pb::ExportAuditResponse, Error>>);

/// The stream ends when the daemon drains, without the line that ends a whole export.
pub async fn export_audit(api: &Api, caller: &Caller, request: pb::ExportAuditRequest) -> Result<Pieces, Fault> {
    let page = pb::ListAuditRequest {
        page_size: 0,
        page_token: String::new(),
        descending: false,
        ..request.filter.unwrap_or_default()
    };
    let pieces = api.vault.export_audit(caller, query(page)?, request.known_sizes).await?;
    let pieces = pieces.map(|piece| piece.map(|lines| pb::ExportAuditResponse { lines }));
    Ok(Pieces(pieces.take_until(api.closed()).boxed()))
}

/// What an export of the vault answers.
pub struct Chunks(pub BoxStream<'static, Result<pb::ExportVaultResponse, Error>>);

/// The stream ends when the daemon drains, without the line that ends a whole export.
pub async fn export_vault(api: &Api, caller: &Caller, _: pb::ExportVaultRequest) -> Result<Chunks, Fault> {
    let chunks = api.vault.export_vault(caller).await?;
    let chunks = chunks.map(|chunk| chunk.map(|chunk| pb::ExportVaultResponse { chunk }));
    Ok(Chunks(chunks.take_until(api.closed()).boxed()))
}

pub async fn get_audit_key(
    api: &Api,
    caller: &Caller,
    _: pb::GetAuditKeyRequest,
) -> Result<pb::GetAuditKeyResponse, Fault> {
    let keys = api.vault.audit_keys(caller).await?;
    Ok(pb::GetAuditKeyResponse { keys: keys.into_iter().map(audit_key).collect() })
}

pub async fn rotate_audit_key(
    api: &Api,
    caller: &Caller,
    _: pb::RotateAuditKeyRequest,
) -> Result<pb::RotateAuditKeyResponse, Fault> {
    let keys = api.vault.rotate_audit_key(caller).await?;
    Ok(pb::RotateAuditKeyResponse { keys: keys.into_iter().map(audit_key).collect() })
}

fn audit_key(key: AuditKeyInfo) -> pb::AuditKey {
    pb::AuditKey { verifier: key.verifier, created_at: Some(convert::wire_time(key.created_at)) }
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
        proof: draft.proof,
        address: draft.address,
        run: draft.run,
        phase: draft.phase,
        grant: draft.grant.map(|id| id.to_string()).unwrap_or_default(),
        before: draft.before,
        after: draft.after,
        alike: draft.alike,
        approval: draft.approval.map(|id| id.to_string()).unwrap_or_default(),
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
        pruned: report.pruned,
        checkpoints: report.checkpoints,
        covered: report.covered,
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
