//! What only Google's protocol has.

use strongroom::crypto::Dek;
use strongroom::kms::{Context, Error, Wrapped};

use crate::daemon::runtime;
use crate::fake::kms::gcp::{Google, Wrong};
use crate::fake::kms::{Service as _, State, Trouble};

const DEK: Dek = Dek::new([7; 32]);

fn acme() -> Context {
    Context::for_org_key("acme")
}

async fn wrapped(google: &Google) -> Wrapped {
    google.key().wrap(&DEK, &acme()).await.unwrap()
}

#[test]
fn what_was_altered_on_the_way_is_found_whichever_way_it_went() {
    runtime().block_on(async {
        let google = Google::start();
        let (key, kept) = (google.key(), wrapped(&google).await);
        for wrong in [Wrong::Received, Wrong::Sent, Wrong::Unsummed] {
            google.wrong(wrong);
            let wrap = key.wrap(&DEK, &acme()).await;
            assert!(matches!(wrap, Err(Error::Unavailable { .. })), "{wrong:?}");
            let unwrap = key.unwrap(&kept, &acme()).await.map(drop);
            assert!(matches!(unwrap, Err(Error::Unavailable { .. })), "{wrong:?}: {unwrap:?}");
        }
        for wrong in [
            Wrong::Unconfirmed,
            Wrong::Name(""),
            Wrong::Name("projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"),
            Wrong::Name("projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k2/cryptoKeyVersions/1"),
            Wrong::Name("projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/01"),
        ] {
            google.wrong(wrong);
            let wrap = key.wrap(&DEK, &acme()).await;
            assert!(matches!(wrap, Err(Error::Unavailable { .. })), "{wrong:?}");
        }
        google.wrong(Wrong::Nothing);
        key.unwrap(&kept, &acme()).await.unwrap();
    });
}

#[test]
fn a_redirect_is_not_followed() {
    runtime().block_on(async {
        let google = Google::start();
        google.wrong(Wrong::Redirect);
        let error = google.key().wrap(&DEK, &acme()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }) && error.cause().contains("redirect"), "{error}");
        assert_eq!(google.calls(), 1, "{:?}", google.asked());
    });
}

#[test]
fn the_version_is_googles_number_and_the_context_goes_as_it_is_documented() {
    runtime().block_on(async {
        let google = Google::start();
        google.rotate();
        assert_eq!(wrapped(&google).await.key_version, "2");
        let body: serde_json::Value = serde_json::from_slice(&google.asked()[0].body).unwrap();
        use base64::Engine as _;
        let bound = base64::prelude::BASE64_STANDARD.encode(acme().canonical());
        assert_eq!(body["additionalAuthenticatedData"].as_str(), Some(bound.as_str()));
    });
}

#[test]
fn what_google_refuses_is_told_with_what_to_do() {
    runtime().block_on(async {
        let google = Google::start();
        let (key, kept) = (google.key(), wrapped(&google).await);
        let told = async |trouble: Trouble| {
            google.trouble(trouble);
            let wrap = key.wrap(&DEK, &acme()).await.unwrap_err().to_string();
            (wrap, key.unwrap(&kept, &acme()).await.unwrap_err().to_string())
        };
        let (wrap, unwrap) = told(Trouble::Forbidden).await;
        assert!(wrap.contains("grant the caller cloudkms.cryptoKeyVersions.useToEncrypt on the key"), "{wrap}");
        assert!(unwrap.contains("grant the caller cloudkms.cryptoKeyVersions.useToDecrypt on the key"), "{unwrap}");
        assert!(told(Trouble::Missing).await.0.contains("there is no such key"));
        assert!(told(Trouble::Expired).await.0.contains("the credentials are expired"));
        assert!(told(Trouble::WrongPurpose).await.0.contains("the key must have purpose ENCRYPT_DECRYPT"));
        google.trouble(Trouble::Nothing);
        for (state, words) in
            [(State::Disabled, "current state is: DISABLED"), (State::Destroyed, "current state is: DESTROYED")]
        {
            google.set("1", state);
            let error = key.unwrap(&kept, &acme()).await.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("cryptoKeyVersions/1"), "{error}");
        }
    });
}
