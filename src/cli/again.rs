//! A request that was refused for want of a second factor or a second person is sent once more, with what was missing:
//! the code from STRONGROOM_CODE or from whoever sits at the terminal, the approval that `--approval` names. Not at the
//! first attempt: a code is good once, and most commands send several requests.

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use super::output::escape;
use crate::crypto::Secret;

const CODE: HeaderName = HeaderName::from_static("strongroom-code");
const APPROVAL: HeaderName = HeaderName::from_static("strongroom-approval");

#[derive(Clone)]
pub(super) struct Again<S> {
    inner: S,
    missing: Arc<Missing>,
}

/// What may be missing.
#[derive(Default)]
pub(super) struct Missing {
    /// Taken by the first request that needs it.
    pub code: Mutex<Option<Secret>>,
    pub approval: Option<HeaderValue>,
}

impl<S> Again<S> {
    pub const fn new(inner: S, missing: Arc<Missing>) -> Self {
        Self { inner, missing }
    }
}

impl<S, Reply> Service<Request<Body>> for Again<S>
where
    S: Service<Request<Body>, Response = Response<Reply>, Error: Into<StdError>, Future: Send> + Clone + Send + 'static,
    Reply: Send,
{
    type Response = Response<Reply>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Reply>, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was polled is the one that is ready.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let missing = Arc::clone(&self.missing);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let again = || Request::from_parts(parts.clone(), Body::new(Full::new(body.clone())));
            let answer = inner.call(again()).await.map_err(Into::into)?;
            let Some(headers) = missing.after(answer.headers()).await else { return Ok(answer) };
            let mut second = again();
            second.headers_mut().extend(headers);
            inner.ready().await.map_err(Into::into)?.call(second).await.map_err(Into::into)
        })
    }
}

impl Missing {
    /// What is to go along after this answer; nothing, when that is the answer. A refusal is all headers.
    async fn after(&self, answer: &HeaderMap) -> Option<HeaderMap> {
        let status = Status::from_header_map(answer)?;
        let info = status.get_details_error_info().filter(|info| info.domain == "strongroom")?;
        let mut headers = HeaderMap::new();
        let approval = self.approval.clone();
        let wanted = info.metadata.get("approval").map(String::as_str).unwrap_or_default();
        match info.reason.as_str() {
            "STEP_UP_REQUIRED" => {
                let mut code = HeaderValue::from_bytes(self.code(&status).await?.expose()).ok()?;
                code.set_sensitive(true);
                headers.insert(CODE, code);
            }
            // Another id is of another request than the one that was approved.
            "APPROVAL_REQUIRED" if approval.as_ref() == HeaderValue::from_str(wanted).ok().as_ref() => (),
            _ => return None,
        }
        headers.extend(approval.map(|approval| (APPROVAL, approval)));
        Some(headers)
    }

    async fn code(&self, status: &Status) -> Option<Secret> {
        let given = self.code.lock().unwrap_or_else(PoisonError::into_inner).take();
        if given.is_some() || !io::stdin().is_terminal() {
            return given;
        }
        let question = escape(&format!("{}; the code that your authenticator shows: ", status.message()));
        let asked = tokio::task::spawn_blocking(move || rpassword::prompt_password(question));
        let code = asked.await.ok()?.ok()?;
        (!code.is_empty()).then(|| Secret::from(code))
    }
}
