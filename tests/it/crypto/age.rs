//! age's own vectors. What is wrong with a file must be found in the place where it is wrong.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use strongroom::crypto::age::{self, Error, Identity};

#[test]
fn every_vector_of_the_test_kit_has_its_verdict() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/age");
    let (mut opened, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap();
        let (about, file) = (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 2..]);
        let said = |key: &str| about.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        // The empty file names none.
        let identity = said("identity").map_or(Identity::from_bytes([1; 32]), |text| text.parse().unwrap());
        let found = age::decrypt(&identity, file);
        match said("expect").unwrap() {
            "success" => {
                let digest = HEXLOWER.encode(&Sha256::digest(&**found.unwrap_or_else(|why| panic!("{name}: {why}"))));
                assert_eq!(digest, said("payload").unwrap(), "{name}");
                opened += 1;
                continue;
            }
            "header failure" => assert_eq!(found.unwrap_err(), Error::Header, "{name}"),
            "no match" => assert_eq!(found.unwrap_err(), Error::NoMatch, "{name}"),
            "HMAC failure" => assert_eq!(found.unwrap_err(), Error::Mac, "{name}"),
            "payload failure" => assert_eq!(found.unwrap_err(), Error::Payload, "{name}"),
            other => panic!("{name}: {other}"),
        }
        refused += 1;
    }
    assert!(opened >= 7 && refused >= 33, "{opened} opened and {refused} were refused");
}
