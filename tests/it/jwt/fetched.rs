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
    let elsewhere = |uri: &str| Answer::json(200, &configuration(uri));
    let good = || elsewhere("https://issuer.example/keys");
    let keys = |set: &Value| Answer::json(200, set);
    let mut private = jwks(&[&signer]);
    private["keys"][0]["d"] = json!("AQAB");
    let mut other = configuration("https://issuer.example/keys");
    other["issuer"] = json!("https://issuer.example/realm/");
    let twice = Answer::text(
        200,
        &configuration("https://issuer.example/keys").to_string().replacen(
            '{',
            "{\"jwks_uri\":\"https://other.example/keys\",",
            1,
        ),
    );
    let fine = || keys(&jwks(&[&signer]));
    let cases = [
        (
            elsewhere("https://other.example/keys"),
            fine(),
            "a host that is not among these is not called: issuer.example",
        ),
        (elsewhere("http://issuer.example/keys"), fine(), "only https is spoken"),
        (elsewhere("https://127.0.0.1/keys"), fine(), "not a lower-case DNS name"),
        (elsewhere("https://issuer.example:8443/keys"), fine(), "only port 443 is called"),
        (elsewhere("file:///etc/passwd"), fine(), "only https is spoken"),
        (elsewhere("/keys"), fine(), "only https is spoken"),
        (Answer::json(200, &other), fine(), "has another `issuer` than the one that was asked"),
        (twice, fine(), "openid-configuration: has a member twice"),
        (
            Answer::status(302).header("location", "https://issuer.example/keys"),
            fine(),
            "openid-configuration: answered 302",
        ),
        (Answer::text(200, "<html>"), fine(), "openid-configuration: is no JSON"),
        (Answer::Cut, fine(), "did not answer as HTTP asks"),
        (good(), Answer::status(307).header("location", "https://issuer.example/other"), "/keys: answered 307"),
        (good(), Answer::text(200, &" ".repeat(300_000)), "answered more than"),
        (good(), Answer::Endless, "answered more than"),
        (good(), keys(&private), "/keys: key 1: has the private member `d`"),
        (good(), keys(&json!({"keys": [{"kty": "oct", "k": "AAAA"}]})), "/keys: key 1: is symmetric"),
        (good(), keys(&json!({"keys": []})), "/keys: has no key for signatures"),
    ];
    let play = Play::new();
    let daemon = play.start("");
    play.world.forget();
    for (at, (told, keys, why)) in cases.into_iter().enumerate() {
        play.publish(CONFIGURATION, told);
        play.publish(KEYS, keys);
        // Another issuer by its file: nothing is held of it, and nothing was tried yet.
        let written = callers("").replacen("name = \"ci\"", &format!("name = \"ci{at}\""), 1);
        let written = written.replacen("from = \"ci\"", &format!("from = \"ci{at}\""), 1);
        std::fs::write(play.home.path().join("callers.toml"), written).unwrap();
        daemon.signal("HUP");
        let issuer = format!("ci{at}");
        let line = daemon.logged(|line| line.contains("could not be fetched") && line.contains(&issuer));
        assert!(line.contains(why) && line.contains("WARN"), "{why}: {line}");
        runtime().block_on(async {
            let status = try_decrypt(&daemon, &signer.token(&claims(&[])), "acme").await.unwrap_err();
            assert_eq!(reason(&status), "ISSUER_UNAVAILABLE", "{why}");
        });
    }
    let asked = play.world.asked();
    assert!(asked.iter().all(|asked| asked.host == HOST), "somebody else was asked: {asked:#?}");
    assert!(asked.iter().all(|asked| asked.method == "GET" && asked.header("authorization").is_empty()));

    // It was none of these things that kept it out.
    play.publish(CONFIGURATION, good());
    play.publish(KEYS, fine());
    play.write_callers("");
    daemon.signal("HUP");
    runtime().block_on(async {
        until(&daemon, &signer.token(&claims(&[])), Result::is_ok).await.unwrap();
    });
    assert!(daemon.stop().success());
}
