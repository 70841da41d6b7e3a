//! Whose certificate it is: by SPIFFE id, DNS name or e-mail address, and what beats it.

use pki::{dns, email};

use super::*;

#[test]
fn a_certificate_is_its_caller_and_a_token_beats_it() {
    let world = World::new();
    let service = world.client(Some(world.service()));
    let mut open = service.connect();
    assert_eq!(open.list().unwrap(), 200);
    let record = world.last_record("list");
    assert_eq!(record["caller"], "mtls:spiffe://acme.test/ns/prod/api");
    assert_eq!(record["caller_name"], "the-service");
    assert_eq!(open.get("/integrations/globex", "").unwrap().0, 403, "another tenant's");

    // A token decides, whoever the connection is; and a bad one is not made good by the connection.
    assert_eq!(open.get("/integrations/globex", &world.bearer()).unwrap().0, 200);
    assert_ne!(world.last_record("list")["caller"], record["caller"]);
    let other = "authorization: Bearer srt_AaH8AF2Ad4qok3IffrQaGla_CrjZLiTRmNNvoYSqypkXJgBWWvo4tcE0vBwY0sVpnWGCcA\r\n";
    let twice = format!("{0}{0}", world.bearer());
    for bad in [other, "authorization: Bearer \r\n", "authorization:\r\n", "authorization: Basic eDp5\r\n", &twice] {
        assert_eq!(open.get(LIST, bad).unwrap().0, 401, "{bad}");
    }
    assert_eq!(world.last_record("authenticate")["outcome"], "UNAUTHENTICATED");

    let mut nobody = world.client(None).connect();
    assert_eq!(nobody.list().unwrap(), 401);
    assert_eq!(nobody.get(LIST, &world.bearer()).unwrap().0, 200);
    assert!(world.daemon.stop().success());
}

#[test]
fn the_names_of_a_certificate_decide_and_its_common_name_does_not() {
    let world = World::new();
    let api = || uri("spiffe://acme.test/ns/prod/api");
    for (names, expected, who) in [
        (vec![dns("build.acme.test")], 200, "mtls:dns:build.acme.test"),
        (vec![dns("BUILD.Acme.test")], 200, "mtls:dns:build.acme.test"),
        (vec![dns("other.acme.test"), dns("build2.acme.test")], 200, "mtls:dns:build2.acme.test"),
        (vec![dns("build2.acme.test"), dns("build.acme.test")], 200, "mtls:dns:build2.acme.test"),
        (vec![email("jo@acme.test")], 200, "mtls:email:jo@acme.test"),
        (vec![api(), dns("other.acme.test")], 200, "mtls:spiffe://acme.test/ns/prod/api"),
        (vec![], 401, "no SPIFFE id, DNS name or e-mail address"),
        (vec![dns("build.acme.test"), dns("test.acme.test")], 401, "more than one caller"),
        (vec![api(), dns("test.acme.test")], 401, "more than one caller"),
        (vec![dns("other.acme.test")], 401, "no caller of callers.toml is dns:other.acme.test"),
        (vec![dns("*.acme.test"), dns("build.acme.test")], 401, "a DNS name that is no host's"),
        (vec![api(), uri("spiffe://acme.test/ns/prod/other")], 401, "a SPIFFE id and another URI"),
        (vec![api(), uri("https://acme.test/")], 401, "a SPIFFE id and another URI"),
        (vec![uri("https://acme.test/ns/prod/api")], 401, "no SPIFFE id, DNS name or e-mail address"),
        (vec![email("jo@acme.test"), email("al@acme.test")], 401, "more than one e-mail address"),
        (vec![email("jo@acme.test ")], 401, "an e-mail address that is none"),
        (vec![uri("spiffe://acme.test/ns/prod/../prod/api")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test/ns/prod/api?x")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test/ns/prod//api")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test/ns/prod/%61pi")], 401, "SPIFFE id is none"),
        (vec![uri("SPIFFE://acme.test/ns/prod/api")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test:443/ns/prod/api")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://ACME.test/ns/prod/api")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test/ns/prod/api/")], 401, "SPIFFE id is none"),
        (vec![uri("spiffe://acme.test")], 401, "SPIFFE id is none"),
    ] {
        let identity = world.authority.certify(&client(&names));
        let mut connection = world.client(Some(identity)).connect();
        assert_eq!(connection.list().unwrap(), expected, "{names:?}");
        match expected {
            200 => assert_eq!(world.last_record("list")["caller"], who, "{names:?}"),
            _ => drop(world.daemon.logged(|line| line.contains("nobody was proven") && line.contains(who))),
        }
    }
    assert!(world.daemon.stop().success());
}
