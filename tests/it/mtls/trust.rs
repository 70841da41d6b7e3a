//! Which certificates are trusted, at the handshake and long after it.

use std::time::SystemTime;

use pki::{DAY, dns};
use rcgen::{ExtendedKeyUsagePurpose, SerialNumber};

use strongroom::pb::v1::WatchCredentialsRequest;
use strongroom::pb::v1::credential_service_client::CredentialServiceClient;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::*;
use crate::daemon::{Bearer, openai_key, program, runtime, setup};

#[test]
fn a_certificate_that_is_not_trusted_ends_the_connection() {
    let world = World::new();
    let names = [uri("spiffe://acme.test/ns/prod/api")];
    let shut_out = |authority: &Authority, change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let mut params = client(&names);
        change(&mut params);
        world.client(Some(authority.certify(&params))).is_shut_out();
    };
    shut_out(&Authority::new("strangers"), &|_| {});
    // An authority of the same name is another authority.
    shut_out(&Authority::new("clients"), &|_| {});
    shut_out(&world.authority, &|params| params.not_after = (SystemTime::now() - Duration::from_secs(60)).into());
    shut_out(&world.authority, &|params| params.not_before = (SystemTime::now() + DAY / 2).into());
    shut_out(&world.authority, &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    world.daemon.logged(|line| line.contains("a client's certificate was refused") && line.contains("xpired"));
    assert_eq!(world.client(Some(world.service())).list().unwrap(), 200);
    assert!(world.daemon.stop().success());
}

/// TLS 1.3 tells it late, so that it is seen now as an alert and now as the end of the connection.
#[test]
fn who_comes_with_a_refused_certificate_is_told_where_to_look() {
    let world = World::new();
    std::fs::copy(world.home.path().join("server.pem"), world.home.path().join("roots.pem")).unwrap();
    let mut expired = client(&[uri("spiffe://acme.test/ns/prod/api")]);
    expired.not_after = (SystemTime::now() - Duration::from_secs(60)).into();
    for _ in 0..8 {
        let identity = world.authority.certify(&expired);
        world.write("client.pem", &identity.pem);
        world.write("client.key", &identity.key_pem);
        let mut command = std::process::Command::new(program());
        let files = [("CA", "roots.pem"), ("CLIENT_CERT", "client.pem"), ("CLIENT_KEY", "client.key")];
        command.envs(files.map(|(name, file)| (format!("STRONGROOM_{name}"), world.home.path().join(file))));
        let addr = world.daemon.addr.replace("http://", "https://");
        let out = command.args(["--addr", &addr, "list", "acme"]).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(11), "{said}");
        assert!(said.starts_with("error: the connection broke: ") && said.contains("certificate"), "{said}");
        assert!(!said.contains("--timeout") && !said.contains("transport error"), "{said}");
    }
    assert!(world.daemon.stop().success());
}

#[test]
fn a_certificate_that_ends_while_the_connection_is_open_proves_nothing_any_more() {
    let world = World::new();
    let mut params = client(&[uri("spiffe://acme.test/ns/prod/api")]);
    let not_after = SystemTime::now() + Duration::from_secs(10);
    params.not_after = not_after.into();
    let mut open = world.client(Some(world.authority.certify(&params))).connect();
    assert_eq!(open.list().unwrap(), 200);
    let end = Instant::now() + Duration::from_secs(60);
    while open.list().unwrap() == 200 {
        assert!(Instant::now() < end, "it is still good");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(SystemTime::now() + Duration::from_secs(1) > not_after, "not before its time");
    assert_eq!(open.list().unwrap(), 401);
    world.daemon.logged(|line| line.contains("nobody was proven") && line.contains("xpired"));
    assert_eq!(open.get(LIST, &world.bearer()).unwrap().0, 200, "a token needs no certificate");
    assert!(world.daemon.stop().success());
}

#[test]
fn what_is_revoked_ends_at_once_on_open_connections_too() {
    let world = World::with("client_crl = \"clients.crl\"");
    let issue = |serial: u64, name: &str| {
        let mut params = client(&[dns(name)]);
        params.serial_number = Some(SerialNumber::from(serial));
        world.client(Some(world.authority.certify(&params)))
    };
    let (one, two) = (issue(41, "build.acme.test"), issue(42, "test.acme.test"));
    let (mut first, mut second) = (one.connect(), two.connect());
    assert_eq!((first.list().unwrap(), second.list().unwrap()), (200, 200));

    world.write("clients.crl", &world.authority.list(&[41]));
    assert_eq!(first.list().unwrap(), 200, "nobody has told yet");
    assert!(world.reload().contains("in force"));
    assert_eq!((first.list().unwrap(), second.list().unwrap()), (401, 200));
    world.daemon.logged(|line| line.contains("nobody was proven") && line.contains("Revoked"));
    one.is_shut_out();
    assert_eq!(two.list().unwrap(), 200);

    // A list that is not of that authority says nothing about it: nobody is known not to be revoked.
    world.write("clients.crl", &Authority::new("strangers").list(&[]));
    assert!(world.reload().contains("read anew"));
    assert_eq!(second.list().unwrap(), 401);
    two.is_shut_out();

    // A list ends, too.
    world.write("clients.crl", &world.authority.list_until(&[], SystemTime::now() + Duration::from_secs(10)));
    assert!(world.reload().contains("read anew"));
    assert_eq!((first.list().unwrap(), second.list().unwrap()), (200, 200));
    let end = Instant::now() + Duration::from_secs(60);
    while second.list().unwrap() == 200 {
        assert!(Instant::now() < end, "the list is still good");
        std::thread::sleep(Duration::from_millis(200));
    }
    two.is_shut_out();
    assert!(world.daemon.stop().success());
}

#[test]
fn an_authority_that_is_gone_is_gone_for_resumed_sessions_too() {
    let world = World::new();
    let service = world.client(Some(world.service()));
    let mut open = service.connect();
    assert_eq!(open.list().unwrap(), 200);
    let mut again = service.connect();
    assert_eq!(again.list().unwrap(), 200);
    assert_eq!((open.kind(), again.kind()), (Some(HandshakeKind::Full), Some(HandshakeKind::Full)));

    world.write("clients.pem", &Authority::new("others").pem());
    assert!(world.reload().contains("read anew"));
    assert_eq!((open.list().unwrap(), again.list().unwrap()), (401, 401));
    service.is_shut_out();

    world.write("clients.pem", &format!("{}{}", Authority::new("others").pem(), world.authority.pem()));
    assert!(world.reload().contains("read anew"));
    assert_eq!(service.list().unwrap(), 200);
    assert_eq!(open.list().unwrap(), 200, "the same certificate under the same authority");
    assert!(world.daemon.stop().success());
}

#[test]
fn a_watch_ends_with_the_certificate_that_opened_it() {
    let world = World::new();
    let identity = world.service();
    let server = std::fs::read_to_string(world.home.path().join("server.pem")).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(server));
    let connect = async |tls: ClientTlsConfig| {
        let endpoint = Endpoint::from_shared(world.daemon.addr.clone()).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    };
    runtime().block_on(async {
        let own = tls.clone().identity(tonic::transport::Identity::from_pem(&identity.pem, &identity.key_pem));
        let mut service = CredentialServiceClient::new(connect(own).await);
        let bearer = Bearer::new(&world.daemon.token);
        let mut admin = CredentialServiceClient::with_interceptor(connect(tls).await, bearer);
        let watch = WatchCredentialsRequest { org: "acme".into(), ..Default::default() };
        let mut changes = service.watch_credentials(watch).await.unwrap().into_inner();
        admin.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        assert_eq!(changes.message().await.unwrap().unwrap().change, "setup");

        world.write("clients.pem", &Authority::new("others").pem());
        assert!(world.reload().contains("read anew"));
        admin.setup_credential(setup("acme", "two", &openai_key("two"))).await.unwrap();
        let told = loop {
            match changes.message().await {
                Ok(Some(change)) => assert_eq!(change.credential.unwrap().name, "one"),
                ended => break ended,
            }
        };
        assert_eq!(told.unwrap_err().code(), Code::Unauthenticated);
    });
    assert!(world.daemon.stop().success());
}
