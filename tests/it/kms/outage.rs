//! The daemon on Google's protocol, while its key service is there, while it is not, and afterwards.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use strongroom::pb::v1::ListCredentialsRequest;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, PORTS, decrypt, openai_key, program, runtime, setup};
use crate::fake::kms::gcp::Google;
use crate::fake::kms::{Service as _, Trouble};

fn config(google: &Google) -> String {
    format!(
        "[kms]\ndefault = {:?}\ndeadline = \"300ms\"\n[kms.gcp]\nendpoint = {:?}\n[cache]\nttl = \"3s\"\n",
        google.uri(),
        google.endpoint()
    )
}

fn start(home: &Path, google: &Google) -> Daemon {
    let credentials = format!("GOOGLE_APPLICATION_CREDENTIALS={}", Google::credentials(home).display());
    Daemon::start_under(home, &config(google), &["env", &credentials])
}

#[track_caller]
fn is_outage(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "KMS_UNAVAILABLE");
    assert!(!status.message().contains("gcp-kms"), "the client is not told which key: {status}");
}

#[test]
fn an_outage_costs_what_is_not_cached_and_nothing_else() {
    let (home, google) = (tempfile::tempdir().unwrap(), Google::start());
    let daemon = start(home.path(), &google);
    let breaker = format!("strongroom_kms_breaker{{key={:?}}} ", google.uri());
    let breaker = || -> f64 {
        let (_, page) = daemon.scrape("/metrics");
        page.lines().find_map(|line| line.strip_prefix(&breaker)).unwrap().parse().unwrap()
    };
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        client.setup_credential(setup("acme", "kept", &openai_key("kept"))).await.unwrap();
        let cached = Instant::now();
        client.decrypt_credential(decrypt("acme", "kept")).await.unwrap();
        assert_eq!(breaker(), 0.0);

        google.trouble(Trouble::Gone);
        let secret = client.decrypt_credential(decrypt("acme", "kept")).await.unwrap().into_inner().secret.unwrap();
        assert_eq!(secret.expose(), openai_key("kept").as_bytes(), "what is cached is served");
        is_outage(&client.setup_credential(setup("acme", "lost", &openai_key("lost"))).await.unwrap_err());

        // No longer than its time.
        let end = cached + Duration::from_secs(4);
        while client.decrypt_credential(decrypt("acme", "kept")).await.is_ok() {
            assert!(Instant::now() < end, "served past cache.ttl");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..6 {
            is_outage(&client.decrypt_credential(decrypt("acme", "kept")).await.unwrap_err());
        }
        assert_eq!(breaker(), 1.0);
        let (calls, begin) = (google.calls(), Instant::now());
        for _ in 0..20 {
            is_outage(&client.setup_credential(setup("acme", "lost", &openai_key("lost"))).await.unwrap_err());
        }
        assert!(google.calls() < calls + 20, "a service that is down is left alone");
        assert!(begin.elapsed() < Duration::from_secs(3), "nobody waits for it: {:?}", begin.elapsed());

        google.trouble(Trouble::Nothing);
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(status) = client.decrypt_credential(decrypt("acme", "kept")).await {
            is_outage(&status);
            assert!(Instant::now() < end, "it does not recover");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(breaker(), 0.0);
        let all = ListCredentialsRequest { org: "acme".into(), ..Default::default() };
        let all = client.list_credentials(all).await.unwrap().into_inner().credentials;
        assert_eq!(all.len(), 1, "what was refused is not stored: {all:?}");
        client.setup_credential(setup("acme", "new", &openai_key("new"))).await.unwrap();
    });
    daemon.logged(|line| line.contains("the key does not answer") && line.contains(&google.uri()));
    daemon.logged(|line| line.contains("the key answers again"));
    assert!(daemon.stop().success());
    drop(start(home.path(), &google));
}

/// Runs `serve` with these arguments, which is expected to end.
fn serve(home: &Path, config: &str, arguments: &[&str]) -> Output {
    std::fs::write(home.join("strongroom.toml"), format!("{PORTS}{config}[probe]\nenabled = false\n")).unwrap();
    let mut command = Command::new(program());
    command.args(["serve", "--config", "strongroom.toml"]).args(arguments).current_dir(home).stdin(Stdio::null());
    command.env("GOOGLE_APPLICATION_CREDENTIALS", Google::credentials(home)).output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} not in: {text}");
    }
}

#[test]
fn a_check_says_what_to_do_about_each_key() {
    let (home, google) = (tempfile::tempdir().unwrap(), Google::start());
    // Long enough for a first call on a busy machine.
    let config = config(&google).replace("300ms", "1500ms");
    let check = || serve(home.path(), &config, &["--check"]);
    std::fs::create_dir_all(home.path().join("strongroom-data")).unwrap();
    ends(&check(), 0, &[]);
    for (trouble, code, words) in [
        (Trouble::Forbidden, 65, "grant the caller cloudkms.cryptoKeyVersions.useToEncrypt on the key"),
        (Trouble::Missing, 65, "there is no such key"),
        (Trouble::WrongPurpose, 65, "must have purpose ENCRYPT_DECRYPT"),
        (Trouble::Expired, 65, "the credentials are expired"),
        (Trouble::Throttled, 9, "RESOURCE_EXHAUSTED"),
        (Trouble::Silent, 9, "no answer within 1.5s"),
    ] {
        google.trouble(trouble);
        ends(&check(), code, &[words, &google.uri()]);
        ends(&serve(home.path(), &config, &[]), code, &[words]);
    }
}

#[test]
fn an_orgs_own_key_is_a_matter_of_that_org() {
    let (home, google) = (tempfile::tempdir().unwrap(), Google::start());
    let config = format!(
        "[kms]\ndeadline = \"300ms\"\n[kms.orgs]\nacme = {:?}\n[kms.gcp]\nendpoint = {:?}\n",
        google.uri(),
        google.endpoint()
    );
    let credentials = format!("GOOGLE_APPLICATION_CREDENTIALS={}", Google::credentials(home.path()).display());
    google.trouble(Trouble::Forbidden);
    let daemon = Daemon::start_under(home.path(), &config, &["env", &credentials]);
    daemon
        .logged(|line| line.contains("what is wrapped under this key does not open") && line.contains("useToEncrypt"));
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        is_outage(&client.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap_err());
        client.setup_credential(setup("other", "", &openai_key("b"))).await.unwrap();
        google.trouble(Trouble::Nothing);
        client.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
        client.decrypt_credential(decrypt("acme", "")).await.unwrap();
    });
    assert!(daemon.stop().success());

    google.trouble(Trouble::Forbidden);
    ends(&serve(home.path(), &config, &["--check"]), 65, &["useToEncrypt", &google.uri()]);
}

#[test]
fn what_an_old_default_has_wrapped_opens_beside_the_new_one() {
    let (home, google) = (tempfile::tempdir().unwrap(), Google::start());
    let daemon = start(home.path(), &google);
    let token = daemon.token.clone();
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("acme", "old", &openai_key("old"))).await.unwrap();
    });
    assert!(daemon.stop().success());

    let config = format!(
        "[kms]\nothers = [{:?}]\ndeadline = \"300ms\"\n[kms.gcp]\nendpoint = {:?}\n[kms.local]\ncreate = true\n",
        google.uri(),
        google.endpoint()
    );
    google.trouble(Trouble::Forbidden);
    // The database's own key is among what it has wrapped.
    ends(&serve(home.path(), &config, &[]), 65, &[&google.uri(), "useToDecrypt"]);

    google.trouble(Trouble::Nothing);
    let credentials = format!("GOOGLE_APPLICATION_CREDENTIALS={}", Google::credentials(home.path()).display());
    let daemon = Daemon::start_under(home.path(), &config, &["env", &credentials]);
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        let secret = client.decrypt_credential(decrypt("acme", "old")).await.unwrap().into_inner().secret.unwrap();
        assert_eq!(secret.expose(), openai_key("old").as_bytes());
        google.trouble(Trouble::Gone);
        client.setup_credential(setup("new", "", &openai_key("new"))).await.unwrap();
        client.decrypt_credential(decrypt("new", "")).await.unwrap();
    });
    assert!(daemon.stop().success());
}

/// Data keys go where the configuration says. A proxy hears where they would have gone.
#[test]
fn no_variable_of_the_environment_moves_googles_address() {
    let home = tempfile::tempdir().unwrap();
    let account = std::fs::read_to_string(Google::credentials(home.path())).unwrap();
    std::fs::write(home.path().join("moved.json"), account.replace("googleapis.com", "example.com")).unwrap();
    std::fs::create_dir_all(home.path().join("strongroom-data")).unwrap();
    let config = "[kms]\ndefault = \"gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k\"\ndeadline = \"1s\"\n";
    std::fs::write(home.path().join("strongroom.toml"), format!("{PORTS}{config}")).unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(proxy.accept().unwrap().0).read_line(&mut line).unwrap();
        line
    });
    let mut check = Command::new(program());
    check.args(["serve", "--check", "--config", "strongroom.toml"]).current_dir(home.path()).stdin(Stdio::null());
    check.env("GOOGLE_APPLICATION_CREDENTIALS", "moved.json").env("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "example.com");
    ends(&check.env("HTTPS_PROXY", address).env_remove("NO_PROXY").output().unwrap(), 9, &["no connection"]);
    assert_eq!(heard.join().unwrap(), "CONNECT cloudkms.googleapis.com:443 HTTP/1.1\r\n");
}

#[test]
fn a_database_whose_key_is_not_configured_names_the_key() {
    let (home, google) = (tempfile::tempdir().unwrap(), Google::start());
    assert!(start(home.path(), &google).stop().success());
    let config = "[kms.local]\ncreate = true\n";
    ends(&serve(home.path(), config, &[]), 65, &[&google.uri(), "is not configured: name it in kms.others"]);
}
