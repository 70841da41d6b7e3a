//! What a decrypt is measured against: tonic with nothing behind it. The same rpc, an answer of the same size, the same
//! listener, the same allocator; no caller, no policy, no record, no log.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use strongroom::api::listen::{self, Address, Listener, Settings, Tls};
use strongroom::crypto::Secret;
use strongroom::pb::v1::{DecryptCredentialRequest, DecryptCredentialResponse};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{allocator, server};

/// Makes this program that server.
pub const ARGUMENT: &str = "--bare";

pub fn serve(words: &[String]) {
    let is = |word: &str| words.iter().any(|it| it == word);
    allocator::wipe(is("wiping"));
    server::runtime().block_on(async {
        let tls = is("tls").then(|| Tls::new(listen::tls(Path::new("cert.pem"), Path::new("key.pem"), None).unwrap()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let any = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let tcp = Listener::bind("tcp", any, tls).await.unwrap();
        let unix = Listener::bind("unix", Address::Unix("socket".into()), None).await.unwrap();
        println!("{scheme}://{}", tcp.address().unwrap());

        let router = Router::new().route_service("/strongroom.v1.CredentialService/{*rpc}", Bare::new());
        let (_open, stop) = tokio::sync::watch::channel(false);
        tokio::join!(
            listen::serve(tcp, router.clone(), settings(), stop.clone()),
            listen::serve(unix, router, settings(), stop)
        );
    });
}

/// The daemon's own defaults.
const fn settings() -> Settings {
    Settings {
        max_connections: 1024,
        max_streams: 256,
        max_strangers: 512,
        max_strangers_per_source: 512,
        handshake: Duration::from_secs(10),
        deadline: Duration::from_secs(30),
        close_idle_after: Duration::from_millis(500),
        grace: Duration::from_secs(10),
    }
}

#[derive(Clone)]
struct Bare(DecryptCredentialResponse);

impl Bare {
    fn new() -> Self {
        Self(DecryptCredentialResponse {
            credential_id: "0197a0f0-0000-7000-8000-000000000000".into(),
            version: 1,
            secret: Some(Secret::from("s3".repeat(server::SECRET_BYTES / 2))),
            fingerprint: "k:00000000".into(),
            cached: true,
        })
    }
}

impl UnaryService<DecryptCredentialRequest> for Bare {
    type Response = DecryptCredentialResponse;
    type Future = Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _: Request<DecryptCredentialRequest>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl Service<http::Request<axum::body::Body>> for Bare {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<axum::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(service, request).await) })
    }
}
