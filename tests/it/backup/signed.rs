//! What our own key has signed is looked at all the same: whoever has the key, or a daemon with a fault.

use strongroom::crypto::backup::{Header, Writer};
use strongroom::crypto::ledger::note::Signer;
use strongroom::kms::{Context, Kms as _, Local, Wrapped};

use super::damage::Taken;
use super::*;

pub type Tables = Vec<(String, Vec<String>, Vec<Vec<Json>>)>;

fn bytes(cell: &Json) -> Vec<u8> {
    data_encoding::BASE64.decode(cell.as_str().unwrap().as_bytes()).unwrap()
}

/// The private half of the audit key, by the key file.
pub fn signer(home: &Path, tables: &Tables, instance: &str) -> Signer {
    let key = Local::open(&keys(home), "default", None).unwrap();
    let wraps = &tables.iter().find(|(name, ..)| name == "wraps").unwrap().2;
    let row = wraps.iter().find(|row| bytes(&row[0]).starts_with(b"a")).unwrap();
    let text = |cell: &Json| cell.as_str().unwrap().to_owned();
    let wrapped = Wrapped { key: text(&row[1]), key_version: text(&row[2]), bytes: bytes(&row[3]) };
    let seed = runtime().block_on(key.unwrap(&wrapped, &Context::for_audit_key(instance, 1))).unwrap();
    Signer::new(instance, seed.expose()).unwrap()
}

pub fn read(lines: &[String]) -> (Header, Tables) {
    let mut header: Json = serde_json::from_str(&lines[0]).unwrap();
    header.as_object_mut().unwrap().remove("type");
    let mut tables = Tables::new();
    for line in &lines[1..lines.len() - 1] {
        match serde_json::from_str(line).unwrap() {
            Json::Array(row) => tables.last_mut().unwrap().2.push(row),
            table => {
                let columns = serde_json::from_value(table["columns"].clone()).unwrap();
                tables.push((table["name"].as_str().unwrap().to_owned(), columns, Vec::new()));
            }
        }
    }
    (serde_json::from_value(header).unwrap(), tables)
}

pub fn written(header: Header, tables: &Tables, signer: &Signer) -> String {
    let (mut writer, mut text) = Writer::begin(header).unwrap();
    for (name, columns, rows) in tables {
        text += &writer.table(name, &columns.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        rows.iter().for_each(|row| text += &writer.row(row).unwrap());
    }
    text + &writer.end(signer).unwrap()
}

#[test]
fn a_signature_does_not_make_wrong_rows_right() {
    let taken = Taken::new();
    let (header, tables) = read(&taken.lines);
    let signer = signer(taken.home.path(), &tables, &header.instance);
    assert_eq!(written(header.clone(), &tables, &signer), taken.lines.concat(), "signed as the daemon does");

    let schema = |schema| written(Header { schema, ..header.clone() }, &tables, &signer).into_bytes();
    let known = header.schema;
    let words = format!("the export has schema {}, and this program knows up to {known}: run the newer", known + 1);
    taken.refuses("a newer schema", &schema(known + 1), 66, &words);
    taken.refuses("an older schema", &schema(known - 1), 66, "import it with the strongroom that wrote it");

    let changed = |name: &str, change: &dyn Fn(&mut Vec<Vec<Json>>)| {
        let mut tables = tables.clone();
        change(&mut tables.iter_mut().find(|(table, ..)| table == name).unwrap().2);
        written(header.clone(), &tables, &signer).into_bytes()
    };
    let refuses = |what: &str, bytes: Vec<u8>, words: &str| taken.refuses(what, &bytes, 10, words);
    let twice = |rows: &mut Vec<Vec<Json>>| rows.push(rows[0].clone());
    for table in ["meta", "audit_keys", "wraps", "credentials", "org_integration_credentials", "tokens", "audit_log"] {
        refuses("a row twice", changed(table, &twice), &format!("a row of {table} is there twice"));
    }
    let place = taken.table("org_integration_credentials");
    let orphan = changed("credentials", &|rows| drop(rows.remove(0)));
    refuses("a version of nothing", orphan, &format!("line {}: ", place + 1));
    let column = |table: usize, name: &str| tables[table].1.iter().position(|column| column == name).unwrap();
    let at = tables.iter().position(|(name, ..)| name == "credentials").unwrap();
    for (name, wrong, what) in [
        ("created_at", Json::from("now"), "is not a time"),
        ("created_at", Json::from(i64::MAX), "is not a time"),
        ("created_at", Json::from(1.5), "is not a time"),
        ("revision", Json::from(-1), "is not a whole number"),
        ("disabled", Json::from(2), "is not 0 or 1"),
        ("labels", Json::from("{"), "is not JSON"),
        ("id", Json::from("AAAA"), "is not an id"),
        ("org", Json::Null, "is not a text"),
        ("state", Json::from("excellent"), "another rule"),
    ] {
        let column = column(at, name);
        let bytes = changed("credentials", &|rows| rows[0][column] = wrong.clone());
        let line = taken.table("credentials") + 2;
        refuses(name, bytes, &format!("line {line}: "));
        let (_, _, said) = import(taken.to.path(), &taken.out.path().join("damaged.jsonl"), &["--dry-run"]);
        assert!(said.contains(what), "{name}: {said}");
    }
    let at = tables.iter().position(|(name, ..)| name == "audit_log").unwrap();
    let canonical = column(at, "canonical");
    let edited = |rows: &mut Vec<Vec<Json>>| {
        let text = rows[1][canonical].as_str().unwrap().replace("\"ok\"", "\"no\"");
        rows[1][canonical] = text.into();
    };
    refuses("an edited record", changed("audit_log", &edited), "its audit log: record 2 of instance");
    refuses("a record less", changed("audit_log", &|rows| drop(rows.remove(2))), "its audit log: record 3 of instance");
    refuses("a tail less", changed("audit_log", &|rows| rows.truncate(4)), "its audit log: record 5 of instance");
    let instance = |rows: &mut Vec<Vec<Json>>| {
        let row = rows.iter_mut().find(|row| row[0] == "instance").unwrap();
        row[1] = "another".into();
    };
    refuses("rows of another", changed("meta", &instance), "its rows are of instance another");
    let mut less = tables.clone();
    less.retain(|(name, ..)| name != "audit_cursors");
    refuses("a table less", written(header.clone(), &less, &signer).into_bytes(), "table audit_cursors is missing");

    // What the same key has signed of the audit log signs no export.
    let (_, columns, checkpoints) = tables.iter().find(|(name, ..)| name == "audit_checkpoints").unwrap();
    let note = checkpoints[0][columns.iter().position(|column| column == "note").unwrap()].as_str().unwrap();
    let signed = data_encoding::BASE64.decode(note.trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap();
    let mut lines = taken.lines.clone();
    let mut end: Json = serde_json::from_str(lines.last().unwrap()).unwrap();
    let own = end["signature"].as_str().unwrap().to_owned();
    end["signature"] = data_encoding::BASE64.encode(&signed[4..]).into();
    let forged = end["signature"].as_str().unwrap();
    let last = lines.last_mut().unwrap();
    *last = last.replace(&own, forged);
    refuses("a checkpoint's signature", lines.concat().into_bytes(), "the signature does not fit");
}
