use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crypto::ledger::note::{self, Note};

const INSTANCE: &str = "0198";

fn signer(seed: u8) -> Signer {
    Signer::new(INSTANCE, &[seed; 32]).unwrap()
}

fn header() -> Header {
    Header { format: FORMAT, schema: 8, instance: INSTANCE.into(), at: "2026-01-31T12:00:00Z".into() }
}

/// An export of two tables, signed by one of the two keys that are in it.
fn export(by: &Signer) -> Vec<String> {
    let (mut writer, line) = Writer::begin(header()).unwrap();
    let mut lines = vec![line, writer.table(KEYS, &["number", "instance", "public"]).unwrap()];
    for seed in [1, 2] {
        let public = STANDARD.encode(signer(seed).public());
        lines.push(writer.row(&[json!(seed), json!(INSTANCE), json!(public)]).unwrap());
    }
    lines.push(writer.table("things", &["name", "bytes"]).unwrap());
    lines.push(writer.row(&[json!("ä\n"), json!("AAEC")]).unwrap());
    lines.push(writer.row(&[json!("b"), json!(null)]).unwrap());
    lines.push(writer.end(by).unwrap());
    lines
}

fn read(bytes: &[u8]) -> Result<(Vec<Item>, Whole), Wrong> {
    let (mut reader, mut items) = (Reader::default(), Vec::new());
    for piece in bytes.chunks(7) {
        reader.take::<Wrong>(piece, |_, item| {
            items.push(item);
            Ok(())
        })?;
    }
    Ok((items, reader.finish()?))
}

fn refused(lines: &[String]) -> String {
    read(lines.concat().as_bytes()).unwrap_err().to_string()
}

#[test]
fn what_was_written_is_read() {
    for seed in [1, 2] {
        let (items, whole) = read(export(&signer(seed)).concat().as_bytes()).unwrap();
        assert_eq!(items[0], Item::Header(header()));
        assert_eq!(items[5], Item::Row(vec![json!("ä\n"), json!("AAEC")]));
        assert_eq!(items.last(), Some(&Item::End));
        assert_eq!(whole.rows, BTreeMap::from([(KEYS.to_owned(), 2), ("things".to_owned(), 2)]));
        assert_eq!((whole.header, &whole.key), (header(), signer(seed).verifier()));
    }
}

#[test]
fn each_damage_has_its_name() {
    let whole = export(&signer(1));
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = whole.clone();
        change(&mut lines);
        refused(&lines)
    };
    let last = whole.len() - 1;
    assert_eq!(refused(&[]), "it is empty");
    assert_eq!(refused(&["hello\n".into()]), "it is no export of a vault: it does not begin as one");
    let audit = r#"{"type":"header","format":1,"instance":"0198","size":1}"#;
    assert_eq!(refused(&[format!("{audit}\n")]), "it is no export of a vault: it does not begin as one");
    let newer = |lines: &mut Vec<String>| lines[0] = lines[0].replace("\"format\":1", "\"format\":2");
    assert_eq!(changed(&newer), "it is of format 2, and this program knows 1");
    assert!(changed(&|lines| drop(lines.pop())).starts_with("it ends after line 7"));
    assert!(changed(&|lines| lines.push("[]\n".into())).starts_with("line 9: the end was before"));
    assert!(changed(&|lines| lines.push("[]".into())).starts_with("line 9: the end was before"));
    assert!(changed(&|lines| lines[5].truncate(5)).starts_with("line 6: it cannot be read, at its byte"));
    assert_eq!(changed(&|lines| lines[5] = "[1]\n".into()), "line 6: a row of things has 1 cells, not 2");
    assert_eq!(changed(&|lines| drop(lines.remove(1))), "line 2: a row comes before any table");
    assert_eq!(changed(&|lines| lines[4] = lines[1].clone()), "line 5: table audit_keys was before");
    assert_eq!(changed(&|lines| lines[3] = lines[0].clone()), "line 4: there is one header, and it comes first");
    let count = "line 7: table things was signed with 2 rows, and 1 are there";
    assert_eq!(changed(&|lines| drop(lines.remove(5))), count);
    let count = "line 9: table things was signed with 2 rows, and 3 are there";
    assert_eq!(changed(&|lines| lines.insert(5, lines[5].clone())), count);
    let altered = "something before line 8 was altered: it is not what the SHA-256 in that line says";
    assert_eq!(changed(&|lines| lines.swap(5, 6)), altered);
    assert_eq!(changed(&|lines| lines[5] = lines[5].replace("AAEC", "AAED")), altered);
    assert_eq!(changed(&|lines| lines[0] = lines[0].replace("2026", "2025")), altered);
    // Signed well, by a key that is not in it.
    let other = "line 8: it is signed by a key that is none of the audit keys in it";
    assert_eq!(refused(&export(&signer(3))), other);
    assert_eq!(refused(&export(&Signer::new("0199", &[1; 32]).unwrap())), other);
    let by_two = export(&signer(2))[last].clone();
    let their = |line: &str| line.split("\"signature\"").nth(1).unwrap().to_owned();
    let signature = "line 8: the signature does not fit what the line says";
    assert_eq!(changed(&|lines| lines[last] = lines[last].replace(&their(&lines[last]), &their(&by_two))), signature);
}

#[test]
fn neither_is_taken_for_a_checkpoint() {
    let signer = signer(1);
    let digest = [7; 32];
    let checkpoint =
        note::Checkpoint { instance: INSTANCE.into(), size: 1, root: digest, head: digest, time: "t".into() };
    let note = signer.sign(&checkpoint).to_string();
    let bytes = STANDARD.decode(note.trim_end().rsplit(' ').next().unwrap()).unwrap();
    assert!(!signer.verifier().has_signed(&signed(INSTANCE, &digest), &bytes[4..]));

    // The other way round: a note whose text is an export's.
    let text = signed(INSTANCE, &digest);
    let forged = STANDARD.encode([&bytes[..4], &signer.sign_text(&text)].concat());
    let forged = format!("{text}\n{}strongroom/{INSTANCE} {forged}\n", note::DASH);
    assert_eq!(forged.parse::<Note>().unwrap().open(&[signer.verifier().clone()]), Err(note::Refused::Malformed));
}

proptest! {
    #[test]
    fn no_byte_can_be_changed_or_cut(at in 0_usize..10_000, flip in 1_u8..=255, cut in any::<bool>()) {
        let mut bytes = export(&signer(1)).concat().into_bytes();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        prop_assert!(read(&bytes).is_err());
    }
}
