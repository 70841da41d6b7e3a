//! The files of TLS are read anew: all of them, or none.

use super::*;

#[test]
fn a_new_certificate_of_the_daemon_is_shown_from_the_next_handshake_on() {
    let world = World::new();
    let service = world.client(Some(world.service()));
    let mut open = service.connect();
    assert_eq!(open.list().unwrap(), 200);
    let shown = |connection: &Connection| connection.0.conn.peer_certificates().unwrap()[0].clone().into_owned();
    let old = shown(&open);

    let renewed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    world.write("server.pem", &renewed.cert.pem());
    // Half of the pair is not taken.
    let refused = world.reload();
    assert!(refused.contains("tls.key: server.key: ") && refused.contains("ERROR"), "{refused}");
    let mut same = service.connect();
    assert_eq!(same.list().unwrap(), 200);
    assert_eq!(shown(&same), old);

    world.write("server.key", &renewed.signing_key.serialize_pem());
    assert!(world.reload().contains("read anew"));
    service.is_shut_out();
    let mut roots = RootCertStore::empty();
    roots.add(renewed.cert.der().clone()).unwrap();
    let world = World { roots: Arc::new(roots), ..world };
    assert_eq!(world.client(Some(world.service())).list().unwrap(), 200);
    assert_eq!(open.list().unwrap(), 200, "what is open stays open");
    assert!(world.daemon.stop().success());
}

/// Who may come in is as much a rule as what they may.
#[test]
fn another_set_of_callers_or_authorities_is_on_record() {
    let world = World::new();
    let parts = |record: &serde_json::Value, side: &str| -> Vec<String> {
        record[side].as_str().unwrap().split(' ').map(ToOwned::to_owned).collect()
    };
    let others = |record: &serde_json::Value| -> Vec<String> {
        let (before, after) = (parts(record, "before"), parts(record, "after"));
        let others = after.iter().filter(|part| !before.contains(part));
        others.map(|part| part.split_once('=').unwrap().0.to_owned()).collect()
    };
    world.write("callers.toml", &CALLERS.replace("test.acme.test", "test2.acme.test"));
    assert!(world.reload().contains("read anew"));
    assert_eq!(others(&world.last_record("replacePolicies")), ["callers"]);
    world.write("clients.pem", &format!("{}{}", world.authority.pem(), Authority::new("more").pem()));
    assert!(world.reload().contains("read anew"));
    let last = world.last_record("replacePolicies");
    assert_eq!(others(&last), ["authorities"]);
    assert!(world.reload().contains("read anew"));
    assert_eq!(world.last_record("replacePolicies"), last, "nothing has changed");
    assert!(world.daemon.stop().success());
}

#[test]
fn what_is_wrong_is_named_and_changes_nothing() {
    let world = World::with("client_crl = \"clients.crl\"");
    let service = world.client(Some(world.service()));
    let mut open = service.connect();
    let leaf = world.service();
    let (bundle, list) = (world.authority.pem(), world.authority.list(&[]));
    let broken = bundle.replace("MII", "M!!");
    let other = "-----BEGIN CERTIFICATE-----\nTm90IG9uZQ==\n-----END CERTIFICATE-----\n";
    let lines = bundle.lines().count();
    for (file, text, words) in [
        ("clients.pem", String::new(), "clients.pem: holds no `-----BEGIN CERTIFICATE-----`".to_owned()),
        ("clients.pem", leaf.key_pem.clone(), "clients.pem: holds no".to_owned()),
        ("clients.pem", format!("{bundle}{}", leaf.pem), format!("clients.pem:{}: is no authority's", lines + 1)),
        ("clients.pem", format!("{bundle}\n{broken}"), format!("clients.pem:{}: is not well-formed PEM", lines + 2)),
        ("clients.pem", format!("# ours\n{other}"), "clients.pem:2: is no X.509 certificate".to_owned()),
        ("clients.crl", String::new(), "clients.crl: holds no `-----BEGIN X509 CRL-----`".to_owned()),
        (
            "clients.crl",
            format!("{list}{}", other.replace("CERTIFICATE", "X509 CRL")),
            "is no revocation list".to_owned(),
        ),
        ("callers.toml", "[[caller]]\nname = 1".to_owned(), "callers.toml:2: ".to_owned()),
    ] {
        let before = std::fs::read_to_string(world.home.path().join(file)).unwrap();
        world.write(file, &text);
        let refused = world.reload();
        assert!(refused.contains(&words) && refused.contains("ERROR"), "{words}: {refused}");
        assert_eq!(open.list().unwrap(), 200, "{words}");
        assert_eq!(service.list().unwrap(), 200, "{words}");
        world.write(file, &before);
    }
    std::fs::remove_file(world.home.path().join("clients.pem")).unwrap();
    assert!(world.reload().contains("clients.pem: cannot be read: "));
    assert_eq!(service.list().unwrap(), 200);
    assert!(world.daemon.stop().success());
}
