//! How the clouds are spoken to, held against OpenSSL: it made the keys in `cloud/keys`, each of them `plain.pem` in
//! another dress, and told the digests below.

mod keys;
mod sign;

const PASSPHRASE: &str = "open sesame";

/// `openssl pkey -in plain.pem -pubout -outform DER | openssl md5 -c`
const MD5: &str = "9f:eb:41:c7:d2:09:ca:b0:a0:86:7a:c7:73:ac:0b:0b";
/// … `| openssl sha256 -binary | base64`
const SHA256: &str = "3iiwP2g6Mv6vXPDsHSrBdJL0goCn9H8+O7gcdBDmEqI=";
/// `openssl x509 -in certificate.pem -outform DER | openssl sha256`
const CERTIFICATE_SHA256: &str = "0a7702e9cbbdd017069c42f3b9c5bb06337955b4cb67f8f4365f0b41f08998cf";

macro_rules! openssl {
    ($name:literal) => {
        include_str!(concat!("keys/", $name, ".pem"))
    };
}
use openssl;
