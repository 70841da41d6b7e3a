use http::{Method, StatusCode};
use tower::ServiceExt as _;

use super::*;

/// An rpc with a path and no handler, or the other way round, fails here.
#[test]
fn every_path_in_the_protos_has_its_handler() {
    let routes = routes(&Rpcs::read().unwrap(), table()).unwrap_or_else(|error| panic!("{:?}", error.cause()));
    assert!(routes.iter().any(|route| route.rpc.name == "SetupCredential" && route.rule.method == Method::POST));
    // What the router cannot take, or takes twice, it panics on.
    let mut router: Router = Router::new();
    for Route { rpc, rule, .. } in routes {
        for parameter in rule.path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(rpc.request.get_field_by_name(parameter).is_some(), "{}: {parameter}", rpc.name);
        }
        let filter = MethodFilter::try_from(rule.method).unwrap();
        router = router.route(&rule.path, on(filter, || async {}));
    }
}

#[test]
fn a_missing_and_a_needless_handler_are_named() {
    let rpcs = Rpcs::read().unwrap();
    let mut missing = table();
    missing.0.remove("ListAudit");
    let cause = |result: Result<Vec<Route>, Error>| result.err().and_then(|error| error.cause().map(str::to_owned));
    assert_eq!(cause(routes(&rpcs, missing)).unwrap(), "ListAudit has a path and no REST handler");
    let mut needless = table();
    needless.add("WatchCredentials", credentials::get_credential);
    assert_eq!(cause(routes(&rpcs, needless)).unwrap(), "WatchCredentials has a REST handler and no path");
}

async fn ask(method: Method, uri: &str) -> (http::response::Parts, Bytes) {
    let router = walled(Router::new().route("/known", on(MethodFilter::GET, || async { "{}" })));
    let request = http::Request::builder().method(method).uri(uri).header("x-request-id", "r-1").body(Body::empty());
    let (parts, body) = router.oneshot(request.unwrap()).await.unwrap().into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    for (method, uri, status, reason) in [
        (Method::GET, "/unknown/sk-canary", StatusCode::NOT_FOUND, "NO_ROUTE"),
        (Method::GET, "/known/", StatusCode::NOT_FOUND, "NO_ROUTE"),
        (Method::DELETE, "/known", StatusCode::METHOD_NOT_ALLOWED, "NO_METHOD"),
    ] {
        let (parts, body) = ask(method, uri).await;
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((parts.status, &problem["reason"]), (status, &reason.into()), "{uri}");
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(parts.headers["cache-control"], "no-store");
        assert_eq!(parts.headers["x-request-id"], "r-1");
        assert!(!problem.to_string().contains("canary"));
        assert_eq!(parts.headers.get("allow").is_some(), status == StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(ask(Method::GET, "/known").await.0.headers["cache-control"], "no-store");
}

async fn body(kind: Option<&str>, length: Option<&str>, body: &'static [u8]) -> Result<Bytes, Fault> {
    let mut request = http::Request::new(());
    for (name, value) in [(header::CONTENT_TYPE, kind), (header::CONTENT_LENGTH, length)] {
        if let Some(value) = value {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    read(&request.into_parts().0, Body::from(body), 8).await
}

#[tokio::test]
async fn a_body_must_be_json_and_not_too_long() {
    assert_eq!(body(Some("application/json"), None, b"{}").await.unwrap(), "{}");
    assert_eq!(body(Some("Application/JSON; charset=utf-8"), Some("8"), b"{      }").await.unwrap().len(), 8);
    assert_eq!(body(None, None, b"").await.unwrap(), "", "no body needs no type");
    for kind in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp"), Some("")]
    {
        assert!(matches!(body(kind, None, b"{}").await, Err(Fault::MediaType)), "{kind:?}");
    }
    let json = Some("application/json");
    assert!(matches!(body(json, None, b"{       }").await, Err(Fault::TooLarge { limit: 8 })), "as it is read");
    assert!(matches!(body(json, Some("9"), b"{}").await, Err(Fault::TooLarge { limit: 8 })), "as it is announced");
    assert!(matches!(body(json, Some("x"), b"{       }").await, Err(Fault::TooLarge { .. })));
}

#[test]
fn a_secret_that_is_no_text_is_not_shown_as_json() {
    let reply = crate::pb::v1::DecryptCredentialResponse {
        secret: Some(crate::crypto::Secret::new(*b"\xffsk-canary")),
        ..Default::default()
    };
    assert_eq!(encode(&reply).unwrap_err().to_string(), "secret: is no text; read it over gRPC");
}
