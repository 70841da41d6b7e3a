use super::*;

const FILE: &str = r#"
    [[issuer]]
    name = "github"
    preset = "github"
    audience = "strongroom"

    [[caller]]
    name = "deploy"
    from = "github"
    when = { repository_id = "4711", ref = ["refs/heads/main", "refs/tags/*"] }
    role = "pipeline"
    org = "acme"
    providers = ["openai"]

    [[caller]]
    name = "anything of that repository"
    from = "github"
    when = { repository_id = "4711", environment = "prod" }
    role = "pipeline"
    org = "acme"
    providers = ["*"]
"#;

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn exactly_one_must_fit() {
    let callers = Callers::parse("callers.toml", FILE).unwrap();
    let find = |from, pairs: &[(&str, &str)]| callers.find(from, &attributes(pairs)).map(|it| it.name.clone());
    let main = [("repository_id", "4711"), ("ref", "refs/heads/main"), ("actor", "anybody")];
    assert_eq!(find("github", &main).as_deref(), Ok("deploy"));
    assert_eq!(find("gitlab", &main), Err(Unknown::None));
    for refused in ["refs/heads/main2", "refs/heads/Main", "refs/heads/", "refs/tags/", "refs/tags", ""] {
        assert_eq!(find("github", &[("repository_id", "4711"), ("ref", refused)]), Err(Unknown::None), "{refused}");
    }
    assert_eq!(find("github", &[("ref", "refs/heads/main")]), Err(Unknown::None));
    let both = find("github", &[("repository_id", "4711"), ("ref", "refs/tags/v1"), ("environment", "prod")]);
    assert!(matches!(both, Err(Unknown::Ambiguous(names)) if names.len() == 2));
}

/// Two that always fit together are a slip: whoever is meant would never come in.
#[test]
fn a_caller_within_another_is_refused() {
    let second = |when: &str| {
        let text = FILE.replace(r#"{ repository_id = "4711", environment = "prod" }"#, when);
        Callers::parse("callers.toml", &text).map(drop).map_err(|error| error.to_string())
    };
    let [both, deploy, other] =
        ["where two fit nobody comes in", "whoever fits `deploy`", "whoever fits `anything of that repository`"];
    for (when, words) in [
        (r#"{ repository_id = "4711", ref = ["refs/heads/main", "refs/tags/*"] }"#, both),
        (r#"{ repository_id = "4711", ref = "refs/tags/v1" }"#, other),
        (r#"{ repository_id = "4711", ref = "refs/tags/v1/*", environment = "prod" }"#, other),
        (r#"{ repository_id = "4711" }"#, deploy),
        (r#"{ repository_id = ["4711", "4712"], ref = ["refs/heads/*", "refs/tags/*"] }"#, deploy),
    ] {
        let refused = second(when).expect_err(when);
        assert!(refused.starts_with("callers.toml:15: when: ") && refused.contains(words), "{refused}");
    }
    for when in [
        r#"{ repository_id = "4712" }"#,
        r#"{ repository_id = "4711", ref = ["refs/heads/next", "refs/tags/v1"] }"#,
        r#"{ repository_id = "4711", ref = "refs/heads/*" }"#,
    ] {
        second(when).expect(when);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let error = Callers::parse("callers.toml", "\n[[caller]]\nname = \"x\"\nrol = \"admin\"\n").unwrap_err();
    assert!(error.to_string().starts_with("callers.toml:4: unknown field `rol`"), "{error}");
}

/// The lines of config/callers.toml that are TOML when nothing hides them.
fn reference() -> String {
    let text = include_str!("../../../config/callers.toml");
    let shown = |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or("");
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_holds_and_shows_every_preset_and_key() {
    let text = reference();
    let callers = Callers::parse("callers.toml", &text).unwrap();
    let presets = ["github", "gitlab", "kubernetes", "google", "azure", "terraform"];
    for preset in presets {
        assert!(text.contains(&format!("preset = \"{preset}\"")), "{preset}");
    }
    assert_eq!((callers.issuers().len(), callers.callers.len()), (presets.len() + 1, presets.len() + 3));
    // The last one says the defaults.
    let written = callers.issuers().last().unwrap();
    let bare =
        "[[issuer]]\nname = \"sso\"\nissuer = \"https://sso.acme.example/realms/acme\"\naudience = \"strongroom\"\n";
    let bare = &Callers::parse("", bare).unwrap().issuers[0];
    let defaults = |it: &Issuer| (it.leeway, it.max_age, it.source.refresh, it.source.keep, it.algorithms.clone());
    assert_eq!(defaults(written), defaults(bare));
    for attribute in ["sub", "repository_id", "project_id", "namespace", "email", "object_id", "team", "run", "phase"] {
        assert!(callers.attributes().contains(attribute), "{attribute}");
    }
    assert!(!callers.attributes().contains("repository-id"));
}

const ISSUER: &str = "[[issuer]]\nname = \"sso\"\nissuer = \"https://sso.example\"\naudience = \"strongroom\"\n";

#[test]
fn an_issuer_that_is_wrong_is_refused_with_its_line() {
    let change = |from: &str, to: &str| ISSUER.replacen(from, to, 1);
    let more = |line: &str| format!("{ISSUER}{line}\n");
    let preset = |preset: &str, line: &str| format!("[[issuer]]\nname = \"x\"\npreset = \"{preset}\"\n{line}\n");
    let second = |name: &str, audience: &str| {
        format!("{ISSUER}[[issuer]]\nname = \"{name}\"\nissuer = \"https://sso.example\"\naudience = [{audience}]\n")
    };
    let tenant = "00000000-0000-0000-0000-000000000000";
    let good = [
        ISSUER.to_owned(),
        more("jwks_hosts = [\"keys.example\", \"*.keys.example\"]"),
        more("jwks = \"https://keys.example/a?b=c\""),
        more("algorithms = [\"PS512\", \"EdDSA\"]"),
        more("claims = { a = \"b.c/d\", b = \"/x.y/z\" }"),
        more("leeway = \"0s\"\nmax_age = \"25h\"\nrefresh = \"24h\""),
        second("two", "\"other\""),
        preset("azure", &format!("audience = \"a\"\nissuer = \"https://login.microsoftonline.com/{tenant}/v2.0\"")),
        preset("github", "audience = \"a\"\nissuer = \"https://token.actions.acme.ghe.com\""),
    ];
    for text in good {
        Callers::parse("callers.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
    let bad = [
        (change("name = \"sso\"\n", ""), 2, "missing field `name`"),
        (change("audience = \"strongroom\"\n", ""), 2, "missing field `audience`"),
        (change("issuer = \"https://sso.example\"\n", ""), 2, "issuer: is missing"),
        (more("audiences = \"x\""), 6, "unknown field `audiences`"),
        (change("\"sso\"", "\"SSO\""), 2, "name: must be lower-case"),
        (change("\"sso\"", "\"a:b\""), 2, "name: must be lower-case"),
        (change("\"sso\"", "\"\""), 2, "name: must be lower-case"),
        (change("\"sso\"", "\"mtls\""), 2, "name: must be lower-case"),
        (change("\"sso\"", "\"system\""), 2, "name: must be lower-case"),
        (change("\"strongroom\"", "[]"), 2, "audience: must name at least one"),
        (change("\"strongroom\"", "\"\""), 2, "audience: must be 1 to"),
        (change("https://sso", "http://sso"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "sso.example"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://sso.example:8443"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://10.0.0.1"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://u@sso.example"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://SSO.example"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://*.sso.example"), 2, "issuer: must be https://HOST"),
        (change("https://sso.example", "https://sso.example/?a=b"), 2, "issuer: must have no query"),
        (change("https://sso.example", "https://sso.example/#a"), 2, "issuer: must be https://HOST"),
        (more("preset = \"githib\""), 2, "preset: must be one of github, gitlab"),
        (more("algorithms = []"), 2, "algorithms: must name at least one"),
        (more("algorithms = [\"HS256\"]"), 2, "algorithms: `HS256` is none of RS256"),
        (more("algorithms = [\"RS256\", \"none\"]"), 2, "algorithms: `none` is none of RS256"),
        (more("algorithms = [\"rs256\"]"), 2, "algorithms: `rs256` is none of RS256"),
        (more("jwks = \"http://sso.example/keys\""), 2, "jwks: must be https://HOST"),
        (more("jwks = \"https://127.0.0.1/keys\""), 2, "jwks: must be https://HOST"),
        (more("jwks = \"keys.json\""), 2, "jwks: must be https://HOST"),
        (more("jwks = \"file:\""), 2, "jwks: must be file:PATH"),
        (more("jwks = \"file:x\"\njwks_hosts = [\"a.example\"]"), 2, "jwks_hosts: are for keys"),
        (more("jwks_hosts = [\"*.com\"]"), 2, "jwks_hosts: `*.com` must"),
        (more("jwks_hosts = [\"a.example:8443\"]"), 2, "jwks_hosts: `a.example:8443` must"),
        (more("claims = { Team = \"team\" }"), 2, "claims: `Team` must be"),
        (more("claims = { \"a-b\" = \"team\" }"), 2, "claims: `a-b` must be"),
        (more("claims = { sub = \"email\" }"), 2, "claims: `sub` must be"),
        (more("claims = { team = \"\" }"), 2, "claims: must be 1 to"),
        (more("leeway = \"121s\""), 2, "leeway: must be from 0 s to 120 s"),
        (more("max_age = \"26h\""), 2, "max_age: must be from 1 s to 90000 s"),
        (more("max_age = \"0s\""), 2, "max_age: must be from"),
        (more("refresh = \"0s\""), 2, "refresh: must be from"),
        (more("refresh = \"2h\"\nkeep = \"1h\""), 2, "keep: must be from 7200 s to 86400 s"),
        (more("keep = \"25h\""), 2, "keep: must be from"),
        (more("leeway = 30"), 6, "invalid type"),
        (more("step_up = { arm = [] }"), 6, "unknown field `arm`"),
        (more("step_up = { amr = [\"\"] }"), 2, "step_up: must be 1 to"),
        (preset("kubernetes", "audience = \"a\""), 1, "issuer: is missing"),
        (
            preset("azure", "audience = \"a\"\nissuer = \"https://login.microsoftonline.com/common/v2.0\""),
            1,
            "tenant's id",
        ),
        (second("sso", "\"other\""), 6, "name: there is another issuer sso"),
        (second("two", "\"other\", \"strongroom\""), 6, "audience: the issuer sso has the same `issuer`"),
    ];
    for (text, line, why) in bad {
        // A line before it, as the first line of all would be right by chance.
        let text =
            if text.contains("preset = \"kub") || text.contains("preset = \"azu") { text } else { format!("\n{text}") };
        let told = Callers::parse("callers.toml", &text).expect_err(why).to_string();
        assert!(told.starts_with(&format!("callers.toml:{line}: ")) && told.contains(why), "{why}: {told}");
    }
}

#[test]
fn a_caller_that_is_wrong_is_refused_with_its_line() {
    let github = "[[issuer]]\nname = \"github\"\npreset = \"github\"\naudience = \"a\"\n";
    let caller = |from: &str, when: &str, rest: &str| {
        format!(
            "{ISSUER}claims = {{ team = \"team\" }}\n{github}[[caller]]\nname = \"x\"\nfrom = \"{from}\"\nwhen = {when}\n{rest}\n"
        )
    };
    let rest = "role = \"service\"\norg = \"acme\"";
    let sso = |when: &str| caller("sso", when, rest);
    let of_github = |when: &str| caller("github", when, rest);
    let team = |rest: &str| caller("sso", "{ team = \"blue\" }", rest);
    let good = [
        sso("{ team = \"blue\" }"),
        sso("{ sub = [\"a\", \"b/*\"] }"),
        caller("mtls", "{ spiffe = \"spiffe://acme/x\" }", rest),
        caller("unix", "{ uid = \"1000\" }", rest),
        of_github("{ repository_id = \"1\" }"),
        of_github("{ sub = \"repo:acme/*\" }"),
        of_github("{ sub = \"repo:*\", repository_owner_id = \"7\" }"),
        team("role = \"admin\"\norg = \"*\""),
        team("role = \"pipeline\"\norg = \"acme\"\nproviders = [\"*\"]\nactions = [\"decrypt\"]"),
    ];
    for text in good {
        Callers::parse("callers.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
    let bad = [
        (
            caller("gihub", "{ sub = \"a\" }", rest),
            "from: `gihub` is no [[issuer]]'s name, mtls or unix; did you mean github?",
        ),
        (caller("", "{ sub = \"a\" }", rest), "from: `` is no [[issuer]]'s name"),
        (sso("{}"), "when: must ask for something"),
        (sso("{ team = [] }"), "when: team must have a value"),
        (sso("{ team = \"\" }"), "when: team must have a value"),
        (sso("{ team = [\"blue\", \"\"] }"), "when: team must have a value"),
        (sso("{ team = \"*\" }"), "when: team = `*`: a `*` stands at the end"),
        (sso("{ team = \"bl*\" }"), "when: team = `bl*`: a `*` stands at the end"),
        (sso("{ team = \"a/*/b\" }"), "when: team = `a/*/b`: a `*` stands at the end"),
        (sso("{ team = \"*/*\" }"), "when: team = `*/*`: a `*` stands at the end"),
        (sso("{ teem = \"blue\" }"), "when: the issuer sso has no attribute `teem`; did you mean team?"),
        (of_github("{ repositry_id = \"1\" }"), "has no attribute `repositry_id`; did you mean"),
        (of_github("{ ref = \"refs/heads/main\" }"), "when: everybody can have a token of https://token.actions"),
        (of_github("{ sub = \"repo:*\" }"), "when: everybody can have a token of https://token.actions"),
        (of_github("{ sub = [\"repo:acme/a:*\", \"repo:*\"] }"), "when: everybody can have a token of"),
        (team("role = \"king\"\norg = \"acme\""), "role: must be one of pipeline, service, operator, admin"),
        (team("role = \"service\"\norg = \"*\""), "org: must be one tenant"),
        (team("role = \"service\"\norg = \"\""), "org: must not be empty"),
        (team("role = \"service\"\norg = \"a/b\""), "org: must be letters, digits"),
        (team("role = \"pipeline\"\norg = \"acme\""), "providers: must name what the pipeline decrypts"),
        (
            team("role = \"service\"\norg = \"acme\"\nactions = [\"decript\"]"),
            "no action `decript`; did you mean decrypt?",
        ),
        (sso("{ team = \"blue\" }").replace("\"x\"", "\"\""), "name: must not be empty"),
    ];
    for (text, why) in bad {
        let told = Callers::parse("callers.toml", &text).expect_err(why).to_string();
        assert!(told.starts_with("callers.toml:10: ") && told.contains(why), "{why}: {told}");
    }
    let twice =
        format!("{}{}", sso("{ team = \"a\" }"), "[[caller]]\nname = \"x\"\nfrom = \"sso\"\nwhen = { team = \"b\" }\n");
    let told = Callers::parse("callers.toml", &format!("{twice}{rest}\n")).unwrap_err().to_string();
    assert_eq!(told, "callers.toml:16: name: there is another caller `x`");
}

#[test]
fn what_a_certificate_or_a_process_can_never_say_is_refused() {
    let parse = |from: &str, when: &str| {
        let caller = format!(
            "[[caller]]\nname = \"x\"\nfrom = \"{from}\"\nwhen = {{ {when} }}\nrole = \"service\"\norg = \"acme\"\n"
        );
        Callers::parse("callers.toml", &caller).map(drop).map_err(|error| error.to_string())
    };
    for (from, when) in [
        ("mtls", "spiffe = [\"spiffe://acme.test/ns/*\", \"spiffe://acme.test/api\"]"),
        ("mtls", "dns = \"build.acme.test\", email = \"jo@acme.test\""),
        ("unix", "uid = \"0\", gid = [\"1000\", \"4294967295\"]"),
    ] {
        assert_eq!(parse(from, when), Ok(()), "{when}");
    }
    for (from, when, why) in [
        ("mtls", "", "when: must ask for something"),
        ("mtls", "cn = \"api\"", "mtls has no attribute `cn`"),
        ("mtls", "spiffe = \"spiffe://*\"", "is no SPIFFE id"),
        ("mtls", "spiffe = \"acme.test/api\"", "is no SPIFFE id"),
        ("mtls", "dns = \"Build.acme.test\"", "is no host's name in lower case"),
        ("mtls", "dns = \"*.acme.test\"", "a `*` stands at the end"),
        ("mtls", "email = \"jo\"", "is no e-mail address"),
        ("unix", "user = \"root\"", "unix has no attribute `user`"),
        ("unix", "uid = \"root\"", "is no number"),
        ("unix", "uid = \"00\"", "is no number"),
        ("unix", "gid = \"-1\"", "is no number"),
        ("unix", "gid = \"4294967296\"", "is no number"),
    ] {
        let refused = parse(from, when).unwrap_err();
        assert!(refused.starts_with("callers.toml:1: ") && refused.contains(why), "{when}: {refused}");
    }
}

#[test]
fn names_of_providers_are_held_to_the_registry_and_callers_to_the_doors() {
    let callers = Callers::parse("callers.toml", FILE).unwrap();
    assert!(callers.check_providers("callers.toml", &["openai"].into()).is_ok());
    let refused = callers.check_providers("callers.toml", &["opnai"].into()).unwrap_err().to_string();
    assert_eq!(refused, "callers.toml:7: providers: there is no provider `openai`; did you mean opnai?");

    let root = "[[caller]]\nname = \"root\"\nfrom = \"unix\"\nwhen = { uid = \"0\" }\nrole = \"admin\"\norg = \"*\"";
    let root = Callers::parse("callers.toml", root).unwrap();
    assert_eq!(root.shut_out(true, false).collect::<Vec<_>>(), [("root", "unix")]);
    assert_eq!(root.shut_out(false, true).count(), 0);
}
