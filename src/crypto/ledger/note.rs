//! Signed checkpoints, in the text form of C2SP `tlog-checkpoint` and `signed-note`, which other transparency logs and
//! their tools use:
//!
//! ```text
//!   strongroom/INSTANCE                        the origin, and the key's name
//!   1042                                       how many records
//!   BASE64                                     the root of the tree over them
//!   head BASE64                                the hash of the last one in the chain
//!   time 2026-01-31T12:00:00Z
//!
//!   — strongroom/INSTANCE BASE64               first four bytes of the key's hash ‖ Ed25519 signature of all lines above
//!
//!   key's hash   = SHA-256( name ‖ "\n" ‖ 01 ‖ public key )
//!   verifier key = name "+" first four bytes of the hash in hex "+" BASE64( 01 ‖ public key )
//! ```
//!
//! A file of checkpoints is one after another, with an empty line between.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::Hash;

/// The byte that says Ed25519.
const ALGORITHM: u8 = 1;
/// What signatures begin with.
pub const DASH: &str = "— ";
/// What origins begin with.
const OURS: &str = "strongroom/";

/// Whose checkpoints they are.
pub fn origin(instance: &str) -> String {
    format!("{OURS}{instance}")
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub instance: String,
    pub size: u64,
    pub root: Hash,
    pub head: Hash,
    /// As RFC 3339 writes it.
    pub time: String,
}

impl Checkpoint {
    fn text(&self) -> String {
        let Self { instance, size, root, head, time } = self;
        let (origin, root, head) = (origin(instance), STANDARD.encode(root), STANDARD.encode(head));
        format!("{origin}\n{size}\n{root}\nhead {head}\ntime {time}\n")
    }

    /// None where the text is not exactly what [`Self::text`] makes.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let instance = lines.next()?.strip_prefix(OURS)?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let mut hash =
            |label: &str| -> Option<Hash> { STANDARD.decode(lines.next()?.strip_prefix(label)?).ok()?.try_into().ok() };
        let (root, head) = (hash("")?, hash("head ")?);
        let time = lines.next()?.strip_prefix("time ")?.to_owned();
        let read = Self { instance, size, root, head, time };
        (read.text() == text).then_some(read)
    }
}

/// A text with signatures under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    key: [u8; 4],
    bytes: Vec<u8>,
}

/// Why a note is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("is not a signed checkpoint")]
    Malformed,
    #[error("is not signed by the audit key")]
    OtherKey,
    #[error("has a signature that does not fit its text")]
    Altered,
}

impl Note {
    /// What the first of these keys that it bears a signature of has signed.
    pub fn open(&self, keys: &[Verifier]) -> Result<Checkpoint, Refused> {
        let signed = self.signatures.iter().find_map(|signature| {
            let fits = |key: &&Verifier| key.name == signature.name && key.hash() == signature.key;
            keys.iter().find(fits).map(|key| (key, signature))
        });
        let (key, signature) = signed.ok_or(Refused::OtherKey)?;
        let public = UnparsedPublicKey::new(&ED25519, &key.public);
        public.verify(self.text.as_bytes(), &signature.bytes).map_err(|_| Refused::Altered)?;
        let checkpoint = Checkpoint::parse(&self.text).ok_or(Refused::Malformed)?;
        // A key speaks for the origin that it is named after, and for no other.
        if origin(&checkpoint.instance) == key.name { Ok(checkpoint) } else { Err(Refused::OtherKey) }
    }

    /// What it claims, whoever signed it.
    pub fn claims(&self) -> Option<Checkpoint> {
        Checkpoint::parse(&self.text)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, key, bytes } in &self.signatures {
            writeln!(f, "{DASH}{name} {}", STANDARD.encode([key, bytes.as_slice()].concat()))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        match read(text) {
            (notes, end) if end == text.len() => match <[Self; 1]>::try_from(notes) {
                Ok([note]) => Ok(note),
                Err(_) => Err(Refused::Malformed),
            },
            _ => Err(Refused::Malformed),
        }
    }
}

/// The notes of a file, and where the last whole one ends: a crash may have left a part of one behind it.
pub fn read(file: &str) -> (Vec<Note>, usize) {
    let mut notes: Vec<Note> = Vec::new();
    let (mut text, mut signatures, mut at, mut whole) = (String::new(), None::<Vec<Signature>>, 0, 0);
    for line in file.split_inclusive('\n') {
        at += line.len();
        let Some(line) = line.strip_suffix('\n') else { break };
        match (&mut signatures, line.strip_prefix(DASH)) {
            (Some(found), Some(signature)) => {
                let Some(signature) = parse_signature(signature) else { break };
                found.push(signature);
                match notes.last_mut().filter(|_| found.len() > 1) {
                    Some(note) => note.signatures.clone_from(found),
                    None => notes.push(Note { text: std::mem::take(&mut text), signatures: found.clone() }),
                }
                whole = at;
            }
            (Some(found), None) if found.is_empty() => break,
            (Some(_), None) if line.is_empty() => whole = at,
            (_, None) if line.is_empty() && text.is_empty() => whole = at,
            (None, None) if line.is_empty() => signatures = Some(Vec::new()),
            (_, None) => {
                signatures = None;
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(_)) => break,
        }
    }
    (notes, whole)
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (key, bytes) = bytes.split_first_chunk::<4>()?;
    Some(Signature { name: name.to_owned(), key: *key, bytes: bytes.to_vec() })
}

/// The public half of an audit key, with the name of whose checkpoints it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    public: [u8; 32],
}

impl Verifier {
    pub fn new(instance: &str, public: [u8; 32]) -> Self {
        Self { name: origin(instance), public }
    }

    pub fn is_of(&self, instance: &str) -> bool {
        self.name == origin(instance)
    }

    /// What is signed besides checkpoints begins otherwise than they do.
    pub(in crate::crypto) fn has_signed(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), signature).is_ok()
    }

    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    fn hash(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ALGORITHM]).chain_update(self.public);
        let [a, b, c, d, ..]: Hash = hash.finalize().into();
        [a, b, c, d]
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ALGORITHM], self.public.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.hash()), STANDARD.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (name, rest) = text.split_once('+')?;
            let (hash, key) = rest.split_once('+')?;
            let key: [u8; 33] = STANDARD.decode(key).ok()?.try_into().ok()?;
            let ([ALGORITHM], public) = key.split_first_chunk::<1>()? else { return None };
            let read = Self { name: name.to_owned(), public: public.try_into().ok()? };
            (name.starts_with(OURS) && HEXLOWER.encode(&read.hash()) == hash).then_some(read)
        };
        read().ok_or("must be strongroom/INSTANCE+HASH+KEY, as `strongroom audit key` prints it")
    }
}

/// The private half.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// None where the library refuses the seed; it refuses none of this length.
    pub fn new(instance: &str, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { pair, verifier: Verifier::new(instance, public) })
    }

    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub const fn public(&self) -> [u8; 32] {
        self.verifier.public
    }

    pub(in crate::crypto) fn sign_text(&self, text: &str) -> Vec<u8> {
        self.pair.sign(text.as_bytes()).as_ref().to_vec()
    }

    pub fn sign(&self, checkpoint: &Checkpoint) -> Note {
        let text = checkpoint.text();
        let bytes = self.sign_text(&text);
        let signature = Signature { name: self.verifier.name.clone(), key: self.verifier.hash(), bytes };
        Note { text, signatures: vec![signature] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8) -> Signer {
        Signer::new("0198", &[seed; 32]).unwrap()
    }

    fn checkpoint(size: u64) -> Checkpoint {
        let root = [u8::try_from(size).unwrap(); 32];
        Checkpoint { instance: "0198".into(), size, root, head: [9; 32], time: "2026-01-31T12:00:00Z".into() }
    }

    /// The example of C2SP's signed-note, and golang.org/x/mod/sumdb/note's.
    #[test]
    fn keys_are_named_as_others_name_them() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let (name, rest) = key.split_once('+').unwrap();
        let (hash, public) = rest.split_once('+').unwrap();
        let public = STANDARD.decode(public).unwrap();
        let verifier = Verifier { name: name.into(), public: public[1..].try_into().unwrap() };
        assert_eq!(HEXLOWER.encode(&verifier.hash()), hash);
        assert_eq!(verifier.to_string(), key);
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let signature = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let (notes, _) = read(&format!("{text}\n{signature}\n"));
        assert_eq!(notes[0].text, text);
        // Signed well, but no checkpoint.
        assert_eq!(notes[0].open(&[verifier]), Err(Refused::Malformed));
    }

    #[test]
    fn what_was_signed_is_read_and_nothing_else() {
        let signer = signer(1);
        let note = signer.sign(&checkpoint(7)).to_string();
        let keys = [signer.verifier().clone()];
        let opened = |text: &str| text.parse::<Note>().and_then(|note| note.open(&keys));
        assert_eq!(opened(&note), Ok(checkpoint(7)));
        for (at, _) in note.char_indices() {
            let mut altered = note.clone();
            let end = at + altered[at..].chars().next().unwrap().len_utf8();
            altered.replace_range(at..end, "A");
            assert!(altered == note || opened(&altered).is_err(), "{altered}");
            assert!(opened(&note[..at]).is_err(), "{}", &note[..at]);
        }
        assert_eq!(note.parse::<Note>().unwrap().open(&[self::signer(2).verifier().clone()]), Err(Refused::OtherKey));
        let elsewhere = Signer::new("0199", &[1; 32]).unwrap();
        assert_eq!(elsewhere.sign(&checkpoint(7)).open(&[elsewhere.verifier().clone()]), Err(Refused::OtherKey));
    }

    #[test]
    fn a_verifier_key_goes_there_and_back() {
        let verifier = signer(1).verifier().clone();
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        for wrong in ["", "a+b", "strongroom/0198+00000000+AAAA", &verifier.to_string().replace("0198", "0199")] {
            assert!(wrong.parse::<Verifier>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_where_a_crash_cut_it() {
        let signer = signer(1);
        let notes: Vec<Note> = (1..4).map(|size| signer.sign(&checkpoint(size))).collect();
        let file: String = notes.iter().map(|note| format!("{note}\n")).collect();
        assert_eq!(read(&file), (notes.clone(), file.len()));
        let two = file.len() - notes[2].to_string().len() - 1;
        for cut in (two..file.len() - 1).filter(|cut| file.is_char_boundary(*cut)) {
            let (found, whole) = read(&file[..cut]);
            let expected = if cut == file.len() - 1 { 3 } else { 2 };
            assert_eq!((found.len(), whole), (expected, two), "cut at {cut}");
        }
        assert_eq!(read(""), (vec![], 0));
        let garbage = format!("{}what is this\n\nno signature\n", &file[..two]);
        assert_eq!(read(&garbage), (notes[..2].to_vec(), two));
    }
}
