//! The stored format's vectors: files that state their own verdict. `tests/peers/decrypt.py` reads the same ones.

mod age;
mod make;
mod residue;

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use strongroom::crypto::{self, Dek, Error, Identity, Seal, Secret};
use strongroom::kms::{Context, Kms as _, Local, Wrapped};

const FORMAT: &str = "Sealed blobs and what a decryptor must say of them. Bytes are hex. A case has what base has, \
                      where it says nothing else. why is the first check that refuses.";

#[derive(Deserialize, Serialize)]
struct Vectors {
    about: String,
    base: Case,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Case {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dek: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plaintext: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Opens,
    Refused,
}

#[derive(Clone, Deserialize, Serialize)]
pub struct Who {
    org: String,
    project: String,
    provider: String,
    name: String,
    credential: uuid::Uuid,
    version: u32,
}

impl From<&Who> for Identity {
    fn from(Who { org, project, provider, name, credential, version }: &Who) -> Self {
        Self {
            org: org.clone(),
            project: project.clone(),
            provider: provider.clone(),
            name: name.clone(),
            credential: *credential,
            version: *version,
        }
    }
}

/// Law 8: whatever was once sealed opens forever. Files may be added to `golden`, never changed or taken away.
#[tokio::test]
async fn the_golden_corpus_opens() {
    let mut names: Vec<_> = fs::read_dir(vectors().join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    for name in ["v1-aes256gcm.json", "v1-fernet.json", "v1-local-passphrase.json", "v1-local.json"] {
        assert!(names.iter().any(|there| there == name), "{name} is gone");
    }
    for name in names {
        let opened = match name.contains("-local") {
            true => unwrap(&vectors().join("golden").join(&name)).await,
            false => run(&format!("golden/{name}")).0,
        };
        assert!(opened > 0, "{name}: none opened");
    }
}

#[test]
fn every_vector_has_the_verdict_it_states() {
    for seal in [Seal::Aes256Gcm, Seal::Fernet] {
        let (opened, refused) = run(&format!("{}.json", seal.as_str()));
        assert!(opened >= 6 && refused >= 120, "{opened} opened, {refused} refused");
    }
}

/// The files are not edited by hand. When the cases below change, this writes new ones beside and says where.
#[test]
fn the_vectors_are_what_the_code_makes() {
    for seal in [Seal::Aes256Gcm, Seal::Fernet] {
        let name = format!("{}.json", seal.as_str());
        let stored = fs::read_to_string(vectors().join(&name)).unwrap_or_default();
        let made = render(&make::vectors(seal, serde_json::from_str(&stored).ok().as_ref()));
        if made != stored {
            let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
            fs::write(&fresh, made).unwrap();
            panic!("tests/vectors/{name} is not what the code makes; if that is meant, take {}", fresh.display());
        }
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// How many opened and how many were refused, each as its file says.
fn run(name: &str) -> (usize, usize) {
    let text = fs::read_to_string(vectors().join(name)).unwrap();
    let Vectors { base, cases, .. } = serde_json::from_str(&text).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for case in [&base].into_iter().chain(&cases) {
        let context = format!("{name}: {} ({:?})", case.name, case.changed);
        match (case.verdict, case.open(&base)) {
            (Verdict::Opens, Ok(plaintext)) => {
                let expected = unhex(case.plaintext.as_ref().or(base.plaintext.as_ref()).unwrap());
                assert_eq!(plaintext.expose(), expected, "{context}");
                opened += 1;
            }
            (Verdict::Refused, Err(error)) => {
                assert_eq!(case.why.as_deref(), Some(why(error)), "{context}");
                refused += 1;
            }
            (verdict, result) => panic!("{context}: {verdict:?} expected, got {result:?}"),
        }
    }
    (opened, refused)
}

impl Case {
    fn open(&self, base: &Self) -> Result<Secret, Error> {
        let dek = self.dek.as_ref().or(base.dek.as_ref()).unwrap();
        let dek = Dek::new(unhex(dek).try_into().unwrap());
        let identity = self.identity.as_ref().or(base.identity.as_ref()).unwrap();
        let blob = self.blob.as_ref().or(base.blob.as_ref()).unwrap();
        crypto::open(&dek, &identity.into(), &unhex(blob))
    }
}

const fn why(error: Error) -> &'static str {
    match error {
        Error::UnknownFormat => "format",
        Error::UnknownSeal => "seal",
        Error::Length => "length",
        Error::Commitment => "commitment",
        Error::Altered => "altered",
    }
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// A case a line: a diff then shows which ones changed.
fn render(Vectors { about, base, cases }: &Vectors) -> String {
    let json = |case| serde_json::to_string(case).unwrap();
    let cases: Vec<_> = cases.iter().map(json).collect();
    let (about, base) = (serde_json::to_string(about).unwrap(), json(base));
    format!("{{\n\"about\": {about},\n\"base\": {base},\n\"cases\": [\n{}\n]\n}}\n", cases.join(",\n"))
}

/// A key file of format 1, what it wrapped, and what it did not.
#[derive(Deserialize)]
struct LocalVectors {
    key_file: String,
    passphrase: Option<String>,
    cases: Vec<WrapCase>,
}

#[derive(Deserialize)]
struct WrapCase {
    name: String,
    verdict: Verdict,
    /// One of the two says what it was wrapped for.
    identity: Option<Who>,
    org_key: Option<String>,
    key_version: String,
    wrapped: String,
    dek: String,
}

/// How many unwrapped.
async fn unwrap(file: &Path) -> usize {
    let LocalVectors { key_file, passphrase, cases } =
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    checked_out(&file.with_file_name(key_file), &dir.path().join("default.key"));
    let local = Local::open(dir.path(), "default", passphrase.map(Secret::from).as_ref()).unwrap();
    let mut unwrapped = 0;
    for case in cases {
        let context = match (&case.identity, &case.org_key) {
            (Some(who), None) => Context::of(&who.into()),
            (None, Some(org)) => Context::for_org_key(org),
            _ => panic!("{}: one of identity and org_key", case.name),
        };
        let (key, key_version, bytes) = (local.uri().to_owned(), case.key_version, unhex(&case.wrapped));
        let result = local.unwrap(&Wrapped { key, key_version, bytes }, &context).await;
        match case.verdict {
            Verdict::Opens => {
                assert_eq!(result.unwrap().expose().as_slice(), unhex(&case.dek), "{}", case.name);
                unwrapped += 1;
            }
            Verdict::Refused => assert!(result.is_err(), "{}", case.name),
        }
    }
    unwrapped
}

/// Version control does not keep the mode that a key file must have.
fn checked_out(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::copy(from, to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
}
