//! Who is let in, and by whom: passwords and certificates.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::server::{Options, Server as Fixture, shared};

/// An authority's certificate, and one that it issued for a name, with its key.
fn issue(name: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    (authority, certificate.pem(), own.serialize_pem())
}

#[test]
fn a_certificate_must_be_for_this_host_and_from_a_known_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = issue("127.0.0.1");
    let fixture = Fixture::new(Options { tls: Some((certificate, key)), ..Options::default() });
    let known = dir.path().join("known.pem");
    let foreign = dir.path().join("foreign.pem");
    std::fs::write(&known, authority).unwrap();
    std::fs::write(&foreign, issue("127.0.0.1").0).unwrap();
    let url = fixture.url(&fixture.create_database());

    let good = open(&format!("{url}?sslrootcert={}", known.display()), QUICK).unwrap();
    let runtime = runtime();
    let connection = runtime.block_on(good.connect()).unwrap();
    let is_safe = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(number(&connection, is_safe, &[]).unwrap(), 1);

    let told = refused(&open(&format!("{url}?sslrootcert={}", foreign.display()), QUICK).unwrap());
    assert!(told.contains("not from an authority that is trusted"), "{told}");
    let told = refused(&open(&url, QUICK).unwrap());
    assert!(told.contains("not from an authority that is trusted"), "{told}");
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let told = refused(&open(&format!("{elsewhere}?sslrootcert={}", known.display()), QUICK).unwrap());
    assert!(told.contains("not for this host"), "{told}");
    // None of them came so far as to say who they are.
    assert!(!fixture.log().contains("authentication"), "{}", fixture.log());
}

#[test]
fn authorities_that_cannot_be_read_are_told_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, cause) in [
        ("absent.pem", None, "cannot be read"),
        ("empty.pem", Some(""), "holds no certificate"),
        ("torn.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA"), "is not PEM"),
    ] {
        let file = dir.path().join(name);
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let told = open(&format!("postgres://u@h/d?sslrootcert={}", file.display()), QUICK).map(drop).unwrap_err();
        assert!(told.to_string().contains(cause) && told.to_string().contains(name), "{told}");
    }
}

/// All that was sent to a server that answers the first message like this.
fn sent_to_a_server_that_answers(answer: &'static [u8]) -> (Vec<u8>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let recorder = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut sent = vec![0; 8];
        peer.read_exact(&mut sent).unwrap();
        peer.write_all(answer).unwrap();
        let _ = peer.read_to_end(&mut sent);
        sent
    });
    let told = refused(&open(&format!("postgres://who:sekret@127.0.0.1:{port}/where"), QUICK).unwrap());
    (recorder.join().unwrap(), told)
}

#[test]
fn a_server_without_tls_learns_nothing() {
    const ASKED_FOR_TLS: &[u8] = &[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
    let (sent, told) = sent_to_a_server_that_answers(b"N");
    assert_eq!(sent, ASKED_FOR_TLS);
    assert!(told.contains("has no TLS") && !told.contains("sekret"), "{told}");

    // An error in place of an answer, as somebody in between could write one.
    let (sent, _) = sent_to_a_server_that_answers(b"E\0\0\0\x08nope");
    assert_eq!(sent, ASKED_FOR_TLS);

    // Plain text that is sent along with the consent is not taken for an answer.
    let (sent, _) = sent_to_a_server_that_answers(b"SR\0\0\0\x08\0\0\0\x03");
    assert_eq!(sent[..8], *ASKED_FOR_TLS);
    assert_eq!(sent[8], 0x16, "a TLS record");
    assert!(!sent.windows(6).any(|part| part == b"sekret") && !sent.windows(5).any(|part| part == b"where"));

    let told = refused(&open(&shared().url("postgres"), QUICK).unwrap());
    assert!(told.contains("has no TLS"), "{told}");
}

#[test]
fn who_is_not_let_in_reads_what_to_mend() {
    let server = shared();
    let database = server.create_database();
    let url = server.url(&database);
    server.psql("postgres", &format!("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 PASSWORD '{}'", server.password()));
    server.psql("postgres", "CREATE ROLE locked NOLOGIN");
    let still = server.create_database();
    server.psql("postgres", &format!("ALTER DATABASE {still} SET default_transaction_read_only = on"));
    for (url, cause, remedy) in [
        (url.replace(server.password(), "sekret"), "28P01", "mend the password"),
        (url.replace(&format!(":{}@", server.password()), "@"), "store.url has none", "password_file"),
        (url.replace("strongroom:", "nobody:"), "28P01", "mend the password"),
        (url.replace(&database, "absent"), "\"absent\" does not exist", "create the database"),
        (server.url_of("crowded", &database), "53300", "max_connections"),
        (server.url(&still), "only reads", "name the primary"),
    ] {
        let told = refused(&plain(&url));
        assert!(told.contains(cause) && told.contains(remedy), "{told}");
        assert!(!told.contains("sekret") && !told.contains(server.password()), "{told}");
        assert!(told.contains("127.0.0.1:"), "{told}");
    }
}

#[test]
fn a_password_comes_from_a_file_that_others_cannot_read_and_that_may_change() {
    let server = shared();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    let database = server.create_database();
    server.psql("postgres", "CREATE ROLE changing LOGIN PASSWORD 'one'");
    let url = server.url_of("changing", &database).replace(&format!(":{}@", server.password()), "@");
    let url = format!("{url}?sslmode=disable&password_file={}", file.display());

    for (text, mode, cause) in
        [(None, 0, "cannot be read"), (Some("one\n"), 0o644, "chmod 600"), (Some("\n"), 0o600, "empty")]
    {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let told = open(&url, QUICK).map(drop).unwrap_err().to_string();
        assert!(told.contains(cause), "{told}");
    }
    std::fs::write(&file, "one\r\nand what else is there\n").unwrap();
    let reached = open(&url, QUICK).unwrap();
    let runtime = runtime();
    drop(runtime.block_on(reached.connect()).unwrap());
    server.psql("postgres", "ALTER ROLE changing PASSWORD 'two'");
    assert!(refused(&reached).contains("28P01"));
    std::fs::write(&file, "two").unwrap();
    runtime.block_on(reached.connect()).map(drop).unwrap();
}

#[test]
fn a_unix_socket_needs_no_tls() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let folder = dir.path().display().to_string();
    let fixture =
        Fixture::new(Options { settings: vec![("unix_socket_directories", folder.clone())], ..Options::default() });
    let url = fixture.url(&fixture.create_database()).replace("127.0.0.1", "");
    let server = open(&format!("{url}?host={folder}"), QUICK).unwrap();
    let runtime = runtime();
    let connection = runtime.block_on(server.connect()).unwrap();
    assert_eq!(number(&connection, "SELECT CAST(inet_server_addr() IS NULL AS INTEGER)", &[]).unwrap(), 1);
    drop(connection);
    fixture.stop();
    let told = refused(&server);
    assert!(told.contains("no such socket") || told.contains("nobody listens"), "{told}");
}

#[test]
fn of_several_hosts_the_one_that_takes_writes_is_found() {
    let server = shared();
    let database = server.create_database();
    let url = server.url(&database);
    let primary = host(&url);
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // A standby, as far as a client can see.
    let fixture = Fixture::new(Options::default());
    let standby = host(&fixture.url("postgres")).to_owned();
    fixture.psql("postgres", "ALTER ROLE strongroom SET default_transaction_read_only = on");
    fixture.psql("postgres", &format!("ALTER ROLE strongroom PASSWORD '{}'", server.password()));
    fixture.psql("postgres", &format!("CREATE DATABASE {database}"));

    let reached = plain(&url.replace(primary, &format!("{dead},{standby},{primary}")));
    let runtime = runtime();
    let connection = runtime.block_on(reached.connect()).unwrap();
    let port = number(&connection, "SELECT inet_server_port()", &[]).unwrap();
    assert!(primary.ends_with(&format!(":{port}")));
    drop(connection);
    let told = refused(&plain(&url.replace(primary, &format!("{dead},{standby}"))));
    assert!(told.contains(&format!("{dead}: nobody listens")), "{told}");
    assert!(told.contains(&format!("{standby}: the server only reads")), "{told}");
}

fn host(url: &str) -> &str {
    url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0
}
