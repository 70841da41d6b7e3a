//! AWS: Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};

use super::SignError;
use crate::http::Request;

/// An access key, with a session token when it is temporary.
pub struct Keys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
}

/// Adds the headers that make a request one of this key's. Not for S3, which wants paths and bodies signed its own way.
pub fn sign(
    request: &mut Request,
    keys: &Keys<'_>,
    service: &str,
    region: &str,
    at: SystemTime,
) -> Result<(), SignError> {
    let fails = |_| SignError("the request cannot be signed for AWS".into());
    let token = keys.session_token.map(str::to_owned);
    let identity = Credentials::new(keys.access_key_id, keys.secret_access_key, token, None, "strongroom").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| SignError("the request cannot be signed for AWS".into()))?
        .into();
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| Ok((name.as_str(), value.to_str().map_err(|_| unsignable(name))?)))
        .collect::<Result<Vec<_>, SignError>>()?;
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(request.method.as_str(), request.url.to_string(), headers.into_iter(), body)
        .map_err(fails)?;
    let (instructions, _) = aws_sigv4::http_request::sign(signable, &params).map_err(fails)?.into_parts();
    for header in instructions.into_parts().0 {
        let name = HeaderName::from_static(header.name());
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| unsignable(&name))?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
    }
    Ok(())
}

fn unsignable(name: &HeaderName) -> SignError {
    SignError(format!("the header {name} cannot be signed"))
}

/// Where a service is in a region. The region tells the partition, and this the domain.
pub fn host(service: &str, region: &str) -> String {
    let domain = match region.split('-').next().unwrap_or_default() {
        "cn" => "amazonaws.com.cn",
        "eusc" => "amazonaws.eu",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ => "amazonaws.com",
    };
    format!("{service}.{region}.{domain}")
}

/// The account is 40 bits inside the key id's base32, unless the key is older than 2019.
pub fn account_id(access_key_id: &str) -> Option<String> {
    let body = access_key_id.get(4..)?;
    if body.starts_with(['I', 'J']) {
        return None;
    }
    let bytes = data_encoding::BASE32.decode(body.as_bytes()).ok()?;
    let first = bytes.get(..6)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some(format!("{:012}", (first & 0x7fff_ffff_ff80) >> 7))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::{HeaderMap, Method};
    use zeroize::Zeroizing;

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    /// The time of AWS's examples: 2015-08-30 12:36.
    fn example_time() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn request(method: Method, url: &str, body: &str) -> Request {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(FORM))]);
        Request { method, url: url.parse().unwrap(), headers, body: Zeroizing::new(body.as_bytes().to_vec()) }
    }

    fn signed(mut request: Request, service: &str, session_token: Option<&str>) -> HeaderMap {
        let keys = Keys { access_key_id: "AKIDEXAMPLE", secret_access_key: SECRET, session_token };
        sign(&mut request, &keys, service, "us-east-1", example_time()).unwrap();
        request.headers
    }

    #[test]
    fn the_example_that_aws_publishes() {
        let url = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08";
        let headers = signed(request(Method::GET, url, ""), "iam", None);
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert!(headers["authorization"].is_sensitive());
    }

    #[test]
    fn the_question_who_am_i() {
        let asked = request(
            Method::POST,
            "https://sts.us-east-1.amazonaws.com/",
            "Action=GetCallerIdentity&Version=2011-06-15",
        );
        let headers = signed(asked, "sts", None);
        let signature = "Signature=52a8540fea00e731072179f763577cbe2a45eac2c5d32fb4d785f3eefac88165";
        assert!(headers["authorization"].to_str().unwrap().ends_with(signature));
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let asked = || request(Method::POST, "https://sts.us-east-1.amazonaws.com/", "");
        let headers = signed(asked(), "sts", Some("FwoGZXIvYXdzEXAMPLE"));
        assert_eq!(headers["x-amz-security-token"], "FwoGZXIvYXdzEXAMPLE");
        assert!(headers["x-amz-security-token"].is_sensitive());
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"));
        let another = signed(asked(), "sts", Some("FwoGZXIvYXdzEXAMPLF"));
        assert_ne!(headers["authorization"], another["authorization"]);
    }

    #[test]
    fn a_region_tells_where_its_services_are() {
        for (region, host_name) in [
            ("eu-central-1", "kms.eu-central-1.amazonaws.com"),
            ("us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
            ("eusc-de-east-1", "kms.eusc-de-east-1.amazonaws.eu"),
            ("us-isob-east-1", "kms.us-isob-east-1.sc2s.sgov.gov"),
        ] {
            assert_eq!(host("kms", region), host_name);
        }
    }

    #[test]
    fn the_account_is_inside_the_key_id() {
        assert_eq!(account_id("ASIAQNZGKIQY56JQ7WML").as_deref(), Some("029608264753"));
        assert_eq!(account_id("ASIAY34FZKBOKMUTVV7A").as_deref(), Some("609629065308"));
        assert_eq!(account_id("AKIAIOSFODNN7EXAMPLE"), None, "older than 2019");
        assert_eq!(account_id("AKIAJOSFODNN7EXAMPLE"), None, "older than 2019");
        assert_eq!(account_id("AKIA"), None);
    }
}
