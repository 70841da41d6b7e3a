//! Policies for what is wanted most often, written out for somebody's own names. Each says what it is for, keeps tenants
//! apart by itself, and passes `strongroom policy check`.

use std::fmt::Write as _;

use crate::vault::check_name;

/// What a template is filled with. Which of it is needed, each template says.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub org: Option<String>,
    /// The caller's id: a token's, `ISSUER:SUBJECT`, `mtls:IDENTITY`, `unix:UID`.
    pub caller: Option<String>,
    pub claims: Vec<(String, String)>,
    pub project: Option<String>,
    pub provider: Option<String>,
    pub phase: Option<String>,
    pub role: Option<String>,
    pub network: Option<String>,
    /// From hour to hour, UTC.
    pub hours: Option<(u8, u8)>,
    /// How many seconds old a second factor may be.
    pub max_age: Option<u32>,
}

pub struct Template {
    pub name: &'static str,
    pub title: &'static str,
    /// What it asks for: the options, in words of the command line.
    pub asks: &'static str,
    write: fn(&Values) -> Result<String, String>,
}

pub const TEMPLATES: &[Template] = &[
    Template {
        name: "default",
        title: "the roles that the program brings along, to begin a directory with",
        asks: "",
        write: |_| Ok(crate::vault::policy::DEFAULT.to_owned()),
    },
    Template {
        name: "tenants",
        title: "callers stay inside their own tenant, projects and providers",
        asks: "",
        write: |_| Ok(TENANTS.to_owned()),
    },
    Template {
        name: "pipeline-decrypts",
        title: "one pipeline decrypts one provider's credentials of an org, in one phase if you say which",
        asks: "--org --provider and --caller or --claim; [--project] [--phase]",
        write: pipeline_decrypts,
    },
    Template {
        name: "caller-mints",
        title: "one caller starts the runs of an org, and mints grants for them; it could use each of them first",
        asks: "--org --caller; [--provider] [--project]",
        write: caller_mints,
    },
    Template {
        name: "service-stores",
        title: "the services of an org set up and look after its credentials; none is ever read back",
        asks: "--org; [--provider] [--project]",
        write: service_stores,
    },
    Template {
        name: "operator-inspects",
        title: "the operators of an org see fingerprints, states and records",
        asks: "--org",
        write: operator_inspects,
    },
    Template {
        name: "office-only",
        title: "nobody of a role decrypts outside the office's hours or network",
        asks: "--role and --hours or --network; [--org]",
        write: office_only,
    },
    Template {
        name: "person-steps-up",
        title: "people of a role decrypt with a fresh second factor only",
        asks: "--role; [--org] [--max-age]",
        write: person_steps_up,
    },
];

/// The policies of a template, filled.
pub fn render(name: &str, values: &Values) -> Result<String, String> {
    let template = TEMPLATES.iter().find(|template| template.name == name);
    let template = template.ok_or_else(|| {
        let known: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        format!("there is no template `{name}`; there are {}", known.join(", "))
    })?;
    for (field, value) in [("org", &values.org), ("project", &values.project), ("provider", &values.provider)] {
        value.as_deref().map_or(Ok(()), |value| check_name(field, value)).map_err(|error| error.to_string())?;
    }
    let claims = values.claims.iter().flat_map(|(name, value)| [("claim", name), ("claim", value)]);
    let texts = [("caller", &values.caller), ("phase", &values.phase)];
    let texts = texts.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
    for (field, text) in texts.chain(claims) {
        if text.is_empty() || text.chars().any(unseen) {
            return Err(format!("{field}: must not be empty, and holds nothing that cannot be seen"));
        }
    }
    (template.write)(values)
}

const TENANTS: &str = r#"// A caller acts inside the tenant, the projects and the providers that its proof is for.
@id("own-tenant-only")
forbid (principal, action, resource)
unless { principal.org == "*" || principal.org == resource.org };

@id("own-projects-only")
forbid (principal, action, resource is Strongroom::Credential)
unless { principal.projects.isEmpty() || principal.projects.contains(resource.project) };

@id("own-providers-only")
forbid (principal, action, resource is Strongroom::Credential)
unless {
  principal.providers.isEmpty() || principal.providers.contains("*") ||
  principal.providers.contains(resource.provider)
};
"#;

fn pipeline_decrypts(values: &Values) -> Result<String, String> {
    let (org, provider) = (need("org", &values.org)?, need("provider", &values.provider)?);
    if values.caller.is_none() && values.claims.is_empty() {
        return Err("say which pipeline: --caller ID, or --claim KEY=VALUE as its proof says it".to_owned());
    }
    let who = values.caller.as_ref().map_or_else(
        || format!("principal in Strongroom::Role::{}", literal("pipeline")),
        |id| format!("principal == Strongroom::Caller::{}", literal(id)),
    );
    let mut conditions = own(org);
    conditions.extend(values.project.iter().map(|project| format!("resource.project == {}", literal(project))));
    conditions.push("resource.state == \"active\"".to_owned());
    conditions.extend(values.claims.iter().map(|(name, value)| claim(name, value)));
    let phase = |phase| format!("context has phase && context.phase == {}", literal(phase));
    conditions.extend(values.phase.as_deref().map(phase));
    Ok(format!(
        "// One pipeline decrypts {provider} of {org}.\n@id({})\npermit (\n  {who},\n  action == Strongroom::Action::\"decrypt\",\n  \
         resource in Strongroom::Provider::{}\n)\n{};\n",
        id("pipeline-decrypts", [org, provider]),
        literal(provider),
        when(&conditions),
    ))
}

fn caller_mints(values: &Values) -> Result<String, String> {
    let (org, caller) = (need("org", &values.org)?, need("caller", &values.caller)?);
    Ok(format!(
        "// One caller starts the runs of {org}, and mints grants for them.\n@id({})\npermit (\n  \
         principal == Strongroom::Caller::{},\n  action in [Strongroom::Action::\"mintGrant\", \
         Strongroom::Action::\"revokeGrant\"],\n  resource\n)\n{};\n",
        id("caller-mints", [org]),
        literal(caller),
        when(&own_credentials(org, values)),
    ))
}

fn service_stores(values: &Values) -> Result<String, String> {
    let org = need("org", &values.org)?;
    let one = own_credentials(org, values);
    let about_one = ["setup", "validate", "get", "delete", "undelete", "updateMetadata", "listVersions", "activate"];
    Ok(format!(
        "// The services of {org} set up and look after its credentials. They read none back.\n{}\n{}",
        permit(&id("service-stores", [org]), "service", &about_one, &one),
        permit(&id("service-lists", [org]), "service", &["list", "watch", "listProviders"], &own(org)),
    ))
}

fn operator_inspects(values: &Values) -> Result<String, String> {
    let org = need("org", &values.org)?;
    let of_org = ["list", "watch", "listTokens", "listAudit", "listProviders", "explainPolicy"];
    Ok(format!(
        "// The operators of {org} see fingerprints, states and records. Never a plaintext.\n{}\n{}",
        permit(&id("operator-inspects", [org]), "operator", &["get", "listVersions"], &own(org)),
        permit(&id("operator-lists", [org]), "operator", &of_org, &own(org)),
    ))
}

fn office_only(values: &Values) -> Result<String, String> {
    let role = known_role(values)?;
    let mut inside = Vec::new();
    if let Some((from, to)) = values.hours {
        if from >= to || to > 24 {
            return Err("hours: must be FROM-TO, such as 8-18, in UTC".to_owned());
        }
        inside.push(format!("context.now.toTime() >= duration(\"{from}h\")"));
        inside.push(format!("context.now.toTime() < duration(\"{to}h\")"));
    }
    if let Some(network) = &values.network {
        inside.push(format!(
            "context has source && context.source.isInRange(ip({}))",
            literal(&checked_network(network)?)
        ));
    }
    if inside.is_empty() {
        return Err("say what the office is: --hours FROM-TO, --network CIDR, or both".to_owned());
    }
    Ok(forbid("office-only", role, values.org.as_deref(), "outside the office's hours or network", &inside))
}

fn person_steps_up(values: &Values) -> Result<String, String> {
    let role = known_role(values)?;
    let max_age = values.max_age.unwrap_or(300);
    let fresh = [format!("context has step_up && context.step_up.age <= {max_age}")];
    Ok(forbid("person-steps-up", role, values.org.as_deref(), "without a fresh second factor", &fresh))
}

fn forbid(name: &str, role: &str, org: Option<&str>, what: &str, unless: &[String]) -> String {
    let whose = org.map_or_else(String::new, |org| format!(" when {{ principal.org == {} }}", literal(org)));
    format!(
        "// Nobody who is {role} decrypts {what}.\n@id({})\nforbid (\n  principal in Strongroom::Role::{},\n  \
         action == Strongroom::Action::\"decrypt\",\n  resource\n){whose}\nunless {{\n  {}\n}};\n",
        id(name, [role].into_iter().chain(org)),
        literal(role),
        unless.join(" &&\n  "),
    )
}

fn permit(id: &str, role: &str, actions: &[&str], conditions: &[String]) -> String {
    let actions: Vec<String> =
        actions.iter().map(|action| format!("Strongroom::Action::{}", literal(action))).collect();
    format!(
        "@id({id})\npermit (\n  principal in Strongroom::Role::{},\n  action in [\n    {}\n  ],\n  resource\n)\n{};\n",
        literal(role),
        actions.join(",\n    "),
        when(conditions),
    )
}

/// Both are of the org: such a permit crosses to no other tenant, with or without a forbid beside it.
fn own(org: &str) -> Vec<String> {
    vec![format!("principal.org == {}", literal(org)), format!("resource.org == {}", literal(org))]
}

/// Of all that is the org's, or of one provider or project.
fn own_credentials(org: &str, values: &Values) -> Vec<String> {
    let mut conditions = own(org);
    conditions.extend(values.provider.iter().map(|provider| format!("resource.provider == {}", literal(provider))));
    conditions.extend(values.project.iter().map(|project| format!("resource.project == {}", literal(project))));
    conditions
}

fn claim(name: &str, value: &str) -> String {
    let (name, value) = (literal(name), literal(value));
    format!("context.claims has {name} && context.claims[{name}] == {value}")
}

fn when(conditions: &[String]) -> String {
    format!("when {{\n  {}\n}}", conditions.join(" &&\n  "))
}

fn id<'a>(name: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    literal(&parts.into_iter().fold(name.to_owned(), |id, part| format!("{id}-{part}")))
}

fn need<'a>(what: &str, value: &'a Option<String>) -> Result<&'a str, String> {
    value.as_deref().ok_or_else(|| format!("--{what} is needed"))
}

fn known_role(values: &Values) -> Result<&str, String> {
    let role = need("role", &values.role)?;
    let known = crate::vault::policy::ROLES;
    known.contains(&role).then_some(role).ok_or_else(|| format!("role: must be one of {}", known.join(", ")))
}

fn checked_network(network: &str) -> Result<String, String> {
    let wrong = || format!("network: `{}` is no network such as 10.0.0.0/8", network.escape_debug());
    let (address, bits) = network.split_once('/').ok_or_else(wrong)?;
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u8 = bits.parse().map_err(|_| wrong())?;
    if bits > if address.is_ipv4() { 32 } else { 128 } { Err(wrong()) } else { Ok(format!("{address}/{bits}")) }
}

/// What moves the cursor, or hides or reorders what is beside it.
fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text as Cedar writes it. Whatever could end it, hide or reorder what follows is spelled out.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::policy::check::check;
    use crate::app::policy::{Asked, Imagined, explain};
    use crate::vault::Policies;
    use crate::vault::policy::Vocabulary;

    fn values() -> Values {
        Values {
            org: Some("acme".into()),
            caller: Some("0199-pipeline".into()),
            claims: vec![("repository_id".into(), "4711".into())],
            provider: Some("openai".into()),
            phase: Some("plan".into()),
            role: Some("admin".into()),
            network: Some("10.0.0.0/8".into()),
            hours: Some((8, 18)),
            ..Values::default()
        }
    }

    fn loaded(text: &str) -> Policies {
        let sources = [("t.cedar".to_owned(), text.to_owned())];
        let found = check(&sources, &Vocabulary::default());
        assert_eq!((found.errors, found.warnings), (vec![], vec![]), "{text}");
        Policies::from_sources(&sources, &Vocabulary::default()).unwrap()
    }

    fn verdict(policies: &Policies, caller: &Imagined, action: &str, on: &str) -> String {
        let at = Some("2026-03-02T12:00:00Z".parse().unwrap());
        verdict_at(policies, caller, action, on, at)
    }

    fn verdict_at(
        policies: &Policies,
        caller: &Imagined,
        action: &str,
        on: &str,
        at: Option<jiff::Timestamp>,
    ) -> String {
        let asked = Asked {
            caller: caller.clone(),
            action: action.into(),
            on: on.into(),
            labels: Default::default(),
            state: None,
            health: None,
            at,
        };
        explain(policies, &asked, jiff::Timestamp::now()).unwrap().verdict
    }

    #[test]
    fn each_loads_and_passes_its_own_check() {
        for template in TEMPLATES {
            loaded(&render(template.name, &values()).unwrap());
        }
    }

    #[test]
    fn a_pipeline_decrypts_what_it_was_given_and_no_more() {
        let policies = loaded(&render("pipeline-decrypts", &values()).unwrap());
        let usual = Imagined {
            id: "0199-pipeline".into(),
            role: "pipeline".into(),
            org: "acme".into(),
            claims: [("repository_id".to_owned(), "4711".to_owned())].into(),
            phase: "plan".into(),
            ..Imagined::default()
        };
        let decrypts = |caller: &Imagined, on| verdict(&policies, caller, "decrypt", on) == "allowed";
        assert!(decrypts(&usual, "acme/openai"));
        assert!(!decrypts(&usual, "acme/aws_keys") && !decrypts(&usual, "globex/openai"));
        assert_eq!(verdict(&policies, &usual, "get", "acme/openai"), "refused");
        for other in [
            Imagined { id: "another".into(), ..usual.clone() },
            Imagined { phase: "apply".into(), ..usual.clone() },
            Imagined { phase: String::new(), ..usual.clone() },
            Imagined { claims: Default::default(), ..usual.clone() },
            Imagined { org: "globex".into(), ..usual.clone() },
        ] {
            assert!(!decrypts(&other, "acme/openai"), "{other:?}");
        }
    }

    #[test]
    fn services_store_and_operators_look() {
        let policies = loaded(&format!(
            "{}{}",
            render("service-stores", &values()).unwrap(),
            render("operator-inspects", &values()).unwrap()
        ));
        let caller = |role: &str| Imagined { role: role.into(), org: "acme".into(), ..Imagined::default() };
        let told = |role, action, on| verdict(&policies, &caller(role), action, on) == "allowed";
        assert!(told("service", "setup", "acme/openai") && told("service", "list", "acme"));
        assert!(!told("service", "decrypt", "acme/openai") && !told("service", "setup", "globex/openai"));
        assert!(told("operator", "get", "acme/openai") && told("operator", "listAudit", "acme"));
        assert!(!told("operator", "decrypt", "acme/openai") && !told("operator", "listAudit", "globex"));
    }

    #[test]
    fn the_office_and_the_second_factor_are_demanded_beside_what_else_permits() {
        let text = render("default", &values()).unwrap() + &render("office-only", &values()).unwrap();
        let policies = loaded(&text);
        let at = |time: &str| Some(time.parse().unwrap());
        let inside = Imagined {
            role: "admin".into(),
            org: "acme".into(),
            source: "10.1.2.3".parse().ok(),
            ..Imagined::default()
        };
        let outside = Imagined { source: "192.0.2.1".parse().ok(), ..inside.clone() };
        let told = |caller: &Imagined, time| verdict_at(&policies, caller, "decrypt", "acme/openai", at(time));
        assert_eq!(told(&inside, "2026-03-02T08:00:00Z"), "allowed");
        assert_eq!(told(&inside, "2026-03-02T07:59:59Z"), "refused");
        assert_eq!(told(&inside, "2026-03-02T18:00:00Z"), "refused");
        assert_eq!(told(&outside, "2026-03-02T12:00:00Z"), "refused");
        assert_eq!(told(&Imagined { source: None, ..inside.clone() }, "2026-03-02T12:00:00Z"), "refused");

        let policies =
            loaded(&(render("default", &values()).unwrap() + &render("person-steps-up", &values()).unwrap()));
        let told = |age| verdict(&policies, &Imagined { step_up_age: age, ..inside.clone() }, "decrypt", "acme/openai");
        assert_eq!(
            (told(None).as_str(), told(Some(301)).as_str(), told(Some(300)).as_str()),
            ("needs-step-up", "needs-step-up", "allowed")
        );
    }

    #[test]
    fn hostile_values_are_refused_or_nothing_but_text() {
        let names = [
            "",
            "a\"b",
            "a\\",
            "*",
            "a b",
            "a/b",
            "a\n",
            "\u{202e}a",
            "é",
            "a\") permit (principal, action, resource);//",
        ];
        for name in names {
            for field in ["org", "project", "provider"] {
                let mut hostile = values();
                let value = Some(name.to_owned());
                match field {
                    "org" => hostile.org = value,
                    "project" => hostile.project = value,
                    _ => hostile.provider = value,
                }
                assert!(render("pipeline-decrypts", &hostile).is_err(), "{field} {name:?}");
            }
        }
        for text in ["\"", "\\", "*", "a\\\"", "\") || true || (\"", "//", "\u{1F511}", "a' b", "\\u{22}"] {
            let hostile = Values {
                caller: Some(text.into()),
                claims: vec![("ref".into(), text.into())],
                phase: Some(text.into()),
                ..values()
            };
            let rendered = render("pipeline-decrypts", &hostile).unwrap();
            assert!(rendered.is_ascii() && rendered.matches("permit (").count() == 1, "{rendered}");
            let sources = [("t.cedar".to_owned(), rendered)];
            let policies = Policies::from_sources(&sources, &Vocabulary::default()).unwrap();
            let exact = Imagined {
                id: text.into(),
                role: "pipeline".into(),
                org: "acme".into(),
                claims: [("ref".to_owned(), text.to_owned())].into(),
                phase: text.into(),
                ..Imagined::default()
            };
            let told = |caller: &Imagined| verdict(&policies, caller, "decrypt", "acme/openai") == "allowed";
            assert!(told(&exact), "{text:?}");
            for other in ["x", "", "anything"] {
                assert!(!told(&Imagined { id: other.into(), ..exact.clone() }), "{text:?} {other:?}");
                assert!(!told(&Imagined { phase: other.into(), ..exact.clone() }), "{text:?} {other:?}");
            }
        }
        for text in ["", "a\nb", "\0", "\u{7f}", "\u{85}", "a\u{202e}", "\u{200b}"] {
            assert!(render("pipeline-decrypts", &Values { phase: Some(text.into()), ..values() }).is_err(), "{text:?}");
        }
        for network in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/8\")", "::/129"] {
            assert!(render("office-only", &Values { network: Some(network.into()), ..values() }).is_err(), "{network}");
        }
        assert!(render("office-only", &Values { hours: Some((18, 8)), ..values() }).is_err());
        assert!(render("person-steps-up", &Values { role: Some("admn".into()), ..values() }).is_err());
        assert!(render("nothing", &values()).is_err());
    }
}
