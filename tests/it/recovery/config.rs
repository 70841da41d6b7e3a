//! Recipients that are none are refused by file, line and number, and an identity is not repeated.

use super::*;

#[test]
fn a_malformed_recipient_is_named_and_an_identity_is_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let good = public(1);
    let cut = good[..good.len() - 1].to_owned();
    for (second, why) in [
        (private(2), "number 2 is an identity, the private half"),
        (private(2).to_lowercase(), "number 2 is an identity, the private half"),
        (good.to_uppercase(), "number 2 mixes upper and lower case"),
        (cut, "number 2 is misspelled or cut"),
        (good.clone(), "number 2 is there twice"),
        ("age1yubikey1qqqq".to_owned(), "number 2 is of a kind that is not supported"),
        (String::new(), "number 2 is of a kind that is not supported"),
    ] {
        let text = format!("[kms.recovery]\nrecipients = [\"{good}\", \"{second}\"]\n");
        std::fs::write(home.path().join("strongroom.toml"), text).unwrap();
        let output = command(home.path(), &["serve", "--check"], "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("strongroom.toml:2: kms.recovery.recipients is wrong"), "{said}");
        assert!(said.contains(why) && !said.to_uppercase().contains("AGE-SECRET-KEY-1Q"), "{said}");
        assert!(!said.to_lowercase().contains(&private(2).to_lowercase()[16..30]), "{said}");
    }
}

#[test]
fn a_file_without_one_identity_is_refused_without_being_shown() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("strongroom.toml"), "").unwrap();
    let two = format!("{}\n{}\n", private(1), private(2));
    let altered = private(1).replacen('Q', "P", 3);
    for (stdin, why) in [
        ("# nothing\n", "there is no identity in the file"),
        (two.as_str(), "more than one identity"),
        (public(1).as_str(), "the identity is a recipient, the public half"),
        (altered.as_str(), "the identity is misspelled or cut"),
        (&private(1).to_lowercase(), "the identity mixes upper and lower case"),
    ] {
        let output = command(home.path(), &["recover", "--identity", "-"], stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && !said.to_uppercase().contains(&private(1)[..24]), "{said}");
    }
    let output = command(home.path(), &["recover", "--identity", "-"], &private(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no database"), "{output:?}");
    assert!(!home.path().join("strongroom-data").exists());
}
