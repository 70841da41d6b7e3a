//! Signature Version 4, from its specification, over the bytes that arrived.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::Asked;

/// Why it is not this key's signature for this service.
pub fn judge(asked: &Asked, id: &str, secret: &str, region: &str, service: &str) -> Result<(), String> {
    let authorization = asked.header("authorization");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=")).ok_or(format!("no {name}"))?;
        Ok::<_, String>(rest.split(',').next().unwrap_or_default().trim().to_owned())
    };
    let time = asked.header("x-amz-date");
    let day = time.get(..8).ok_or("no x-amz-date")?;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    if part("Credential")? != format!("{id}/{scope}") {
        return Err(format!("another credential: {}", part("Credential")?));
    }
    let names = part("SignedHeaders")?;
    for needed in ["host", "x-amz-date"] {
        if !names.split(';').any(|name| name == needed) {
            return Err(format!("{needed} is not signed"));
        }
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", asked.header(name).trim())).collect();
    let body = hex(&Sha256::digest(&asked.body));
    let canonical = format!("{}\n{path}\n{query}\n{headers}\n{names}\n{body}", asked.method);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    if part("Signature")? == hex(&mac(&key, &text)) { Ok(()) } else { Err("another signature".into()) }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
