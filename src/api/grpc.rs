//! gRPC: the generated service traits, each method one line through one wrapper.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status, async_trait};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

use super::credentials::{self, Changes};
use super::serve::{self, Handler};
use super::status::{self, Fault, Invalid};
use super::{Api, admin};
use crate::pb;
use crate::pb::v1::admin_service_server::{AdminService, AdminServiceServer};
use crate::pb::v1::credential_service_server::{CredentialService, CredentialServiceServer};
use crate::pb::v1::*;
use crate::vault::Error;

/// The services, with health and reflection beside them. Runs inside a runtime: health is kept current by a task.
pub fn grpc(api: Arc<Api>) -> Result<Router, Error> {
    let limit = api.settings.request_bytes;
    let credentials = CredentialServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let admin = AdminServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report(reporter, Arc::clone(&api)));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Router::new().fallback(|| async { status::explained(Status::unimplemented("")).into_http::<Body>() });
    let router = add(router, &api, credentials);
    let router = add(router, &api, admin);
    let router = add(router, &api, health);
    let router = add(router, &api, described().build_v1().map_err(Error::bug)?);
    Ok(add(router, &api, described().build_v1alpha().map_err(Error::bug)?))
}

/// Serves the generated traits.
struct Grpc(Arc<Api>);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl CredentialService for Grpc {
    async fn setup_credential(&self, request: Request<SetupCredentialRequest>) -> Answer<SetupCredentialResponse> {
        self.unary("SetupCredential", request, credentials::setup_credential).await
    }

    async fn validate_credential(
        &self,
        request: Request<ValidateCredentialRequest>,
    ) -> Answer<ValidateCredentialResponse> {
        self.unary("ValidateCredential", request, credentials::validate_credential).await
    }

    async fn list_credentials(&self, request: Request<ListCredentialsRequest>) -> Answer<ListCredentialsResponse> {
        self.unary("ListCredentials", request, credentials::list_credentials).await
    }

    async fn get_credential(&self, request: Request<GetCredentialRequest>) -> Answer<GetCredentialResponse> {
        self.unary("GetCredential", request, credentials::get_credential).await
    }

    async fn delete_credential(&self, request: Request<DeleteCredentialRequest>) -> Answer<DeleteCredentialResponse> {
        self.unary("DeleteCredential", request, credentials::delete_credential).await
    }

    async fn undelete_credential(
        &self,
        request: Request<UndeleteCredentialRequest>,
    ) -> Answer<UndeleteCredentialResponse> {
        self.unary("UndeleteCredential", request, credentials::undelete_credential).await
    }

    async fn update_metadata(&self, request: Request<UpdateMetadataRequest>) -> Answer<UpdateMetadataResponse> {
        self.unary("UpdateMetadata", request, credentials::update_metadata).await
    }

    async fn decrypt_credential(
        &self,
        request: Request<DecryptCredentialRequest>,
    ) -> Answer<DecryptCredentialResponse> {
        self.unary("DecryptCredential", request, credentials::decrypt_credential).await
    }

    async fn batch_decrypt(&self, request: Request<BatchDecryptRequest>) -> Answer<BatchDecryptResponse> {
        self.unary("BatchDecrypt", request, credentials::batch_decrypt).await
    }

    async fn list_versions(&self, request: Request<ListVersionsRequest>) -> Answer<ListVersionsResponse> {
        self.unary("ListVersions", request, credentials::list_versions).await
    }

    async fn activate_version(&self, request: Request<ActivateVersionRequest>) -> Answer<ActivateVersionResponse> {
        self.unary("ActivateVersion", request, credentials::activate_version).await
    }

    type WatchCredentialsStream = BoxStream<'static, Result<WatchCredentialsResponse, Status>>;

    async fn watch_credentials(
        &self,
        request: Request<WatchCredentialsRequest>,
    ) -> Answer<Self::WatchCredentialsStream> {
        const RPC: &str = "WatchCredentials";
        let opened = self.unary(RPC, request, credentials::watch_credentials).await?;
        let request_id = serve::request_id(opened.metadata().as_ref());
        let refuse = move |error: Error| {
            status::report(RPC, &request_id, &error);
            refuse(&error.into(), &request_id)
        };
        Ok(opened.map(|Changes(changes)| changes.map(move |change| change.map_err(&refuse)).boxed()))
    }
}

#[async_trait]
impl AdminService for Grpc {
    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Answer<IssueTokenResponse> {
        self.unary("IssueToken", request, admin::issue_token).await
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        self.unary("RevokeToken", request, admin::revoke_token).await
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        self.unary("ListTokens", request, admin::list_tokens).await
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Answer<ListAuditResponse> {
        self.unary("ListAudit", request, admin::list_audit).await
    }

    async fn verify_audit(&self, request: Request<VerifyAuditRequest>) -> Answer<VerifyAuditResponse> {
        self.unary("VerifyAudit", request, admin::verify_audit).await
    }

    async fn list_providers(&self, request: Request<ListProvidersRequest>) -> Answer<ListProvidersResponse> {
        self.unary("ListProviders", request, admin::list_providers).await
    }
}

impl Grpc {
    async fn unary<Message, Reply, H>(&self, name: &str, request: Request<Message>, handler: H) -> Answer<Reply>
    where
        Message: Send + 'static,
        Reply: Send + 'static,
        H: for<'a> Handler<'a, Message, Reply>,
    {
        let Self(api) = self;
        let (metadata, extensions, message) = request.into_parts();
        let headers = metadata.into_headers();
        let request_id = serve::request_id(&headers);
        let result = match api.rpcs.get(name) {
            Ok(rpc) => {
                serve::mark(rpc, &extensions);
                let work = |caller| serve::run(Arc::clone(api), rpc, caller, message, handler);
                api.serve(rpc, &headers, &request_id, work).await
            }
            Err(error) => Err(error.into()),
        };
        let mut response = Response::new(result.map_err(|fault| refuse(&fault, &request_id))?);
        response.metadata_mut().as_mut().insert(serve::REQUEST_ID, serve::request_id_header(&request_id));
        Ok(response)
    }
}

fn refuse(fault: &Fault, request_id: &str) -> Status {
    let mut status = status::grpc(fault, request_id);
    status.metadata_mut().as_mut().insert(serve::REQUEST_ID, serve::request_id_header(request_id));
    status
}

fn add<S>(router: Router, api: &Arc<Api>, service: S) -> Router
where
    S: Service<http::Request<axum::body::Body>, Response = http::Response<Body>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let api = Arc::clone(api);
    let explained = tower::service_fn(move |request: http::Request<axum::body::Body>| {
        let (api, headers, uri) = (Arc::clone(&api), request.headers().clone(), request.uri().clone());
        let answer = service.clone().oneshot(request);
        async move { Ok::<_, Infallible>(explain(&api, &headers, uri.path(), answer.await?).await) }
    });
    router.route_service(&format!("/{}/{{*rpc}}", S::NAME), explained)
}

/// What tonic itself refuses (not this rpc's message, too long, no such rpc) never reaches a handler. It gets its details
/// here and, as everything that is refused, its record. A reply or an error of ours passes unread.
async fn explain(
    api: &Api,
    headers: &http::HeaderMap,
    path: &str,
    response: http::Response<Body>,
) -> http::Response<Body> {
    let status = match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => status,
        _ => return response,
    };
    let fault = match status.code() {
        Code::OutOfRange => Fault::TooLarge { limit: api.settings.request_bytes },
        // What it cannot read is the caller's doing, whatever tonic calls it. Its words name fields, no values.
        Code::Internal => Invalid::new("message", status.message()).into(),
        _ => return status::explained(status).into_http(),
    };
    let Ok(rpc) = api.rpcs.get(path.rsplit('/').next().unwrap_or_default()) else {
        return status::explained(status).into_http();
    };
    let request_id = serve::request_id(headers);
    let fault = match api.serve(rpc, headers, &request_id, |_| async { Err::<Infallible, _>(fault) }).await {
        Err(fault) => fault,
        Ok(never) => match never {},
    };
    refuse(&fault, &request_id).into_http()
}

/// Tells the standard health service how the vault is, until the daemon drains: then nothing new should come.
async fn report(reporter: HealthReporter, api: Arc<Api>) {
    const EVERY: Duration = Duration::from_secs(5);
    let closed = api.closed();
    tokio::pin!(closed);
    loop {
        let serving = match api.vault.ready().await {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        tell(&reporter, serving).await;
        tokio::select! {
            () = &mut closed => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    tell(&reporter, ServingStatus::NotServing).await;
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    // The empty name is the daemon as a whole.
    for service in ["", CredentialServiceServer::<Grpc>::NAME, AdminServiceServer::<Grpc>::NAME] {
        reporter.set_service_status(service, status).await;
    }
}
