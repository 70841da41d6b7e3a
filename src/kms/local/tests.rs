use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const DEK: Dek = Dek::new([5; 32]);

fn dir() -> TempDir {
    TempDir::new().unwrap()
}

fn context() -> Context {
    Context::for_org_key("acme")
}

fn passphrase() -> Secret {
    Secret::from("correct horse".to_owned())
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("default.key")
}

fn open(dir: &TempDir) -> Result<Local, Error> {
    Local::open(dir.path(), "default", None)
}

fn create(dir: &TempDir) -> Local {
    Local::create(dir.path(), "default", None).unwrap()
}

/// Rewrites the key file, as damage or another program would.
fn edit(dir: &TempDir, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(file(dir)).unwrap();
    fs::write(file(dir), change(text)).unwrap();
}

#[tokio::test]
async fn a_wrap_opens_after_a_restart() {
    let dir = dir();
    let wrapped = create(&dir).wrap(&DEK, &context()).await.unwrap();
    assert_eq!((wrapped.key.as_str(), wrapped.key_version.as_str()), ("local://default", "1"));
    assert_eq!(wrapped.bytes.len(), 81);
    assert_eq!(open(&dir).unwrap().unwrap(&wrapped, &context()).await.unwrap().expose(), DEK.expose());
}

#[tokio::test]
async fn a_wrap_does_not_open_in_another_place() {
    let dir = dir();
    let local = create(&dir);
    let wrapped = local.wrap(&DEK, &context()).await.unwrap();
    let mismatch = |result| matches!(result, Err(super::super::Error::Mismatch { .. }));
    assert!(mismatch(local.unwrap(&wrapped, &Context::for_org_key("other")).await));
    assert!(mismatch(Local::create(dir.path(), "other", None).unwrap().unwrap(&wrapped, &context()).await));
    let renamed = Wrapped { key: "local://other".into(), ..wrapped.clone() };
    assert!(mismatch(local.unwrap(&renamed, &context()).await));
    for length in 0..wrapped.bytes.len() {
        let cut = Wrapped { bytes: wrapped.bytes[..length].to_vec(), ..wrapped.clone() };
        assert!(mismatch(local.unwrap(&cut, &context()).await), "{length} bytes");
    }
    for bit in 0..wrapped.bytes.len() * 8 {
        let mut flipped = wrapped.clone();
        flipped.bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(mismatch(local.unwrap(&flipped, &context()).await), "bit {bit}");
    }
}

#[tokio::test]
async fn rotation_keeps_every_old_version() {
    let dir = dir();
    let mut wraps = vec![create(&dir).wrap(&DEK, &context()).await.unwrap()];
    for version in 2..5 {
        let rotated = Local::rotate(dir.path(), "default", None).unwrap();
        let wrapped = rotated.wrap(&DEK, &context()).await.unwrap();
        assert_eq!(wrapped.key_version, version.to_string());
        wraps.push(wrapped);
        for wrapped in &wraps {
            assert_eq!(rotated.unwrap(wrapped, &context()).await.unwrap().expose(), DEK.expose());
        }
    }
    // A version that the file does not have, and one that did not wrap it.
    let local = open(&dir).unwrap();
    let unknown = Wrapped { key_version: "9".into(), ..wraps[0].clone() };
    let error = local.unwrap(&unknown, &context()).await.unwrap_err();
    assert_eq!(error.to_string(), "local://default refuses: the key file has no version 9; restore it from a backup");
    for other in ["2", "01", "+1", ""] {
        let moved = Wrapped { key_version: other.into(), ..wraps[0].clone() };
        assert!(local.unwrap(&moved, &context()).await.is_err(), "{other:?}");
    }
}

#[test]
fn concurrent_rotations_lose_no_version() {
    let dir = dir();
    create(&dir);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Local::rotate(dir.path(), "default", None).unwrap());
        }
    });
    assert_eq!(open(&dir).unwrap().keys.load().len(), 9);
}

#[test]
fn concurrent_creations_make_one_key() {
    let dir = dir();
    let mut keys: Vec<_> = std::thread::scope(|scope| {
        let create = || Local::open_or_create(dir.path(), "default", None).unwrap().keys.load()[&1].clone();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| *thread.join().unwrap()).collect()
    });
    keys.dedup();
    assert_eq!(keys.len(), 1);
}

#[test]
fn only_the_owner_can_read_it_and_nothing_else_is_left() {
    let dir = dir();
    create(&dir);
    Local::rotate(dir.path(), "default", None).unwrap();
    assert_eq!(fs::metadata(file(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["default.key"]);
}

#[test]
fn a_key_file_is_never_overwritten() {
    let dir = dir();
    create(&dir);
    let before = fs::read(file(&dir)).unwrap();
    let error = Local::create(dir.path(), "default", None).unwrap_err();
    assert!(matches!(error.fault, Fault::Exists), "{error}");
    assert_eq!(fs::read(file(&dir)).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn refused_when_others_may_read_it() {
    let dir = dir();
    create(&dir);
    for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
        fs::set_permissions(file(&dir), fs::Permissions::from_mode(mode)).unwrap();
        let path = file(&dir).display().to_string();
        let expected = format!("{path}: others may read it (mode {mode:04o}); run: chmod 600 '{path}'");
        assert_eq!(open(&dir).unwrap_err().to_string(), expected);
    }
    fs::set_permissions(file(&dir), fs::Permissions::from_mode(0o400)).unwrap();
    open(&dir).unwrap();
}

#[test]
fn refused_when_it_is_not_a_file() {
    let dir = dir();
    create(&dir);
    fs::rename(file(&dir), dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), file(&dir)).unwrap();
    assert!(matches!(open(&dir).unwrap_err().fault, Fault::NotAFile));
    // Not even a link to nowhere is taken for an invitation to create.
    fs::remove_file(dir.path().join("real")).unwrap();
    assert!(matches!(Local::open_or_create(dir.path(), "default", None).unwrap_err().fault, Fault::NotAFile));

    fs::remove_file(file(&dir)).unwrap();
    fs::create_dir(file(&dir)).unwrap();
    assert!(matches!(open(&dir).unwrap_err().fault, Fault::NotAFile));

    fs::remove_dir(file(&dir)).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, file(&dir), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(open(&dir).unwrap_err().fault, Fault::NotAFile));
}

#[test]
fn missing_says_so() {
    assert!(matches!(open(&dir()).unwrap_err().fault, Fault::Missing));
    let nowhere = dir().path().join("nowhere");
    assert!(matches!(Local::create(&nowhere, "default", None).unwrap_err().fault, Fault::Io { .. }));
}

#[test]
fn a_name_stays_in_its_directory() {
    let long = "x".repeat(65);
    for name in ["", "..", "../up", "a/b", "Upper", "dot.", "a b", "nul\0", "ä", &long] {
        let error = Local::open_or_create(dir().path(), name, None).unwrap_err();
        assert!(matches!(error.fault, Fault::Name), "{name:?}: {error}");
    }
}

#[tokio::test]
async fn a_passphrase_is_needed_and_the_right_one() {
    let dir = dir();
    let local = Local::create(dir.path(), "default", Some(&passphrase())).unwrap();
    let wrapped = local.wrap(&DEK, &context()).await.unwrap();
    let rotated = Local::rotate(dir.path(), "default", Some(&passphrase())).unwrap();
    assert_eq!(rotated.unwrap(&wrapped, &context()).await.unwrap().expose(), DEK.expose());

    let text = fs::read_to_string(file(&dir)).unwrap();
    for key in rotated.keys.load().values() {
        assert!(!text.contains(&data_encoding::HEXLOWER.encode(key.as_slice())));
    }

    let fault = |passphrase: Option<&str>| {
        let passphrase = passphrase.map(|text| Secret::from(text.to_owned()));
        Local::open(dir.path(), "default", passphrase.as_ref()).unwrap_err().fault
    };
    assert!(matches!(fault(Some("wrong horse")), Fault::WrongPassphrase));
    assert!(matches!(fault(Some("")), Fault::PassphraseEmpty));
    assert!(matches!(fault(None), Fault::PassphraseMissing));

    // A damaged key is not blamed on the passphrase.
    edit(&dir, |text| {
        let (start, key) = text.split_once("key = \"").unwrap();
        let flipped = if key.starts_with('0') { "1" } else { "0" };
        format!("{start}key = \"{flipped}{}", &key[1..])
    });
    let damage = fault(Some("correct horse")).to_string();
    assert_eq!(damage, "damaged: version 1 of the key is broken; restore it from a backup");
}

/// Somebody who can write the directory must not be able to slip in a key that they know.
#[test]
fn an_open_file_where_a_protected_one_is_expected_is_refused() {
    let dir = dir();
    create(&dir);
    let error = Local::open_or_create(dir.path(), "default", Some(&passphrase())).unwrap_err();
    assert!(matches!(error.fault, Fault::PassphraseUnused), "{error}");
}

#[test]
fn a_cost_beyond_reason_is_refused_before_it_is_paid() {
    let dir = dir();
    Local::create(dir.path(), "default", Some(&passphrase())).unwrap();
    for (good, bad) in [
        ("memory_kib = 65536", "memory_kib = 4294967295"),
        ("memory_kib = 65536", "memory_kib = 1"),
        ("passes = 3", "passes = 4294967295"),
        ("passes = 3", "passes = 0"),
        ("lanes = 1", "lanes = 16777215"),
    ] {
        edit(&dir, |text| text.replace(good, bad));
        let error = Local::open(dir.path(), "default", Some(&passphrase())).unwrap_err();
        assert!(matches!(error.fault, Fault::Damaged(_)), "{bad}: {error}");
        edit(&dir, |text| text.replace(bad, good));
    }
}

#[test]
fn damage_is_named_by_its_line_and_not_shown() {
    let dir = dir();
    create(&dir);
    let text = fs::read_to_string(file(&dir)).unwrap();
    let key = text.split("key = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let line = text.lines().position(|line| line.starts_with("key")).unwrap() + 1;

    for broken in [
        text.replace("key = \"", "key = "),
        text.replace("key = \"", "kex = \""),
        text.replace("key = \"", "key = [1] # \""),
    ] {
        fs::write(file(&dir), broken).unwrap();
        let error = open(&dir).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&format!("line {line} ")), "{shown}");
        assert!(!shown.contains(&key[..8]), "{shown}");
    }

    let fault = |broken: &[u8]| {
        fs::write(file(&dir), broken).unwrap();
        open(&dir).unwrap_err().fault.to_string()
    };
    assert!(fault(b"").starts_with("damaged"));
    assert!(fault(b"\xff\xfe").starts_with("damaged: not text"));
    assert!(fault(b"format = 1\nkeys = []").starts_with("damaged: its key versions"));
    assert!(fault(text.replace("version = 1", "version = 0").as_bytes()).starts_with("damaged: its key versions"));
    assert!(fault(text.replace(&key, &key[..62]).as_bytes()).starts_with("damaged: version 1 of the key is broken"));
    assert!(fault(text.replace("format = 1", "format = 0").as_bytes()).starts_with("damaged: its format is unknown"));
    assert_eq!(fault(b"format = 2\nnew = true"), "written by a newer strongroom: format 2");
    assert!(fault(&vec![b'#'; 70_000]).starts_with("damaged: longer than"));
    assert!(fault(text.replace("version = 1", "version = 2").as_bytes()).starts_with("damaged: version 2 of the key"));
    let twice = format!("{text}{}", &text[text.find("[[keys]]").unwrap()..]);
    assert!(fault(twice.as_bytes()).starts_with("damaged: its key versions"));
}

proptest! {
    /// Wherever a bit falls over, the file opens as it was, or not at all.
    #[test]
    fn a_flipped_bit_never_gives_another_key(bit: prop::sample::Index) {
        let dir = dir();
        let keys = create(&dir).keys.load_full();
        let mut bytes = fs::read(file(&dir)).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(file(&dir), bytes).unwrap();
        if let Ok(local) = open(&dir) {
            prop_assert_eq!(local.keys.load_full(), keys);
        }
    }
}
