//! PKCS#8 under a passphrase (PBES2, RFC 8018).

use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{Decode as _, ErrorKind};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, PBES2_OID, ScryptParams};
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, SecretDocument};

use super::KeyError;

/// The file says how much work unlocking is. Without limits, one that asks for a billion rounds or a terabyte of memory
/// takes a core or the daemon. OpenSSL asks for 2048 rounds, careful people for a million.
const MAX_ROUNDS: u32 = 2_000_000;
const MAX_SCRYPT_MEMORY: u64 = 64 * 1024 * 1024;
const MAX_SCRYPT_PARALLEL: u64 = 4;

pub(super) fn open(der: &[u8], passphrase: &str) -> Result<SecretDocument, KeyError> {
    if scheme(der).ok_or(KeyError::Damaged)? != PBES2_OID {
        return Err(KeyError::OldEncryption);
    }
    let locked = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        ErrorKind::OidUnknown { .. } => KeyError::UnknownEncryption,
        _ => KeyError::Damaged,
    })?;
    let EncryptionScheme::Pbes2(scheme) = &locked.encryption_algorithm else {
        return Err(KeyError::OldEncryption);
    };
    if !is_affordable(&scheme.kdf) {
        return Err(KeyError::TooCostly);
    }
    locked.decrypt(passphrase).map_err(|_| KeyError::PassphraseWrong)
}

/// Which way of locking the file names, known or not.
fn scheme(der: &[u8]) -> Option<ObjectIdentifier> {
    let (algorithm, _) = AlgorithmIdentifierRef::from_der_partial(AnyRef::from_der(der).ok()?.value()).ok()?;
    Some(algorithm.oid)
}

fn is_affordable(kdf: &Kdf) -> bool {
    match kdf {
        Kdf::Pbkdf2(asked) => (1..=MAX_ROUNDS).contains(&asked.iteration_count),
        Kdf::Scrypt(asked) => scrypt_memory(asked).is_some_and(|bytes| bytes <= MAX_SCRYPT_MEMORY),
        _ => false,
    }
}

/// None for what scrypt does not know: N is a power of two above 1, and nothing is zero.
fn scrypt_memory(asked: &ScryptParams) -> Option<u64> {
    let known = asked.cost_parameter > 1
        && asked.cost_parameter.is_power_of_two()
        && asked.block_size > 0
        && (1..=MAX_SCRYPT_PARALLEL).contains(&u64::from(asked.parallelization));
    known.then(|| asked.cost_parameter.checked_mul(128 * u64::from(asked.block_size))).flatten()
}
