//! A customer's RSA private key, read from whatever PEM their tools wrote.

/// An RSA private key of at least 2048 bits.
pub struct PrivateKey {}

/// Why a PEM is not taken: completes the sentence "private_key: …". Never contains a part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is not readable as PEM; it may be cut off, upload the whole file")]
    Unreadable,
    #[error("is locked with a passphrase, and none came with it")]
    PassphraseMissing,
    #[error("does not open with this passphrase")]
    PassphraseWrong,
    #[error("is not locked, and a passphrase came with it")]
    PassphraseUnneeded,
    #[error("is locked in the old way of OpenSSL; convert it with `openssl pkcs8 -topk8`")]
    OldEncryption,
    #[error("is not an RSA key")]
    NotRsa,
    #[error("is an RSA key of less than 2048 bits")]
    TooSmall,
    #[error("is an RSA key of more than 8192 bits")]
    TooLarge,
    #[error("is an RSA key with an unusual public exponent; only 65537 is accepted")]
    UnusualExponent,
}

impl PrivateKey {
    /// PKCS#8, encrypted or not, or PKCS#1. What follows the footer is ignored, as Oracle's console adds a line there.
    pub fn from_pem(_pem: &str, _passphrase: Option<&str>) -> Result<Self, KeyError> {
        Err(KeyError::Unreadable)
    }

    /// DER of its SubjectPublicKeyInfo.
    pub fn public_spki(&self) -> Vec<u8> {
        Vec::new()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, super::SignError> {
        Err(super::SignError("not yet".into()))
    }
}
