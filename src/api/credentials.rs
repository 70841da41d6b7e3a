//! CredentialService: one handler per rpc.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use jiff::Timestamp;

use super::status::{self, Fault, Invalid};
use super::{Api, convert, words};
use crate::crypto::Secret;
use crate::pb::v1 as pb;
use crate::vault::{
    Activate, Caller, ChangeEvent, Decrypt, Delete, Error, List, Path, Seen, Setup, Update, Upload, Validate, Vault,
    Watch,
};

pub async fn setup_credential(
    api: &Api,
    caller: &Caller,
    request: pb::SetupCredentialRequest,
) -> Result<pb::SetupCredentialResponse, Fault> {
    let upload = upload(request.fields, request.document);
    let setup = Setup {
        path: convert::path(request.org, request.project, request.provider, request.name),
        upload: upload.ok_or_else(|| Invalid::new("fields", "give the upload, as fields or as a document"))?,
        metadata: request.metadata.map(convert::metadata).transpose()?,
        labels: (!request.labels.is_empty()).then_some(request.labels),
        expires_at: request.expires_at.map(|time| convert::time("expires_at", time)).transpose()?,
        no_probe: request.no_probe,
        etag: convert::given(request.etag),
    };
    let done = api.vault.setup(caller, setup).await?;
    Ok(pb::SetupCredentialResponse {
        credential: shown(&api.vault, done.credential),
        version: Some(done.version.into()),
        probe: Some(done.probe.into()),
    })
}

pub async fn validate_credential(
    api: &Api,
    caller: &Caller,
    request: pb::ValidateCredentialRequest,
) -> Result<pb::ValidateCredentialResponse, Fault> {
    let validate = Validate {
        upload: upload(request.fields, request.document),
        metadata: request.metadata.map(convert::metadata).transpose()?,
        path: convert::path(request.org, request.project, request.provider, request.name),
    };
    let validated = api.vault.validate(caller, validate).await?;
    Ok(pb::ValidateCredentialResponse {
        probe: Some(convert::outcome(validated.probe, validated.at)),
        fingerprint: validated.fingerprint,
        public_identity: validated.public_identity,
        credential: validated.credential.and_then(|row| shown(&api.vault, row)),
    })
}

pub async fn list_credentials(
    api: &Api,
    caller: &Caller,
    request: pb::ListCredentialsRequest,
) -> Result<pb::ListCredentialsResponse, Fault> {
    let list = List {
        org: request.org,
        project: convert::given(request.project),
        provider: convert::given(request.provider),
        state: words::state("state", &request.state)?,
        health: words::state("health", &request.health)?,
        labels: request.labels,
        page_size: request.page_size,
        page_token: request.page_token,
    };
    let page = api.vault.list(caller, list).await?;
    Ok(pb::ListCredentialsResponse {
        credentials: page.items.into_iter().filter_map(|row| shown(&api.vault, row)).collect(),
        next_page_token: page.next,
    })
}

pub async fn get_credential(
    api: &Api,
    caller: &Caller,
    request: pb::GetCredentialRequest,
) -> Result<pb::GetCredentialResponse, Fault> {
    let path = convert::path(request.org, request.project, request.provider, request.name);
    let Seen { credential, tests } = api.vault.get(caller, &path).await?;
    let tests = tests.into_iter().map(Into::into).collect();
    Ok(pb::GetCredentialResponse { credential: shown(&api.vault, credential), tests })
}

pub async fn delete_credential(
    api: &Api,
    caller: &Caller,
    request: pb::DeleteCredentialRequest,
) -> Result<pb::DeleteCredentialResponse, Fault> {
    let destroy_after = request.destroy_after.map(|delay| convert::duration("destroy_after", delay)).transpose()?;
    let delete = Delete {
        path: convert::path(request.org, request.project, request.provider, request.name),
        etag: convert::given(request.etag),
        destroy_after: destroy_after.filter(|delay| !delay.is_zero()),
    };
    Ok(pb::DeleteCredentialResponse { credential: shown(&api.vault, api.vault.delete(caller, delete).await?) })
}

pub async fn undelete_credential(
    api: &Api,
    caller: &Caller,
    request: pb::UndeleteCredentialRequest,
) -> Result<pb::UndeleteCredentialResponse, Fault> {
    let path = convert::path(request.org, request.project, request.provider, request.name);
    Ok(pb::UndeleteCredentialResponse { credential: shown(&api.vault, api.vault.undelete(caller, &path).await?) })
}

pub async fn update_metadata(
    api: &Api,
    caller: &Caller,
    request: pb::UpdateMetadataRequest,
) -> Result<pb::UpdateMetadataResponse, Fault> {
    let update = Update {
        path: convert::path(request.org, request.project, request.provider, request.name),
        metadata: request.metadata.map(convert::metadata).transpose()?,
        labels: request.labels.map(|labels| labels.labels),
        disabled: request.disabled,
        etag: convert::given(request.etag),
    };
    Ok(pb::UpdateMetadataResponse { credential: shown(&api.vault, api.vault.update_metadata(caller, update).await?) })
}

pub async fn decrypt_credential(
    api: &Api,
    caller: &Caller,
    request: pb::DecryptCredentialRequest,
) -> Result<pb::DecryptCredentialResponse, Fault> {
    let path = convert::path(request.org, request.project, request.provider, request.name);
    Ok(api.vault.decrypt(caller, Decrypt { path, fresh: request.fresh }).await?.into())
}

pub async fn batch_decrypt(
    api: &Api,
    caller: &Caller,
    request: pb::BatchDecryptRequest,
) -> Result<pb::BatchDecryptResponse, Fault> {
    let named =
        |named: pb::CredentialRef| convert::path(request.org.clone(), named.project, named.provider, named.name);
    let paths: Vec<Path> = request.credentials.into_iter().map(named).collect();
    let answers = api.vault.decrypt_batch(caller, paths).await?;
    let result = |answer| {
        use pb::batch_decrypt_result::Outcome;
        let outcome = match answer {
            Ok(opened) => Outcome::Decrypted(pb::DecryptCredentialResponse::from(opened)),
            Err(error) => {
                status::report("BatchDecrypt", &caller.request_id, &error);
                Outcome::Failure(pb::Failure { reason: error.reason().into(), message: error.to_string() })
            }
        };
        pb::BatchDecryptResult { outcome: Some(outcome) }
    };
    Ok(pb::BatchDecryptResponse { results: answers.into_iter().map(result).collect() })
}

pub async fn list_versions(
    api: &Api,
    caller: &Caller,
    request: pb::ListVersionsRequest,
) -> Result<pb::ListVersionsResponse, Fault> {
    let path = convert::path(request.org, request.project, request.provider, request.name);
    let versions = api.vault.versions(caller, &path).await?;
    Ok(pb::ListVersionsResponse { versions: versions.into_iter().map(Into::into).collect() })
}

pub async fn activate_version(
    api: &Api,
    caller: &Caller,
    request: pb::ActivateVersionRequest,
) -> Result<pb::ActivateVersionResponse, Fault> {
    if request.version == 0 {
        return Err(Invalid::new("version", "must be 1 or more").into());
    }
    let activate = Activate {
        path: convert::path(request.org, request.project, request.provider, request.name),
        version: request.version,
        etag: convert::given(request.etag),
    };
    let (credential, version) = api.vault.activate(caller, activate).await?;
    Ok(pb::ActivateVersionResponse { credential: shown(&api.vault, credential), version: Some(version.into()) })
}

/// What a watch answers.
pub struct Changes(pub BoxStream<'static, Result<pb::WatchCredentialsResponse, Error>>);

/// The stream ends when the daemon drains; the client goes on from the last sequence number elsewhere.
pub async fn watch_credentials(
    api: &Api,
    caller: &Caller,
    request: pb::WatchCredentialsRequest,
) -> Result<Changes, Fault> {
    let watch = Watch {
        org: request.org,
        project: convert::given(request.project),
        provider: convert::given(request.provider),
        after: request.after,
    };
    let changes = api.vault.watch(caller, watch).await?;
    let vault = Arc::clone(&api.vault);
    let changes = changes.map(move |event| event.map(|event| change(&vault, event)));
    Ok(Changes(changes.take_until(api.closed()).boxed()))
}

fn change(vault: &Vault, event: ChangeEvent) -> pb::WatchCredentialsResponse {
    pb::WatchCredentialsResponse {
        sequence: event.sequence,
        at: Some(convert::wire_time(event.at)),
        change: event.change,
        version: event.version.unwrap_or_default(),
        credential: shown(vault, event.credential),
    }
}

fn shown(vault: &Vault, row: crate::vault::Credential) -> Option<pb::Credential> {
    let now = Timestamp::now();
    let outlook = vault.outlook(&row, now);
    Some(convert::credential(row, outlook, now))
}

fn upload(fields: BTreeMap<String, Secret>, document: Option<Secret>) -> Option<Upload> {
    match (fields.is_empty(), document) {
        (true, None) => None,
        (false, None) => Some(Upload::Fields(fields)),
        (true, Some(document)) => Some(Upload::Document(document)),
        (false, Some(document)) => Some(Upload::Together(document, fields)),
    }
}
