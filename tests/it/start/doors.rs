//! TLS and the Unix socket, with the command line as the client.

use super::*;

#[test]
fn the_command_line_speaks_tls_to_whom_it_trusts() {
    let place = Place(tempfile::tempdir().unwrap());
    let certificate = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let (ours, other) = (certificate(), certificate());
    place.write("cert.pem", &ours.cert.pem());
    place.write("key.pem", &ours.signing_key.serialize_pem());
    place.write("other.pem", &other.cert.pem());
    let daemon = Daemon::start_with(place.path(), "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    assert!(daemon.addr.starts_with("https://"), "{}", daemon.addr);
    let [trusted, untrusted] = ["cert.pem", "other.pem"].map(|name| place.file(name).display().to_string());
    let run = |args: &[&str], stdin: Option<&str>| daemon.cli(&daemon.token, args, stdin);
    let done = run(&["setup", "acme", "openai", "--no-probe", "--ca", &trusted], Some(&openai_key("tls")));
    assert!(done.status.success(), "{done:?}");
    let read = run(&["decrypt", "acme", "openai", "--ca", &trusted], None);
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), openai_key("tls"));
    for args in [&["decrypt", "acme", "openai", "--ca", &untrusted][..], &["decrypt", "acme", "openai"]] {
        let refused = run(args, None);
        let words = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(11), "{words}");
        assert!(words.contains("certificate") && words.contains("--ca"), "{words}");
        assert!(refused.stdout.is_empty());
    }
    let plain = daemon.addr.replace("https://", "http://");
    let refused = run(&["list", "acme", "--addr", &plain], None);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(daemon.stop().success());
}

#[test]
fn the_command_line_speaks_through_a_socket() {
    let place = Place(tempfile::tempdir().unwrap());
    let daemon = Daemon::start_with(place.path(), "unix = \"socket\"\n");
    let socket = place.file("socket");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let address = format!("unix:{}", socket.display());
    let run =
        |args: &[&str], stdin: Option<&str>| daemon.cli(&daemon.token, &[args, &["--addr", &address]].concat(), stdin);
    let done = run(&["setup", "acme", "openai", "--no-probe"], Some(&openai_key("socket")));
    assert!(done.status.success(), "{done:?}");
    let read = run(&["decrypt", "acme", "openai"], None);
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), openai_key("socket"));
    assert!(daemon.stop().success());
    assert!(!socket.exists(), "the socket goes with the daemon");
}
