//! gRPC: the generated service traits, each method one line through one wrapper, behind a guard that needs only headers.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryFutureExt as _};
use http_body_util::Limited;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status, async_trait};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

use super::Api;
use super::admin::{self, Chunks, Pieces};
use super::credentials::{self, Changes};
use super::keys::{self, News};
use super::rpc::Rpc;
use super::serve::{self, Handler};
use super::status::{self, Fault, Invalid};
use super::{explain, grants, orgs, stepup};
use crate::pb;
use crate::pb::v1::admin_service_server::{AdminService, AdminServiceServer};
use crate::pb::v1::credential_service_server::{CredentialService, CredentialServiceServer};
use crate::pb::v1::grant_service_server::{GrantService, GrantServiceServer};
use crate::pb::v1::step_up_service_server::{StepUpService, StepUpServiceServer};
use crate::pb::v1::*;
use crate::vault::{Caller, Error};

/// The services, with health and reflection beside them. Runs inside a runtime: health is kept current by a task.
pub fn grpc(api: Arc<Api>) -> Result<Router, Error> {
    let limit = api.settings.request_bytes;
    let credentials = CredentialServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let admin = AdminServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let stepup = StepUpServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let grants = GrantServiceServer::new(Grpc(Arc::clone(&api))).max_decoding_message_size(limit);
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report(reporter, Arc::clone(&api)));
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Router::new().fallback(|| async { status::explained(Status::unimplemented("")).into_http::<Body>() });
    let router = guarded(router, &api, credentials);
    let router = guarded(router, &api, admin);
    let router = guarded(router, &api, grants);
    let router = guarded(router, &api, stepup);
    let router = open(router, &api, health);
    let router = open(router, &api, described().build_v1().map_err(Error::bug)?);
    Ok(open(router, &api, described().build_v1alpha().map_err(Error::bug)?))
}

/// Serves the generated traits.
struct Grpc(Arc<Api>);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl CredentialService for Grpc {
    async fn setup_credential(&self, request: Request<SetupCredentialRequest>) -> Answer<SetupCredentialResponse> {
        self.unary(request, credentials::setup_credential).await
    }

    async fn validate_credential(
        &self,
        request: Request<ValidateCredentialRequest>,
    ) -> Answer<ValidateCredentialResponse> {
        self.unary(request, credentials::validate_credential).await
    }

    async fn list_credentials(&self, request: Request<ListCredentialsRequest>) -> Answer<ListCredentialsResponse> {
        self.unary(request, credentials::list_credentials).await
    }

    async fn get_credential(&self, request: Request<GetCredentialRequest>) -> Answer<GetCredentialResponse> {
        self.unary(request, credentials::get_credential).await
    }

    async fn delete_credential(&self, request: Request<DeleteCredentialRequest>) -> Answer<DeleteCredentialResponse> {
        self.unary(request, credentials::delete_credential).await
    }

    async fn undelete_credential(
        &self,
        request: Request<UndeleteCredentialRequest>,
    ) -> Answer<UndeleteCredentialResponse> {
        self.unary(request, credentials::undelete_credential).await
    }

    async fn update_metadata(&self, request: Request<UpdateMetadataRequest>) -> Answer<UpdateMetadataResponse> {
        self.unary(request, credentials::update_metadata).await
    }

    async fn decrypt_credential(
        &self,
        request: Request<DecryptCredentialRequest>,
    ) -> Answer<DecryptCredentialResponse> {
        self.unary(request, credentials::decrypt_credential).await
    }

    async fn batch_decrypt(&self, request: Request<BatchDecryptRequest>) -> Answer<BatchDecryptResponse> {
        self.unary(request, credentials::batch_decrypt).await
    }

    async fn list_versions(&self, request: Request<ListVersionsRequest>) -> Answer<ListVersionsResponse> {
        self.unary(request, credentials::list_versions).await
    }

    async fn activate_version(&self, request: Request<ActivateVersionRequest>) -> Answer<ActivateVersionResponse> {
        self.unary(request, credentials::activate_version).await
    }

    type WatchCredentialsStream = BoxStream<'static, Result<WatchCredentialsResponse, Status>>;

    async fn watch_credentials(
        &self,
        request: Request<WatchCredentialsRequest>,
    ) -> Answer<Self::WatchCredentialsStream> {
        let refuse = refusal(&request)?;
        let opened = self.unary(request, credentials::watch_credentials).await?;
        Ok(opened.map(|Changes(changes)| changes.map(move |change| change.map_err(&refuse)).boxed()))
    }
}

#[async_trait]
impl AdminService for Grpc {
    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Answer<IssueTokenResponse> {
        self.unary(request, admin::issue_token).await
    }

    async fn derive_token(&self, request: Request<DeriveTokenRequest>) -> Answer<DeriveTokenResponse> {
        self.unary(request, admin::derive_token).await
    }

    async fn rotate_token(&self, request: Request<RotateTokenRequest>) -> Answer<RotateTokenResponse> {
        self.unary(request, admin::rotate_token).await
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<RevokeTokenResponse> {
        self.unary(request, admin::revoke_token).await
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        self.unary(request, admin::list_tokens).await
    }

    async fn list_audit(&self, request: Request<ListAuditRequest>) -> Answer<ListAuditResponse> {
        self.unary(request, admin::list_audit).await
    }

    async fn verify_audit(&self, request: Request<VerifyAuditRequest>) -> Answer<VerifyAuditResponse> {
        self.unary(request, admin::verify_audit).await
    }

    type ExportAuditStream = BoxStream<'static, Result<ExportAuditResponse, Status>>;

    async fn export_audit(&self, request: Request<ExportAuditRequest>) -> Answer<Self::ExportAuditStream> {
        let refuse = refusal(&request)?;
        let opened = self.unary(request, admin::export_audit).await?;
        Ok(opened.map(|Pieces(pieces)| pieces.map(move |piece| piece.map_err(&refuse)).boxed()))
    }

    type ExportVaultStream = BoxStream<'static, Result<ExportVaultResponse, Status>>;

    async fn export_vault(&self, request: Request<ExportVaultRequest>) -> Answer<Self::ExportVaultStream> {
        let refuse = refusal(&request)?;
        let opened = self.unary(request, admin::export_vault).await?;
        Ok(opened.map(|Chunks(chunks)| chunks.map(move |chunk| chunk.map_err(&refuse)).boxed()))
    }

    async fn get_audit_key(&self, request: Request<GetAuditKeyRequest>) -> Answer<GetAuditKeyResponse> {
        self.unary(request, admin::get_audit_key).await
    }

    async fn rotate_audit_key(&self, request: Request<RotateAuditKeyRequest>) -> Answer<RotateAuditKeyResponse> {
        self.unary(request, admin::rotate_audit_key).await
    }

    async fn list_providers(&self, request: Request<ListProvidersRequest>) -> Answer<ListProvidersResponse> {
        self.unary(request, admin::list_providers).await
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        self.unary(request, keys::list_keys).await
    }

    type RewrapStream = BoxStream<'static, Result<RewrapResponse, Status>>;

    async fn rewrap(&self, request: Request<RewrapRequest>) -> Answer<Self::RewrapStream> {
        let refuse = refusal(&request)?;
        let begun = self.unary(request, keys::rewrap).await?;
        Ok(begun.map(|News(news)| news.map(move |news| news.map_err(&refuse)).boxed()))
    }

    type ResealStream = BoxStream<'static, Result<ResealResponse, Status>>;

    async fn reseal(&self, request: Request<ResealRequest>) -> Answer<Self::ResealStream> {
        let refuse = refusal(&request)?;
        let begun = self.unary(request, keys::reseal).await?;
        Ok(begun.map(|News(news)| news.map(move |news| news.map_err(&refuse)).boxed()))
    }

    async fn destroy_org(&self, request: Request<DestroyOrgRequest>) -> Answer<DestroyOrgResponse> {
        self.unary(request, orgs::destroy_org).await
    }

    async fn restore_org(&self, request: Request<RestoreOrgRequest>) -> Answer<RestoreOrgResponse> {
        self.unary(request, orgs::restore_org).await
    }

    async fn list_org_destructions(
        &self,
        request: Request<ListOrgDestructionsRequest>,
    ) -> Answer<ListOrgDestructionsResponse> {
        self.unary(request, orgs::list_org_destructions).await
    }

    async fn explain_policy(&self, request: Request<ExplainPolicyRequest>) -> Answer<ExplainPolicyResponse> {
        self.unary(request, explain::explain_policy).await
    }
}

#[async_trait]
impl StepUpService for Grpc {
    async fn enrol_second_factor(
        &self,
        request: Request<EnrolSecondFactorRequest>,
    ) -> Answer<EnrolSecondFactorResponse> {
        self.unary(request, stepup::enrol_second_factor).await
    }

    async fn confirm_second_factor(
        &self,
        request: Request<ConfirmSecondFactorRequest>,
    ) -> Answer<ConfirmSecondFactorResponse> {
        self.unary(request, stepup::confirm_second_factor).await
    }

    async fn remove_second_factor(
        &self,
        request: Request<RemoveSecondFactorRequest>,
    ) -> Answer<RemoveSecondFactorResponse> {
        self.unary(request, stepup::remove_second_factor).await
    }

    async fn list_second_factors(
        &self,
        request: Request<ListSecondFactorsRequest>,
    ) -> Answer<ListSecondFactorsResponse> {
        self.unary(request, stepup::list_second_factors).await
    }

    async fn list_approvals(&self, request: Request<ListApprovalsRequest>) -> Answer<ListApprovalsResponse> {
        self.unary(request, stepup::list_approvals).await
    }

    async fn approve_request(&self, request: Request<ApproveRequestRequest>) -> Answer<ApproveRequestResponse> {
        self.unary(request, stepup::approve_request).await
    }

    async fn reject_request(&self, request: Request<RejectRequestRequest>) -> Answer<RejectRequestResponse> {
        self.unary(request, stepup::reject_request).await
    }
}

#[async_trait]
impl GrantService for Grpc {
    async fn mint_grant(&self, request: Request<MintGrantRequest>) -> Answer<MintGrantResponse> {
        self.unary(request, grants::mint_grant).await
    }

    async fn list_grants(&self, request: Request<ListGrantsRequest>) -> Answer<ListGrantsResponse> {
        self.unary(request, grants::list_grants).await
    }

    async fn revoke_grant(&self, request: Request<RevokeGrantRequest>) -> Answer<RevokeGrantResponse> {
        self.unary(request, grants::revoke_grant).await
    }
}

impl Grpc {
    async fn unary<Message, Reply, H>(&self, request: Request<Message>, handler: H) -> Answer<Reply>
    where
        Message: prost::Message + 'static,
        Reply: Send + 'static,
        H: for<'a> Handler<'a, Message, Reply>,
    {
        let Proven { rpc, caller } = proven(&request)?;
        let work = serve::run(Arc::clone(&self.0), &rpc, caller, request.into_inner(), handler);
        work.await.map(Response::new).map_err(carried)
    }
}

/// What [`guard`] found out from the headers, on its way through tonic.
#[derive(Clone)]
struct Proven {
    rpc: Arc<Rpc>,
    caller: Caller,
}

fn proven<Message>(request: &Request<Message>) -> Result<Proven, Status> {
    let proven = request.extensions().get::<Proven>().cloned();
    proven.ok_or_else(|| carried(Error::bug("a request came around the guard").into()))
}

/// For what fails in a stream, after its answer began.
fn refusal<Message>(request: &Request<Message>) -> Result<impl Fn(Error) -> Status + Send + 'static, Status> {
    let Proven { rpc, caller } = proven(request)?;
    Ok(move |error: Error| {
        status::report(&rpc.name, &caller.request_id, &error);
        refuse(&error.into(), &caller.request_id)
    })
}

/// A fault on its way back through tonic. [`guard`] gives it the form that clients see.
fn carried(fault: Fault) -> Status {
    let mut status = Status::unknown("");
    status.set_source(Arc::new(fault));
    status
}

fn refuse(fault: &Fault, request_id: &str) -> Status {
    let mut status = status::grpc(fault, request_id);
    status.metadata_mut().as_mut().insert(serve::REQUEST_ID, serve::request_id_header(request_id));
    status
}

type Asked = http::Request<axum::body::Body>;
type Told = http::Response<Body>;

/// A service as tonic makes them.
trait Tonic:
    Service<Asked, Response = Told, Error = Infallible, Future: Send> + NamedService + Clone + Send + Sync + 'static
{
}

impl<S> Tonic for S where
    S: Service<Asked, Response = Told, Error = Infallible, Future: Send> + NamedService + Clone + Send + Sync + 'static
{
}

/// For those who prove who they are.
fn guarded<S: Tonic>(router: Router, api: &Arc<Api>, service: S) -> Router {
    let api = Arc::clone(api);
    let guarded = tower::service_fn(move |request| guard(Arc::clone(&api), service.clone(), request));
    router.route_service(&path::<S>(), guarded)
}

/// What a stranger may say to a service that is there for everybody.
const OPEN_BYTES: usize = 64 * 1024;

/// For everybody. What they say ends after so many bytes, and with the deadline.
fn open<S: Tonic>(router: Router, api: &Api, service: S) -> Router {
    let deadline = api.settings.deadline;
    let explained = tower::service_fn(move |request: Asked| {
        let brief = request.map(|body| {
            let said = body.into_data_stream().take_until(tokio::time::sleep(deadline));
            axum::body::Body::new(Limited::new(axum::body::Body::from_stream(said), OPEN_BYTES))
        });
        service.clone().oneshot(brief).map_ok(explain)
    });
    router.route_service(&path::<S>(), explained)
}

fn path<S: NamedService>() -> String {
    format!("/{}/{{*rpc}}", S::NAME)
}

/// Tonic reads a whole message before it calls a method. No stranger gets that far, and nobody may take forever over it:
/// the headers alone prove the caller, and the deadline counts for the message too. It ends with the answer's head, so
/// a watch goes on.
async fn guard(api: Arc<Api>, service: impl Tonic, mut request: Asked) -> Result<Told, Infallible> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Ok(rpc) = api.rpcs.get(name) else { return Ok(status::explained(Status::unimplemented("")).into_http()) };
    serve::mark(rpc, request.extensions());
    let from = serve::from(request.extensions());
    let headers = request.headers().clone();
    let request_id = serve::request_id(&headers);
    let work = |caller| async {
        request.extensions_mut().insert(Proven { rpc: Arc::clone(rpc), caller });
        let Ok(response) = service.oneshot(request).await;
        fault(&api, &response).map_or_else(|| Ok(explain(response)), Err)
    };
    Ok(match api.serve(rpc, from, &headers, &request_id, work).await {
        Ok(mut response) => {
            response.headers_mut().insert(serve::REQUEST_ID, serve::request_id_header(&request_id));
            response
        }
        Err(fault) => refuse(&fault, &request_id).into_http(),
    })
}

/// Why there is no reply: a handler's fault, or tonic could not read the message, which is the caller's doing, whatever
/// tonic calls it. Its words name fields, no values.
fn fault(api: &Api, response: &Told) -> Option<Fault> {
    let ours = response.extensions().get::<Status>().and_then(|status| status.source()?.downcast_ref::<Fault>());
    if let Some(fault) = ours {
        return Some(fault.clone());
    }
    let status = Status::from_header_map(response.headers())?;
    match status.code() {
        // The latter: no such rpc here, or a compression that it does not know.
        Code::Ok | Code::Unimplemented => None,
        Code::OutOfRange => Some(Fault::TooLarge { limit: api.settings.request_bytes }),
        _ => Some(Invalid::new("message", status.message()).into()),
    }
}

/// What tonic itself refuses gets its details. A reply passes unread.
fn explain(response: Told) -> Told {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok && status.details().is_empty() => {
            status::explained(status).into_http()
        }
        _ => response,
    }
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
    let services = [
        CredentialServiceServer::<Grpc>::NAME,
        AdminServiceServer::<Grpc>::NAME,
        GrantServiceServer::<Grpc>::NAME,
        StepUpServiceServer::<Grpc>::NAME,
    ];
    for service in std::iter::once("").chain(services) {
        reporter.set_service_status(service, status).await;
    }
}
