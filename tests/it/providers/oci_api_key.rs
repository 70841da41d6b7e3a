//! oci_api_key: a section of ~/.oci/config and the key beside it.

use super::*;

fn section() -> String {
    format!(
        "[DEFAULT]\nuser={OCI_USER}\nfingerprint={}\ntenancy={OCI_TENANCY}\nregion=eu-frankfurt-1\nkey_file=~/.oci/k.pem\n",
        oci_fingerprint()
    )
}

fn whole(change: &str, value: &str) -> Upload {
    let (fingerprint, key) = (oci_fingerprint(), rsa_pem());
    let mut all = BTreeMap::from([
        ("tenancy", OCI_TENANCY),
        ("user", OCI_USER),
        ("fingerprint", fingerprint.as_str()),
        ("private_key", key.as_str()),
        ("region", "eu-frankfurt-1"),
    ]);
    all.insert(change, value);
    fields(&all.into_iter().collect::<Vec<_>>())
}

/// As its tools leave them: the section in one file, the key in another.
#[test]
fn the_key_may_come_beside_the_section() {
    let key = |name: &str| BTreeMap::from([(name.to_owned(), Secret::from(rsa_pem()))]);
    let together = Upload::Together(Secret::from(section()), key("private_key"));
    let parsed = parse("oci_api_key", &together).unwrap();
    assert_eq!(parsed.secret, parse("oci_api_key", &whole("region", "eu-frankfurt-1")).unwrap().secret);
    let twice = format!("{}key_content={}\n", section(), rsa_pem().replace('\n', "\\n"));
    let twice = Upload::Together(Secret::from(twice), key("private_key"));
    refused("oci_api_key", &twice, "private_key", "is given twice");
}

#[test]
fn a_section_of_the_configuration_file_is_taken_with_the_keys_text() {
    let escaped = format!("{}key_content={}\n", section(), rsa_pem().replace('\n', "\\n"));
    let indented = format!("{}key_content={}\n", section(), rsa_pem().trim().replace('\n', "\n    "));
    for file in [escaped.clone(), indented, format!("{escaped}[OTHER]\nuser=x\n")] {
        let parsed = parse("oci_api_key", &document(file)).unwrap();
        assert_eq!(parsed.secret, parse("oci_api_key", &whole("region", "eu-frankfurt-1")).unwrap().secret);
        assert_eq!(parsed.public_identity["tenancy"], OCI_TENANCY);
        assert_eq!(parsed.public_identity.len(), 4);
    }
    refused("oci_api_key", &document(section()), "private_key", "is missing: key_file names a file on your machine");
    refused(
        "oci_api_key",
        &document(format!("{escaped}security_token_file=x\n")),
        "security_token_file",
        "of a session",
    );
    let two = escaped.replace("DEFAULT", "ONE") + "[TWO]\nuser=x\n";
    refused("oci_api_key", &document(two), "document", "has several sections");
}

#[test]
fn the_line_that_oracles_console_adds_does_no_harm() {
    assert!(parse("oci_api_key", &whole("private_key", &format!("{}OCI_API_KEY\n", rsa_pem()))).is_ok());
}

#[test]
fn what_was_pasted_instead_is_named() {
    let bad = |field: &str, value: &str, words: &str| refused("oci_api_key", &whole(field, value), field, words);
    bad("tenancy", OCI_USER, "this is the OCID of something else");
    bad("user", OCI_TENANCY, "this is the OCID of something else");
    bad("user", &OCI_USER.to_uppercase(), "must be a user's OCID");
    bad("user", &OCI_USER[..70], "must be a user's OCID");
    bad("fingerprint", "SHA256:abcdef", "this is a fingerprint of SSH");
    bad("fingerprint", &oci_fingerprint().to_uppercase(), "lower-case hexadecimal");
    bad("region", "FRA", "this is the short code of a region");
    bad("region", "EU-Frankfurt-1", "must be a region");
    bad("private_key", "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----", "this is the public half");
    bad(
        "private_key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n-----END OPENSSH PRIVATE KEY-----",
        "this is a key of SSH",
    );
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAA\n-----END RSA PRIVATE KEY-----";
    bad("private_key", old, "locked in the old way of OpenSSL");
}
