//! A role for the token of somebody whom AWS trusts to sign: `AssumeRoleWithWebIdentity`, which is itself unsigned.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use zeroize::Zeroizing;

use super::super::{Error, Fetched, form, unreachable, word};
use super::{Session, life};
use crate::cloud::aws;
use crate::crypto::Secret;
use crate::http::{Client, Hosts, Request, Response};

pub(super) async fn assume(
    client: &Client,
    region: &str,
    role: &str,
    name: &str,
    token: &Secret,
) -> Result<Fetched<Session>, Error> {
    let host = aws::host("sts", region);
    let hosts = Hosts::new(vec![host.clone()]).map_err(|_| Error::Refused("AWS_REGION names no region".into()))?;
    let form = form(&[
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", name),
        ("WebIdentityToken", token.expose_text().unwrap_or_default()),
    ]);
    let url = format!("https://{host}/").parse().map_err(|_| Error::Refused("AWS_REGION names no region".into()))?;
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form_type)]);
    let request = Request { method: Method::POST, url, headers, body: Zeroizing::new(form.into_bytes()) };
    let answer = client.send(request, &hosts).await.map_err(|error| unreachable(&error))?;
    read(&answer, role)
}

fn read(answer: &Response, role: &str) -> Result<Fetched<Session>, Error> {
    let broken = || Error::Unavailable(format!("STS answers {} and not as documented", answer.status.as_u16()));
    let text = std::str::from_utf8(&answer.body).map_err(|_| broken())?;
    let document = roxmltree::Document::parse(text).map_err(|_| broken());
    if answer.status == StatusCode::TOO_MANY_REQUESTS || answer.status.is_server_error() {
        return Err(Error::Unavailable(format!("STS answers {}", answer.status.as_u16())));
    }
    let document = document?;
    let find = |name: &str| {
        let found = document.descendants().find(|node| node.tag_name().name() == name);
        found.and_then(|node| node.text()).map(str::trim)
    };
    if answer.status != StatusCode::OK {
        let (code, message) = (find("Code").unwrap_or_default(), find("Message").unwrap_or_default());
        return Err(refused(code, message, role));
    }
    let part = |name: &str| find(name).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(broken);
    let value = Session {
        access_key_id: part("AccessKeyId")?,
        secret_access_key: part("SecretAccessKey")?.into(),
        session_token: Some(part("SessionToken")?.into()),
        source: "a web identity",
    };
    Ok(Fetched { value, life: Some(life(&part("Expiration")?).ok_or_else(broken)?) })
}

fn refused(code: &str, message: &str, role: &str) -> Error {
    let sorry = |why: &str| Error::Refused(format!("STS gives no session for {role}: {why}"));
    match code {
        "AccessDenied" => sorry("AccessDenied: its trust policy does not name this identity, or there is no such role"),
        "InvalidIdentityToken" if message.contains("retrieve verification key") => {
            Error::Unavailable("STS cannot fetch the keys of the web identity's issuer".into())
        }
        "InvalidIdentityToken" => sorry("InvalidIdentityToken: its account knows no such issuer or audience"),
        "ExpiredTokenException" => sorry("the token in AWS_WEB_IDENTITY_TOKEN_FILE has ended and was not written anew"),
        "IDPCommunicationError" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => {
            Error::Unavailable(format!("STS answers {code}"))
        }
        other => sorry(word(other)),
    }
}
