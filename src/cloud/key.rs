//! A customer's RSA private key, read from whatever PEM their tools wrote.

mod locked;

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use jsonwebtoken::{EncodingKey, Header};
use pkcs8::der::Decode as _;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{SignError, pem};

/// An RSA private key of 2048 to 8192 bits.
pub struct PrivateKey {
    pair: KeyPair,
    /// DER of the SubjectPublicKeyInfo.
    spki: Vec<u8>,
    /// DER of the RSAPrivateKey (RFC 8017).
    pkcs1: Zeroizing<Vec<u8>>,
}

/// Why a PEM is not taken: completes the sentence "private_key: …". Never contains a part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is not readable as PEM; it may be cut off, upload the whole file")]
    Unreadable,
    #[error("is not readable as an RSA key; it may be cut off, upload the whole file")]
    Damaged,
    #[error("is locked with a passphrase, and none came with it")]
    PassphraseMissing,
    #[error("does not open with this passphrase")]
    PassphraseWrong,
    #[error("is not locked, and a passphrase came with it")]
    PassphraseUnneeded,
    #[error("is locked in the old way of OpenSSL; convert it with `openssl pkcs8 -topk8`")]
    OldEncryption,
    #[error("is locked in a way that is not known here; convert it with `openssl pkcs8 -topk8`")]
    UnknownEncryption,
    #[error("takes too long to unlock; lock it again with `openssl pkcs8 -topk8`")]
    TooCostly,
    #[error("is the public half; the private key is missing")]
    PublicHalf,
    #[error("is in OpenSSH's own form; convert it with `ssh-keygen -p -m PKCS8 -f FILE`")]
    OpenSsh,
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
    /// PKCS#8, encrypted or not, or PKCS#1. What stands around the block is ignored, as Oracle's console adds a line there.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let passphrase = passphrase.filter(|passphrase| !passphrase.is_empty());
        let Some(block) = pem::blocks(text).find(|block| block.label.ends_with("PRIVATE KEY")) else {
            let public =
                pem::blocks(text).any(|block| block.label.ends_with("PUBLIC KEY") || block.label == "CERTIFICATE");
            return Err(if public { KeyError::PublicHalf } else { KeyError::Unreadable });
        };
        match block.label {
            "OPENSSH PRIVATE KEY" => return Err(KeyError::OpenSsh),
            _ if block.is_locked_the_old_way() => return Err(KeyError::OldEncryption),
            _ => {}
        }
        let der = block.der().ok_or(KeyError::Unreadable)?;
        match (block.label, passphrase) {
            ("ENCRYPTED PRIVATE KEY", None) => Err(KeyError::PassphraseMissing),
            ("ENCRYPTED PRIVATE KEY", Some(passphrase)) => Self::from_pkcs8(locked::open(&der, passphrase)?.as_bytes()),
            ("PRIVATE KEY" | "RSA PRIVATE KEY", Some(_)) => Err(KeyError::PassphraseUnneeded),
            ("PRIVATE KEY", None) => Self::from_pkcs8(&der),
            ("RSA PRIVATE KEY", None) => Self::from_pkcs1(&der),
            _ => Err(KeyError::NotRsa),
        }
    }

    /// DER of its SubjectPublicKeyInfo.
    pub fn public_spki(&self) -> Vec<u8> {
        self.spki.clone()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignError("the key does not sign".into()))?;
        Ok(signature)
    }

    pub(super) fn jwt(&self, header: &Header, claims: &impl Serialize) -> Result<Zeroizing<String>, SignError> {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_rsa_der(&self.pkcs1))
            .map(Zeroizing::new)
            .map_err(|_| SignError("the assertion cannot be signed".into()))
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Damaged)?;
        if info.algorithm.oid != RSA_ENCRYPTION {
            return Err(KeyError::NotRsa);
        }
        Self::from_pkcs1(info.private_key.as_bytes())
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::from_der(der).map_err(|rejected| match rejected.description_() {
            "TooSmall" => KeyError::TooSmall,
            "TooLarge" => KeyError::TooLarge,
            "WrongAlgorithm" => KeyError::NotRsa,
            _ => KeyError::Damaged,
        })?;
        if !pair.public_key().as_ref().ends_with(&DER_65537) {
            return Err(KeyError::UnusualExponent);
        }
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Damaged)?;
        let spki = spki.as_ref().to_vec();
        Ok(Self { pair, spki, pkcs1: Zeroizing::new(der.to_vec()) })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The last member of an `RSAPublicKey` (RFC 8017) is the exponent: INTEGER, three bytes, 65537.
const DER_65537: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
