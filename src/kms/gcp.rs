//! `gcp-kms://projects/P/locations/L/keyRings/R/cryptoKeys/K`: Google Cloud KMS, by Google's own client over REST.
//!
//! The data key is the plaintext, [`Context::canonical`] the additional authenticated data, and what Google answers is kept
//! as it is; it names the version that wrapped it by itself. CRC32C goes along both ways: Google says that it received what
//! was sent, and what it sends is checked.
//!
//! The client speaks by a stack of its own, and only here: it trusts the system's authorities (not `outbound.authorities`),
//! heeds the environment's proxies, and does not limit an answer's length. Whom it asks is Google or the configured endpoint;
//! it follows no redirect. Tokens come from where the platform's credentials say, which is Google's library's affair. Its buffers hold the data key for as long as a call takes; freed memory is wiped.

mod told;

use async_trait::async_trait;
use google_cloud_auth::credentials::{Builder, Credentials};
use google_cloud_gax::client_builder::internal::with_follow_redirects;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_kms::client::KeyManagementService;
use google_cloud_kms::model::EncryptResponse;

use super::{Context, Error, KeyUri, Kms, Wrapped};
use crate::crypto::Dek;

/// Asked for by name, or the client would take a host from the environment (`GOOGLE_CLOUD_UNIVERSE_DOMAIN`).
const PUBLIC: &str = "https://cloudkms.googleapis.com";

/// More than Google's ciphertext of 32 bytes is long. Rows are no place for whatever an answer holds.
const LONGEST: usize = 4096;

/// Google's client, for all keys that are asked with the same credentials.
pub type Client = KeyManagementService;

pub struct Gcp {
    uri: String,
    /// As Google calls it.
    name: String,
    client: Client,
}

/// Those of the environment: what `GOOGLE_APPLICATION_CREDENTIALS` names, gcloud's, or the machine's.
pub fn credentials() -> Result<Credentials, String> {
    prepare();
    Builder::default().build().map_err(|error| format!("no usable credentials: {}", told::words(&error.to_string())))
}

/// The endpoint, if it is not Google's public one, is an origin such as `https://HOST`.
pub async fn client(endpoint: Option<&str>, credentials: Credentials) -> Result<Client, String> {
    prepare();
    let builder = Client::builder().with_endpoint(endpoint.unwrap_or(PUBLIC));
    let builder = builder.with_credentials(credentials).with_retry_policy(NeverRetry);
    // Hidden in the client's documentation, but there: a redirect would take the data key with it.
    let client = with_follow_redirects(builder, false).build().await;
    client.map_err(|error| told::words(&error.to_string()))
}

impl Gcp {
    pub fn new(uri: &KeyUri, client: Client) -> Result<Self, String> {
        let uri = uri.to_string();
        let name = uri.strip_prefix("gcp-kms://").ok_or("not gcp-kms://")?.to_owned();
        Ok(Self { uri, name, client })
    }

    /// The version's number, of an answer in which nothing was altered on the way.
    fn checked<'a>(&self, answer: &'a EncryptResponse) -> Result<&'a str, Error> {
        if !answer.verified_plaintext_crc32c || !answer.verified_additional_authenticated_data_crc32c {
            return Err(self.unavailable("it does not confirm that it received what was sent"));
        }
        if answer.ciphertext_crc32c != Some(checksum(&answer.ciphertext)) {
            return Err(self.unavailable("the answer's checksum is wrong"));
        }
        let version = answer.name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix("/cryptoKeyVersions/"));
        let number = version.filter(|version| version.parse::<u64>().is_ok_and(|n| n.to_string() == **version));
        match number {
            Some(number) if (1..=LONGEST).contains(&answer.ciphertext.len()) => Ok(number),
            _ => Err(self.unavailable("the answer makes no sense")),
        }
    }

    fn unavailable(&self, cause: impl Into<String>) -> Error {
        Error::Unavailable { key: self.uri.clone(), cause: cause.into() }
    }

    fn mismatch(&self) -> Error {
        Error::Mismatch { key: self.uri.clone() }
    }

    fn fault(&self, doing: Doing, error: &google_cloud_kms::Error) -> Error {
        let key = self.uri.clone();
        if let Some(status) = error.status() {
            let message = status.message.as_str();
            return match status.code {
                Code::InvalidArgument if doing == Doing::Decrypt && message.starts_with("Decryption failed") => {
                    self.mismatch()
                }
                Code::InvalidArgument if message.contains("checksum") || message.contains("crc32c") => {
                    self.unavailable("it received something else than what was sent")
                }
                code => match told::refusal(code, doing, message) {
                    Some(cause) => Error::Refused { key, cause },
                    None => self.unavailable(told::words(&format!("{}: {message}", code.name()))),
                },
            };
        }
        match error.http_status_code() {
            Some(status @ (408 | 429 | 500..)) => self.unavailable(format!("HTTP status {status}")),
            Some(status @ 300..400) => {
                Error::Refused { key, cause: format!("HTTP status {status}: a redirect is not followed") }
            }
            Some(status) => Error::Refused { key, cause: format!("HTTP status {status}, and not in Google's words") },
            None if error.is_authentication() => told::unproven(key, error),
            None if error.is_deserialization() => self.unavailable("the answer is cut short, or none of its kind"),
            None if error.is_connect() => self.unavailable("no connection"),
            None if error.is_timeout() => self.unavailable("no answer in time"),
            None => self.unavailable("the connection broke"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Encrypt,
    Decrypt,
}

#[async_trait]
impl Kms for Gcp {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        let bound = context.canonical();
        let request = self.client.encrypt().set_name(&self.name).set_plaintext_crc32c(checksum(dek.expose()));
        let request = request.set_additional_authenticated_data_crc32c(checksum(&bound));
        let request = request.set_plaintext(dek.expose().to_vec()).set_additional_authenticated_data(bound);
        let answer = request.send().await.map_err(|error| self.fault(Doing::Encrypt, &error))?;
        let key_version = self.checked(&answer)?.to_owned();
        Ok(Wrapped { key: self.uri.clone(), key_version, bytes: answer.ciphertext.to_vec() })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        if wrapped.key != self.uri || wrapped.bytes.is_empty() {
            return Err(self.mismatch());
        }
        let bound = context.canonical();
        let request = self.client.decrypt().set_name(&self.name).set_ciphertext_crc32c(checksum(&wrapped.bytes));
        let request = request.set_additional_authenticated_data_crc32c(checksum(&bound));
        let request = request.set_ciphertext(wrapped.bytes.clone()).set_additional_authenticated_data(bound);
        let answer = request.send().await.map_err(|error| self.fault(Doing::Decrypt, &error))?;
        if answer.plaintext_crc32c != Some(checksum(&answer.plaintext)) {
            return Err(self.unavailable("the answer's checksum is wrong"));
        }
        answer.plaintext.as_ref().try_into().map(Dek::new).map_err(|_| self.mismatch())
    }
}

/// Google's HTTP client asks the process which TLS it shall use. Whoever was first has said the same.
fn prepare() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// CRC32C, by Castagnoli (RFC 3720, B.4), as Google's fields hold it.
fn checksum(bytes: &[u8]) -> i64 {
    let shifted = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let crc = bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc)));
    i64::from(!crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720, B.4, and the usual check value.
    #[test]
    fn checksums_are_castagnolis() {
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(b""), 0);
    }
}
