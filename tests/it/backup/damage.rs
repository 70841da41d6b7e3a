//! Each kind of damage is refused by its name and place, and nothing is written.

use std::path::PathBuf;

use super::*;

/// An export, and a home that it could go to.
pub struct Taken {
    pub home: tempfile::TempDir,
    pub out: tempfile::TempDir,
    pub to: tempfile::TempDir,
    pub lines: Vec<String>,
}

impl Taken {
    pub fn new() -> Self {
        let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let daemon = Daemon::start_with(home.path(), OFTEN);
        let token = daemon.token.clone();
        runtime().block_on(async {
            fill(&daemon, &token, 3).await;
            live(&daemon, &token, 0).await;
        });
        let file = out.path().join("vault.jsonl");
        let (code, said) = export(&daemon, &token, &file);
        assert_eq!(code, 0, "{said}");
        assert!(daemon.stop().success());
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.split_inclusive('\n').map(str::to_owned).collect();
        Self { to: home_with_keys_of(home.path()), home, out, lines }
    }

    /// The line that a table begins with.
    pub fn table(&self, name: &str) -> usize {
        let begin = format!("{{\"type\":\"table\",\"name\":\"{name}\"");
        self.lines.iter().position(|line| line.starts_with(&begin)).unwrap()
    }

    /// Refused alike by both, in these words, with this exit code.
    pub fn refuses(&self, what: &str, bytes: &[u8], exit: i32, words: &str) {
        let file = self.file(bytes);
        let before = files(self.to.path());
        for how in ["--dry-run", "--apply"] {
            let (code, _, said) = import(self.to.path(), &file, &[how]);
            assert!(code == exit && said.contains(words), "{what} {how}: {code} {said}");
            assert_eq!(files(self.to.path()), before, "{what} {how}: something was written");
        }
    }

    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let file = self.out.path().join("damaged.jsonl");
        std::fs::write(&file, bytes).unwrap();
        file
    }
}

#[test]
fn each_damage_is_refused_by_its_name() {
    let taken = Taken::new();
    let end = taken.lines.len();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = taken.lines.clone();
        change(&mut lines);
        lines.concat().into_bytes()
    };
    let refuses = |what: &str, bytes: Vec<u8>, words: &str| taken.refuses(what, &bytes, 10, words);
    refuses("nothing", Vec::new(), "it is empty");
    refuses("something else", b"-----BEGIN PGP MESSAGE-----\n".to_vec(), "it is no export of a vault");
    refuses("no line at all", b"[".repeat(1 << 20), "it is no export of a vault");
    refuses(
        "a newer format",
        changed(&|lines| lines[0] = lines[0].replace("\"format\":1", "\"format\":2")),
        "of format 2",
    );
    refuses("cut after a line", changed(&|lines| lines.truncate(end / 2)), "it was cut");
    refuses("cut within a line", changed(&|lines| lines[end - 1].truncate(40)), "it was cut");
    refuses("more after the end", changed(&|lines| lines.push("[]\n".into())), &format!("line {}: the end", end + 1));

    let row = taken.table("credentials") + 1;
    let dropped = format!("line {}: table credentials was signed with", end - 1);
    refuses("a row less", changed(&|lines| drop(lines.remove(row))), &dropped);
    refuses(
        "a row twice",
        changed(&|lines| lines.insert(row, lines[row].clone())),
        "table credentials was signed with",
    );
    refuses("rows in another order", changed(&|lines| lines.swap(row, row + 1)), "was altered");
    let table = taken.table("tokens");
    let without = |lines: &mut Vec<String>| drop(lines.remove(table));
    refuses("a table less", changed(&without), &format!("line {}: ", table + 1));
    let renamed = |lines: &mut Vec<String>| lines[table] = lines[table].replace("tokens", "others");
    refuses("another table", changed(&renamed), &format!("line {}: table others is not the one", table + 1));
    let column = |lines: &mut Vec<String>| lines[table] = lines[table].replace("\"hash\"", "\"hush\"");
    refuses("another column", changed(&column), &format!("line {}: table tokens is not the one", table + 1));
    let cell = |lines: &mut Vec<String>| lines[row] = lines[row].replacen('[', "[7,", 1);
    refuses("a cell more", changed(&cell), &format!("line {}: a row of credentials has", row + 1));
    let number = |lines: &mut Vec<String>| lines[row] = lines[row].replacen("\"acme\"", "7", 1);
    refuses(
        "a number for a text",
        changed(&number),
        &format!("line {}: org of a row of credentials is not a text", row + 1),
    );

    // Of every kind of line one byte, somewhere.
    let kinds =
        ["meta", "audit_keys", "wraps", "credentials", "org_integration_credentials", "audit_log", "audit_checkpoints"];
    let mut places: Vec<usize> = kinds.iter().flat_map(|kind| [taken.table(kind), taken.table(kind) + 1]).collect();
    places.extend([0, end - 1]);
    for place in places {
        let mut lines: Vec<Vec<u8>> = taken.lines.iter().map(|line| line.clone().into_bytes()).collect();
        let at = lines[place].len() * 2 / 3;
        lines[place][at] ^= 1;
        let (code, _, said) = import(taken.to.path(), &taken.file(&lines.concat()), &["--dry-run"]);
        assert!([10, 66].contains(&code), "line {}: {code} {said}", place + 1);
    }
    assert_eq!(import(taken.to.path(), &taken.file(taken.lines.concat().as_bytes()), &["--dry-run"]).0, 0);
}

#[test]
fn what_is_not_ours_is_refused() {
    let (taken, other) = (Taken::new(), Taken::new());
    let (ours, theirs) = (taken.lines.concat(), other.lines.concat());
    // Whole and well signed, by somebody else.
    taken.refuses("another vault's", theirs.as_bytes(), 65, "whose private half does not open");
    let key = |from: &Taken| {
        let end: Json = serde_json::from_str(from.lines.last().unwrap()).unwrap();
        end["key"].as_str().unwrap().to_owned()
    };
    let file = taken.file(ours.as_bytes());
    assert_eq!(import(taken.to.path(), &file, &["--dry-run", "--key", &key(&taken)]).0, 0);
    let (code, _, said) = import(taken.to.path(), &file, &["--dry-run", "--key", &key(&other)]);
    assert!(code == 65 && said.contains("which is none of the keys given"), "{code} {said}");

    // Their last line under our rows.
    let mut mixed = taken.lines.clone();
    *mixed.last_mut().unwrap() = other.lines.last().unwrap().clone();
    let file = taken.file(mixed.concat().as_bytes());
    let (code, _, said) = import(taken.to.path(), &file, &["--dry-run"]);
    assert!(code == 10 && said.contains(&format!("line {}", mixed.len())), "{code} {said}");

    // A key that is lost, and another made under its name; or none at all.
    let lost = home_with_keys_of(taken.home.path());
    std::fs::remove_file(keys(lost.path()).join("default.key")).unwrap();
    let file = taken.file(ours.as_bytes());
    let (code, _, said) = import(lost.path(), &file, &["--apply"]);
    assert!(code == 65 && said.contains("default.key"), "{code} {said}");
    assert!(!keys(lost.path()).join("default.key").exists() && !database(lost.path()).exists());
    let made = command(lost.path(), &["local-key", "create", "default"], "");
    assert!(made.status.success());
    let (code, _, said) = import(lost.path(), &file, &["--apply"]);
    assert!(code == 65 && said.contains("whose private half does not open"), "{code} {said}");
    assert!(!database(lost.path()).exists());

    for options in [&[][..], &["--dry-run", "--apply"]] {
        assert_eq!(import(taken.to.path(), &file, options).0, 2, "one of both is asked for");
    }
}

/// Rows under a key that is not there are told of, and are not what a restore leaves somebody with unawares.
#[test]
fn rows_under_keys_that_are_not_configured_are_named() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(fill(&daemon, &token, 2));
    assert!(daemon.stop().success());
    let config = "[kms]\ndefault = \"local://default\"\n[kms.orgs]\nown = \"local://own\"\n";
    assert!(command(home.path(), &["local-key", "create", "own"], "").status.success());
    let daemon = Daemon::start_with(home.path(), config);
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("own", "", &openai_key("own"))).await.unwrap();
    });
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    assert!(daemon.stop().success());

    let to = home_with_keys_of(home.path());
    std::fs::remove_file(keys(to.path()).join("own.key")).unwrap();
    let (code, found, said) = import(to.path(), &file, &["--dry-run"]);
    let words = "2 keys are under local://own version 1, which is not configured";
    assert!(code == 65 && said.contains(words), "{code} {said}");
    assert_eq!(found["unopened"].as_u64(), Some(2));
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert!(code == 65 && said.contains(words), "{code} {said}");
    assert!(!database(to.path()).exists());
}

/// A key file from before its last rotation bears the right name, and opens the audit key.
#[test]
fn rows_that_a_key_does_not_open_are_named() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(fill(&daemon, &token, 2));
    let to = home_with_keys_of(home.path());
    assert!(daemon.stop().success());
    assert!(command(home.path(), &["local-key", "rotate", "default"], "").status.success());
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("acme", "newer", &openai_key("newer"))).await.unwrap();
    });
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    assert!(daemon.stop().success());
    for how in ["--dry-run", "--apply"] {
        let (code, _, said) = import(to.path(), &file, &[how]);
        let words = "1 keys are under local://default version 2, which does not open";
        assert!(code == 65 && said.contains(words), "{how}: {code} {said}");
    }
    assert!(!database(to.path()).exists());
    copy_into(&keys(home.path()), &keys(to.path()));
    // What a check that was killed has left goes too.
    let left = to.path().join("strongroom-data/strongroom.db-check");
    std::fs::create_dir(&left).unwrap();
    ["lock", "strongroom.db"].iter().for_each(|name| std::fs::write(left.join(name), "").unwrap());
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert!(code == 0 && database(to.path()).exists() && !left.exists(), "{code} {said}");
}
