//! Whom a file is for, and who opens it: X25519 keys, spelled in bech32 (BIP 173).

use aws_lc_rs::aead::Aad;
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::header::Stanza;
use super::{Error, TAG_LENGTH, cipher, derive};

const KIND: &str = "X25519";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";
const RECIPIENT: &str = "age";
const IDENTITY: &str = "age-secret-key-";
/// Bech32's own limit is far above the 62 and 74 characters that there are.
const TEXT_MAX: usize = 90;
const ZERO_NONCE: [u8; 12] = [0; 12];

/// Whom a file is for: `age1…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    text: String,
    key: [u8; 32],
}

/// Who opens a file: `AGE-SECRET-KEY-1…`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Identity([u8; 32]);

/// What is wrong with how a key is spelled. Never says what stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongKey {
    #[error("is an identity, the private half, which must not be on this machine: take it out, and name `age1…`")]
    Private,
    #[error("is a recipient, the public half: the identity begins with AGE-SECRET-KEY-1")]
    Public,
    #[error("is of a kind that is not supported: X25519 alone is, `age1` and 58 characters, without a plugin's name")]
    Kind,
    #[error("mixes upper and lower case, or has the wrong one")]
    Case,
    #[error("is misspelled or cut: its checksum is wrong")]
    Checksum,
    #[error("does not hold 32 bytes")]
    Length,
    #[error("is no point that a key can be agreed with")]
    LowOrder,
}

impl Recipient {
    /// As it is spelled, in lower case.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for Recipient {
    type Err = WrongKey;

    fn from_str(text: &str) -> Result<Self, WrongKey> {
        if is_private(text) {
            return Err(WrongKey::Private);
        }
        let key = *bytes(text, RECIPIENT, char::is_uppercase)?;
        let recipient = Self { text: text.to_owned(), key };
        // Of a point of low order, every agreement is the same zeros.
        wrap(&recipient, &[0; 16]).map_err(|_| WrongKey::LowOrder)?;
        Ok(recipient)
    }
}

impl Identity {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public half.
    pub fn recipient(&self) -> Result<Recipient, Error> {
        let key = public(&self.private()?)?;
        let hrp = bech32::Hrp::parse(RECIPIENT).map_err(|_| Error::Unmade)?;
        let text = bech32::encode_lower::<Bech32>(hrp, &key).map_err(|_| Error::Unmade)?;
        Ok(Recipient { text, key })
    }

    fn private(&self) -> Result<PrivateKey, Error> {
        PrivateKey::from_private_key(&X25519, &self.0).map_err(|_| Error::Unmade)
    }
}

impl std::str::FromStr for Identity {
    type Err = WrongKey;

    fn from_str(text: &str) -> Result<Self, WrongKey> {
        if text.starts_with("age1") {
            return Err(WrongKey::Public);
        }
        bytes(text, IDENTITY, char::is_lowercase).map(|bytes| Self(*bytes))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(32 bytes)")
    }
}

/// In whatever case it was pasted.
fn is_private(text: &str) -> bool {
    text.get(..IDENTITY.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(IDENTITY))
}

fn bytes(text: &str, prefix: &str, wrong: fn(char) -> bool) -> Result<Zeroizing<[u8; 32]>, WrongKey> {
    if text.len() > TEXT_MAX || !text.is_ascii() {
        return Err(WrongKey::Kind);
    }
    if !text.rsplit_once('1').is_some_and(|(hrp, _)| hrp.eq_ignore_ascii_case(prefix)) {
        return Err(WrongKey::Kind);
    }
    if text.chars().any(wrong) {
        return Err(WrongKey::Case);
    }
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| WrongKey::Checksum)?;
    // 52 letters hold 256 bits and four more, which must be zeros.
    let mut letters = checked.fe32_iter();
    let last = letters.by_ref().last().map_or(0, |last| last.to_u8());
    if checked.fe32_iter().count() != 52 || last & 0x0f != 0 {
        return Err(WrongKey::Length);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.iter_mut().zip(checked.byte_iter()).for_each(|(place, byte)| *place = byte);
    Ok(bytes)
}

/// The file key, for one recipient, by a key pair that is used once.
pub(super) fn wrap(recipient: &Recipient, file_key: &[u8; 16]) -> Result<Stanza, Error> {
    let unmade = || Error::Unmade;
    let secret = Zeroizing::new(crate::crypto::random::<32>().map_err(|_| unmade())?);
    let ephemeral = PrivateKey::from_private_key(&X25519, &*secret).map_err(|_| unmade())?;
    let share = public(&ephemeral)?;
    let key = agree(&ephemeral, &recipient.key, &share, &recipient.key)?.ok_or_else(unmade)?;
    let mut body = Zeroizing::new(file_key.to_vec());
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(ZERO_NONCE);
    let tag = cipher(&key)?.seal_in_place_separate_tag(nonce, Aad::empty(), &mut body).map_err(|_| unmade())?;
    Ok(Stanza {
        arguments: vec![KIND.to_owned(), STANDARD_NO_PAD.encode(share)],
        body: [&body[..], tag.as_ref()].concat(),
    })
}

/// None where it is for somebody else.
pub(super) fn unwrap(identity: &Identity, stanza: &Stanza) -> Result<Option<Zeroizing<[u8; 16]>>, Error> {
    let [kind, arguments @ ..] = &stanza.arguments[..] else { return Err(Error::Header) };
    if kind != KIND {
        return Ok(None);
    }
    let [share] = arguments else { return Err(Error::Header) };
    let share = STANDARD_NO_PAD.decode(share).map_err(|_| Error::Header)?;
    let share: [u8; 32] = share.try_into().map_err(|_| Error::Header)?;
    if stanza.body.len() != 16 + TAG_LENGTH {
        return Err(Error::Header);
    }
    let private = identity.private()?;
    let recipient = public(&private)?;
    let key = agree(&private, &share, &share, &recipient)?.ok_or(Error::Header)?;
    let mut body = Zeroizing::new(stanza.body.clone());
    let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(ZERO_NONCE);
    match cipher(&key)?.open_in_place(nonce, Aad::empty(), &mut body) {
        Ok(file_key) => Ok((&*file_key).try_into().ok().map(Zeroizing::new)),
        Err(_) => Ok(None),
    }
}

/// None where the other's key is a point of low order: the secret would be zeros, which everybody knows.
fn agree(
    private: &PrivateKey,
    other: &[u8; 32],
    share: &[u8; 32],
    recipient: &[u8; 32],
) -> Result<Option<Zeroizing<[u8; 32]>>, Error> {
    let other = UnparsedPublicKey::new(&X25519, other);
    let agreed = agreement::agree(private, other, None, |secret| {
        let mut zeros = 0;
        secret.iter().for_each(|byte| zeros |= byte);
        if zeros == 0 {
            return Err(None);
        }
        derive(secret, &[&share[..], recipient].concat(), INFO).map_err(Some)
    });
    match agreed {
        Ok(key) => Ok(Some(key)),
        Err(None) => Ok(None),
        Err(Some(error)) => Err(error),
    }
}

fn public(private: &PrivateKey) -> Result<[u8; 32], Error> {
    let public = private.compute_public_key().map_err(|_| Error::Unmade)?;
    public.as_ref().try_into().map_err(|_| Error::Unmade)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of age's test kit.
    const PRIVATE: &str = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";

    fn spelled(prefix: &str, bytes: &[u8]) -> String {
        bech32::encode_lower::<Bech32>(bech32::Hrp::parse(prefix).unwrap(), bytes).unwrap()
    }

    #[test]
    fn a_recipient_is_spelled_in_one_way() {
        let identity: Identity = PRIVATE.parse().unwrap();
        let recipient = identity.recipient().unwrap();
        let text = recipient.as_str();
        assert_eq!(text.parse(), Ok(recipient.clone()));
        let altered = text.replacen(&text[20..21], if &text[20..21] == "q" { "p" } else { "q" }, 1);
        let (upper, mixed) = (text.to_uppercase(), text.replacen("age1", "AGE1", 1));
        let bech32m = bech32::encode_lower::<bech32::Bech32m>(bech32::Hrp::parse("age").unwrap(), &[9; 32]).unwrap();
        for (wrong, why) in [
            (PRIVATE, WrongKey::Private),
            (&PRIVATE.to_lowercase(), WrongKey::Private),
            ("AGE-SECRET-KEY-1cut", WrongKey::Private),
            (&upper, WrongKey::Case),
            (&mixed, WrongKey::Case),
            (&altered, WrongKey::Checksum),
            (&text[..50], WrongKey::Checksum),
            (&bech32m, WrongKey::Checksum),
            (&spelled("age", &[9; 31]), WrongKey::Length),
            (&spelled("age", &[9; 33]), WrongKey::Length),
            (&spelled("age", &[0; 32]), WrongKey::LowOrder),
            (&spelled("age1yubikey", &[9; 32]), WrongKey::Kind),
            (&spelled("bc", &[9; 32]), WrongKey::Kind),
            (&format!(" {text}"), WrongKey::Kind),
            ("age1", WrongKey::Checksum),
            ("ssh-ed25519 AAAA", WrongKey::Kind),
            ("", WrongKey::Kind),
        ] {
            assert_eq!(wrong.parse::<Recipient>(), Err(why), "{wrong}");
        }
    }

    #[test]
    fn an_identity_is_upper_case_and_whole() {
        let recipient = PRIVATE.parse::<Identity>().unwrap().recipient().unwrap();
        for (wrong, why) in [
            (recipient.as_str(), WrongKey::Public),
            (&PRIVATE.to_lowercase(), WrongKey::Case),
            (&PRIVATE[..60], WrongKey::Checksum),
            (&PRIVATE.replacen('Z', "Y", 1), WrongKey::Checksum),
        ] {
            assert_eq!(wrong.parse::<Identity>().err(), Some(why), "{wrong}");
        }
        assert_eq!(format!("{:?}", PRIVATE.parse::<Identity>()), "Ok(Identity(32 bytes))");
    }
}
