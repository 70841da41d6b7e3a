//! The issuer's keys: rotated, revoked, wrong, and gone.

use super::*;

#[test]
fn a_new_key_is_picked_up_when_a_token_names_it_and_by_one_question() {
    let play = Play::new();
    let (old, new) = (Signer::rsa("k1"), Signer::elliptic("k2"));
    play.publish_keys(&[&old]);
    // As long as this, nobody would ask again by themselves; a new name may make them, from a second on.
    let daemon = play.start("refresh = \"2s\"\nkeep = \"1h\"");
    runtime().block_on(async {
        try_decrypt(&daemon, &old.token(&claims(&[])), "acme").await.unwrap();
        play.publish_keys(&[&old, &new]);
        let token = new.token(&claims(&[]));
        until(&daemon, &token, Result::is_ok).await.unwrap();
        try_decrypt(&daemon, &old.token(&claims(&[])), "acme").await.unwrap();

        // However many name what is not there, they ask no more often than once in that time.
        let strange = Signer::elliptic("k3").token(&claims(&[]));
        let (asked, begin) = (play.asked(KEYS), Instant::now());
        let strangers = (0..200).map(|_| try_decrypt(&daemon, &strange, "acme"));
        for answer in futures_util::future::join_all(strangers).await {
            assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
        }
        let most = begin.elapsed().as_secs() / 2 + 2;
        assert!(play.asked(KEYS) - asked <= most as usize, "{} times", play.asked(KEYS) - asked);
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_revoked_key_opens_nothing_after_the_next_refresh() {
    let play = Play::new();
    let (old, new) = (Signer::rsa("k1"), Signer::rsa("k2"));
    play.publish_keys(&[&old, &new]);
    let daemon = play.start("refresh = \"1s\"");
    runtime().block_on(async {
        // Remembered by now.
        let (token, other) = (old.token(&claims(&[])), new.token(&claims(&[])));
        for token in [&token, &token, &other] {
            try_decrypt(&daemon, token, "acme").await.unwrap();
        }
        play.publish_keys(&[&new]);
        let refused = until(&daemon, &token, Result::is_err).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // That one may have been under way when the keys changed, and is then refused as its caller's, not as a stranger's.
        let refused = try_decrypt(&daemon, &token, "acme").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        daemon.logged(|line| line.contains("its `kid` is none of the issuer's keys"));
        try_decrypt(&daemon, &other, "acme").await.unwrap();
    });
    assert!(daemon.stop().success());
}

#[test]
fn while_the_issuer_is_down_its_last_keys_serve_for_their_time() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("refresh = \"1s\"\nkeep = \"8s\"");
    runtime().block_on(async {
        let token = signer.token(&claims(&[]));
        try_decrypt(&daemon, &token, "acme").await.unwrap();
        play.publish(KEYS, Answer::status(503));
        daemon.logged(|line| line.contains("https://issuer.example/keys: answered 503"));
        try_decrypt(&daemon, &token, "acme").await.unwrap();
        try_decrypt(&daemon, &signer.token(&claims(&[("sub", json!("new"))])), "acme").await.unwrap();
        let status = until(&daemon, &token, Result::is_err).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ISSUER_UNAVAILABLE"));
        assert!(!status.message().contains(HOST) && !status.message().contains("503"), "{status:?}");
        // Tokens of our own need no issuer.
        try_decrypt(&daemon, &daemon.token, "acme").await.unwrap();
        play.publish_keys(&[&signer]);
        until(&daemon, &token, Result::is_ok).await.unwrap();
    });
    assert!(daemon.stop().success());
}

#[test]
fn an_issuer_that_answers_wrongly_lets_nobody_in_and_sends_us_nowhere() {
    let signer = Signer::rsa("k1");
    let issuer = |at: usize| format!("https://{HOST}/{at}");
    let told = |jwks_uri: &str| Told::Elsewhere(jwks_uri.to_owned());
    let keys = |set: &Value| Told::Keys(Answer::json(200, set));
    let mut private = jwks(&[&signer]);
    private["keys"][0]["d"] = json!("AQAB");
    let cases = [
        (told("https://other.example/keys"), "a host that is not among these is not called: issuer.example"),
        (told("http://issuer.example/keys"), "only https is spoken"),
        (told("https://127.0.0.1/keys"), "not a lower-case DNS name"),
        (told("https://issuer.example:8443/keys"), "only port 443 is called"),
        (told("https://u:p@issuer.example/keys"), "an address with a user in it is not called"),
        (told("file:///etc/passwd"), "has a `jwks_uri` that is no URL"),
        (told("/keys"), "only https is spoken"),
        (
            Told::Configuration(
                json!({"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys"}).to_string(),
            ),
            "has another `issuer` than the one that was asked",
        ),
        (Told::Configuration("{\"jwks_uri\": 1, \"jwks_uri\": 2}".into()), "openid-configuration: has a member twice"),
        (Told::Configuration("<html>".into()), "openid-configuration: is no JSON"),
        (
            Told::Other(Answer::status(302).header("location", "https://issuer.example/keys")),
            "openid-configuration: answered 302",
        ),
        (Told::Other(Answer::status(404)), "openid-configuration: answered 404"),
        (Told::Other(Answer::Cut), "did not answer as HTTP asks"),
        (Told::Keys(Answer::status(307).header("location", "https://issuer.example/other")), "/keys: answered 307"),
        (Told::Keys(Answer::text(200, &" ".repeat(300_000))), "answered more than"),
        (Told::Keys(Answer::Endless), "answered more than"),
        (keys(&private), "/keys: key 1: has the private member `d`"),
        (keys(&json!({"keys": [{"kty": "oct", "k": "AAAA"}]})), "/keys: key 1: is symmetric"),
        (keys(&json!({"keys": []})), "/keys: has no key for signatures"),
        // And one that is right: it was none of these things that kept the others out.
        (keys(&jwks(&[&signer])), ""),
    ];
    let play = Play::new();
    let mut more = String::new();
    for (at, (told, _)) in cases.iter().enumerate() {
        let good = |jwks_uri: &str| Answer::json(200, &json!({"issuer": issuer(at), "jwks_uri": jwks_uri}));
        let own = format!("{}/keys", issuer(at));
        let (configuration, keys) = match told {
            Told::Elsewhere(jwks_uri) => (good(jwks_uri), Answer::json(200, &jwks(&[&signer]))),
            Told::Configuration(text) => (Answer::text(200, text), Answer::json(200, &jwks(&[&signer]))),
            Told::Other(answer) => (answer.clone(), Answer::json(200, &jwks(&[&signer]))),
            Told::Keys(answer) => (good(&own), answer.clone()),
        };
        play.publish(&format!("/{at}/.well-known/openid-configuration"), configuration);
        play.publish(&format!("/{at}/keys"), keys);
        more += &format!("[[issuer]]\nname = \"n{at}\"\nissuer = \"{}\"\naudience = \"strongroom\"\n", issuer(at));
        more += "claims = { team = \"team\" }\n";
        more += &format!(
            "[[caller]]\nname = \"c{at}\"\nfrom = \"n{at}\"\nwhen = {{ team = \"blue\" }}\nrole = \"pipeline\"\n"
        );
        more += "org = \"acme\"\nproviders = [\"*\"]\n";
    }
    let daemon = play.start(&more);
    for (at, (_, why)) in cases.iter().enumerate() {
        let token = signer.token(&claims(&[("iss", json!(issuer(at)))]));
        let answer = runtime().block_on(try_decrypt(&daemon, &token, "acme"));
        if why.is_empty() {
            answer.unwrap();
            continue;
        }
        let status = answer.expect_err(why);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ISSUER_UNAVAILABLE"), "{why}");
        let name = format!("issuer=n{at} ");
        let line = daemon.logged(|line| line.contains("could not be fetched") && line.contains(&name));
        assert!(line.contains(why) && line.contains("WARN"), "{why}: {line}");
    }
    let asked = play.world.asked();
    assert!(asked.iter().all(|asked| asked.host == HOST), "somebody else was asked: {asked:#?}");
    assert!(asked.iter().all(|asked| asked.method == "GET" && asked.header("authorization").is_empty()));
    assert!(daemon.stop().success());
}

/// What an issuer answers.
enum Told {
    /// Where its keys are.
    Elsewhere(String),
    Configuration(String),
    /// Instead of a configuration.
    Other(Answer),
    /// As its keys.
    Keys(Answer),
}
