//! Every provider is asked for real, and answers with whatever it was sent: then every place is searched for what was
//! sent, and for what was made of it on the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use strongroom::crypto::Secret;
use strongroom::pb::v1::{GetCredentialRequest, ListAuditRequest, SetupCredentialRequest, ValidateCredentialRequest};
use strongroom::providers::{Registry, Upload};

use super::canary::{Canary, Net, random};
use super::wire;
use crate::daemon::{Daemon, runtime};
use crate::fake::{Answer, Asked, World};
use crate::live::sample;

const HOSTS: &[&str] = &[
    "*.googleapis.com",
    "*.amazonaws.com",
    "login.microsoftonline.com",
    "management.azure.com",
    "*.openai.azure.com",
    "*.oraclecloud.com",
    "api.openai.com",
    "api.anthropic.com",
    "api.cloudflare.com",
    "huggingface.co",
    "hub.docker.com",
    "api.github.com",
    "*.cloud.databricks.com",
    "*.snowflakecomputing.com",
    "slack.com",
    "api.stripe.com",
    "*.datadoghq.com",
    OWNERS,
];
const OWNERS: &str = "api.owner.example";
const PASSWORD: &str = "Zq8~Rk2 Vn5+Wm1/Tx7%Ly4&Bc9";

/// What the world says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// That all is well.
    Well,
    /// That all is well, with what was sent wherever it has something to tell; in several notations.
    Echo(usize),
    /// A refusal, with what was sent in each line of it.
    Refuse(u16),
    Redirect,
    Garbage,
    GarbledHead,
    Cut,
}

const NOTATIONS: usize = 7;

fn moods() -> Vec<Mood> {
    let refusals = [400, 401, 403, 404, 418, 429, 500, 503].map(Mood::Refuse);
    let broken = [Mood::Redirect, Mood::Garbage, Mood::GarbledHead, Mood::Cut];
    [Mood::Well].into_iter().chain((0..NOTATIONS).map(Mood::Echo)).chain(refusals).chain(broken).collect()
}

/// All that came, as one line, in a notation.
fn echo(asked: &Asked, notation: usize) -> String {
    let headers =
        asked.headers.iter().filter(|(name, _)| !["host", "user-agent", "content-length"].contains(&name.as_str()));
    let headers: Vec<&str> = headers.map(|(_, value)| value.as_str()).collect();
    let raw = format!("{} {}", headers.join(" "), asked.text());
    let secret = headers.iter().map(|value| value.trim_start_matches("Bearer ")).find(|value| value.len() > 30);
    let secret = secret.unwrap_or_else(|| asked.text().rsplit('=').next().unwrap_or_default());
    match notation {
        0 => raw,
        1 => secret.to_owned(),
        2 => BASE64.encode(raw.as_bytes()),
        3 => form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        4 => HEXLOWER.encode(secret.as_bytes()),
        // Where it is cut, only a part of the secret is left.
        5 => format!("{}{secret}", "x".repeat(256 - 14)),
        _ => secret.chars().flat_map(|c| [c, '\u{200b}']).collect(),
    }
}

/// What every provider's test looks at, all in one, with this for a name.
fn well(asked: &Asked, name: &str, token: &str) -> Answer {
    let key = sample::GOOGLE_KEY_ID;
    if asked.host.starts_with("sts.") {
        let name: String = name.chars().filter(|c| !"<>&".contains(*c)).collect();
        return Answer::xml(
            200,
            &format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{name}</Arn><UserId>{name}</UserId><Account>\
                 609629065308</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
        );
    }
    // Google's resource manager grants what it is asked for.
    let wanted: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let body = json!({
        key: sample::certificate((2040, 1, 1)), "access_token": token, "token_type": "Bearer", "expires_in": 3600,
        "ok": true, "success": true, "valid": true, "status": "active", "object": "list", "models": [], "permissions": wanted["permissions"],
        "data": [[name, name, name]], "name": name, "login": name, "team_id": name, "team": name, "user": name,
        "user_id": name, "bot_id": name, "url": name, "type": name, "id": name, "displayName": name, "userName": name,
        "tenantId": name, "fullname": name, "email": name, "orgs": [{"name": name}], "livemode": false,
        "auth": { "type": "access_token", "accessToken": { "displayName": name, "role": "read" } },
        "result": { "id": name, "status": "active", "expires_on": name }, "errors": [], "messages": [],
    });
    let headers =
        ["openai-organization", "openai-project", "anthropic-organization-id", "x-oauth-scopes", "www-authenticate"];
    with(Answer::json(200, &body), &headers, name)
}

fn refusal(asked: &Asked, status: u16) -> Answer {
    let all: Vec<String> = (0..NOTATIONS).map(|notation| echo(asked, notation)).collect();
    let said = all.join(" ");
    if asked.host.starts_with("sts.") {
        let said: String = said.chars().filter(|c| !"<>&".contains(*c)).collect();
        return Answer::xml(
            status,
            &format!("<ErrorResponse><Error><Code>{said}</Code><Message>{said}</Message></Error></ErrorResponse>"),
        );
    }
    let body = json!({
        "ok": false, "success": false, "error": { "code": said, "message": said, "type": said, "details": [{"reason": said}] },
        "error_description": said, "error_codes": [said], "message": said, "code": said, "errors": [{"code": 1, "message": said}],
    });
    let headers =
        ["www-authenticate", "x-oauth-scopes", "retry-after", "date", "set-cookie", "x-amzn-errortype", "location"];
    with(Answer::json(status, &body), &headers, &all[0])
}

fn with(answer: Answer, headers: &[&str], value: &str) -> Answer {
    let value: String = value.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
    headers.iter().fold(answer, |answer, name| answer.header(name, &value))
}

fn answer(asked: &Asked, mood: Mood, token: &str) -> Answer {
    let said = echo(asked, 0).replace(['\r', '\n'], " ");
    match mood {
        Mood::Well => well(asked, "octo-bot", token),
        // The steps before go well: the last one has most to echo.
        Mood::Echo(notation) => well(asked, &echo(asked, notation), token),
        Mood::Refuse(status) => refusal(asked, status),
        Mood::Redirect => {
            with(Answer::text(307, &said), &["location", "refresh"], &format!("https://evil.example/?{said}"))
        }
        Mood::Garbage => Answer::Raw(said.into_bytes()),
        Mood::GarbledHead => {
            Answer::Raw(format!("HTTP/1.1 200 {said}\r\n{said}\r\n: {said}\r\n\r\n{said}").into_bytes())
        }
        Mood::Cut => Answer::Cut,
    }
}

fn upload(provider: &str) -> (Upload, Value) {
    match provider {
        "saas_generic" => {
            let test = json!({
                "post": format!("https://{OWNERS}/me"),
                "headers": { "x-key": "{password}" },
                "json": { "password": "{password}" },
                "identity": { "who": "/name", "scopes": "header x-oauth-scopes" },
            });
            (sample::one("password", PASSWORD), json!({ "test": test }))
        }
        "aws_iam_role" => {
            let role = "arn:aws:iam::609629065308:role/strongroom";
            (sample::many(&[("role_arn", role), ("external_id", "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3")]), json!({}))
        }
        provider => (sample::upload(provider), json!({})),
    }
}

/// The texts whose traces say that a secret is there; what many secrets begin with is left out.
fn secrets(provider: &str) -> Vec<String> {
    match provider {
        "saas_generic" => vec![PASSWORD.into()],
        "aws_iam_role" => vec!["Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3".into()],
        // The modulus is the public half.
        "gcp_service_account" | "gcp_vertex" | "oci_api_key" => {
            sample::rsa_pem().lines().skip(8).take(16).map(Into::into).collect()
        }
        "slack" | "snowflake" => {
            sample::secrets(provider)[0].rsplit(['-', '.']).next().map(Into::into).into_iter().collect()
        }
        provider => sample::secrets(provider),
    }
}

/// What was made of the secrets on the way: assertions and tokens by their signatures, signatures of requests.
fn derived(asked: &[Asked]) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for one in asked {
        let fields = one.form().into_iter().filter(|(name, _)| name.ends_with("assertion")).map(|(_, value)| value);
        let authorization = one.header("authorization");
        // Who signs, and what, is no secret.
        let signature = authorization.split_once("Signature=").or_else(|| authorization.split_once("signature=\""));
        let authorization = signature.map_or(authorization, |(_, rest)| rest.split('"').next().unwrap());
        for text in fields.chain([authorization.to_owned()]) {
            texts.extend(text.split([' ', '.', '=']).filter(|part| part.len() >= 60).map(str::to_owned));
        }
    }
    texts
}

fn canary(text: &str) -> Canary {
    Canary { text: text.to_owned(), parts: vec![text.as_bytes().to_vec()], known: true }
}

#[test]
fn what_a_provider_was_asked_with_is_nowhere_whatever_it_answers() {
    let home = tempfile::tempdir().unwrap();
    let mood = Arc::new(Mutex::new(Mood::Well));
    let token = format!("ya29.{}", random(60));
    let (now, given) = (Arc::clone(&mood), token.clone());
    let world = World::start(move |asked| answer(asked, *now.lock().unwrap(), &given));
    let config = format!("{}owner_hosts = [\"{OWNERS}\"]\n[log]\nlevel = \"trace\"\n", world.config(HOSTS));
    let daemon = Daemon::start_with(home.path(), &config);
    let registry = Registry::embedded().unwrap();
    let providers: Vec<&str> = registry.all().map(|provider| provider.id.as_str()).collect();
    let mut replies: Vec<(String, Vec<u8>)> = Vec::new();
    let mut outcomes = BTreeSet::new();
    runtime().block_on(async {
        for (number, now) in moods().into_iter().enumerate() {
            *mood.lock().unwrap() = now;
            // All at once: each commit waits for the disk. Some providers are patient with few tests a minute, so that
            // each way has an org of its own.
            let all = providers.iter().enumerate().map(|(at, provider)| {
                let daemon = &daemon;
                let ways = (0..4).filter(move |way| now == Mood::Well || *way == (number + at) % 4);
                async move {
                    let mut told = Vec::new();
                    for way in ways {
                        told.push((*provider, way, tell(daemon, way, &format!("m{number}w{way}"), provider).await));
                    }
                    told
                }
            });
            for (provider, way, reply) in futures_util::future::join_all(all).await.into_iter().flatten() {
                outcomes.extend(outcome(&reply).map(|outcome| format!("{now:?} {provider} {outcome}")));
                replies.push((format!("{provider}, {now:?}, way {way}"), reply));
            }
            for way in [0, 2] {
                replies.extend(shown(&daemon, &format!("m{number}w{way}"), &providers).await);
            }
        }
        replies.push(("metrics".into(), daemon.scrape("/metrics").1.into_bytes()));
        replies.extend(audit(&daemon).await);
    });
    let org = "m0w0";
    for args in [
        &["list", org, "--output", "json"][..],
        &["show", org, "github"],
        &["versions", org, "slack"],
        &["audit", "list"],
    ] {
        let said = daemon.cli(&daemon.token, args, None);
        replies.push((format!("{args:?}"), [said.stdout, said.stderr].concat()));
    }
    assert!(daemon.stop().success());

    let asked = world.asked();
    let mut net = Net::default();
    let tested = providers.iter().filter(|provider| **provider != "aws_iam_role");
    for provider in tested {
        // Each was asked, and what it said is what is looked for.
        let well = outcomes.contains(&format!("Well {provider} ok"));
        assert!(well, "{provider} was not well when all was well: {outcomes:#?}");
        let mut own = Net::default();
        secrets(provider).iter().for_each(|secret| own.add(&canary(secret)));
        secrets(provider).iter().for_each(|secret| net.add(&canary(secret)));
        // These sign and keep the secret to themselves.
        let is_sent =
            !["gcp_service_account", "gcp_vertex", "oci_api_key", "aws_keys", "aws_bedrock"].contains(provider);
        let sent =
            asked.iter().any(|one| (0..NOTATIONS).any(|notation| own.find(echo(one, notation).as_bytes()).is_some()));
        assert!(sent || !is_sent, "{provider}: the search finds nothing in what was sent");
    }
    let derived = derived(&asked);
    // An HMAC in hex as AWS has it, and RSA signatures in base64.
    let has = |length: usize| derived.iter().any(|text| text.len() == length);
    assert!(has(64) && has(342), "{derived:?}");
    derived.iter().chain([&token]).for_each(|text| net.add(&canary(text)));
    for (what, reply) in &replies {
        net.assert_not_in(what, reply);
    }
    let mut files = 0;
    search(home.path(), &net, &mut files);
    assert!(files > 3, "{files}");
    let log = std::fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.contains("asked in vain"), "not verbose");
    assert!(
        replies.iter().any(|(_, reply)| String::from_utf8_lossy(reply).contains("octo-bot")),
        "nobody is known by name"
    );
    let garbled = outcomes.iter().filter(|outcome| !outcome.starts_with("Well"));
    let kinds: BTreeSet<&str> = garbled.filter_map(|outcome| outcome.rsplit(' ').next()).collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
}

/// Sets up or tests, over gRPC or REST. All that came back.
async fn tell(daemon: &Daemon, way: usize, org: &str, provider: &str) -> Vec<u8> {
    let (upload, metadata) = upload(provider);
    let (org, provider) = (org.to_owned(), provider.to_owned());
    let (fields, document) = match upload {
        Upload::Fields(fields) => (fields, None),
        Upload::Document(document) => (Default::default(), Some(document)),
        Upload::Together(document, fields) => (fields, Some(document)),
    };
    let structure = |metadata: Value| serde_json::from_value(metadata).ok();
    if way < 2 {
        let mut client = daemon.credentials(&daemon.token).await;
        let reply = if way == 0 {
            let request = SetupCredentialRequest {
                org,
                provider,
                fields: fields.into_iter().collect(),
                document,
                metadata: structure(metadata),
                ..Default::default()
            };
            client.setup_credential(request).await.map(|reply| format!("{reply:?}"))
        } else {
            let request = ValidateCredentialRequest {
                org,
                provider,
                fields: fields.into_iter().collect(),
                document,
                metadata: structure(metadata),
                ..Default::default()
            };
            client.validate_credential(request).await.map(|reply| format!("{reply:?}"))
        };
        return reply.unwrap_or_else(|refused| format!("{refused:?} {:?}", refused.metadata())).into_bytes();
    }
    let text = |secret: &Secret| secret.expose_text().unwrap().to_owned();
    let mut body = json!({ "metadata": metadata });
    match document {
        Some(document) => body["document"] = serde_json::from_str(&text(&document)).unwrap(),
        None => {
            body["fields"] = fields
                .iter()
                .map(|(name, value)| (name.clone(), text(value).into()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
    }
    let verb = if way == 2 { "setup" } else { "validate" };
    let head = format!(
        "POST /integrations/{org}/{provider}/{verb} HTTP/1.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        daemon.token
    );
    let address = daemon.rest.clone();
    let work = move || wire::http(&address, &head, body.to_string().as_bytes()).bytes;
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The outcome that a reply of either kind names.
fn outcome(reply: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(reply);
    let (_, after) = text.split_once("\"outcome\":").or_else(|| text.split_once("outcome: "))?;
    Some(after.trim_start().trim_start_matches('"').split('"').next()?.to_owned())
}

/// What is shown of each, with its history.
async fn shown(daemon: &Daemon, org: &str, providers: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut client = daemon.credentials(&daemon.token).await;
    let mut all = Vec::new();
    for provider in providers {
        let request = GetCredentialRequest { org: org.into(), provider: (*provider).into(), ..Default::default() };
        if let Ok(reply) = client.get_credential(request).await {
            all.push((format!("what is shown of {provider} in {org}"), format!("{reply:?}").into_bytes()));
        }
    }
    all
}

async fn audit(daemon: &Daemon) -> Vec<(String, Vec<u8>)> {
    let mut admin = daemon.admin(&daemon.token).await;
    let mut query = ListAuditRequest { page_size: 1000, ..Default::default() };
    let mut pages = Vec::new();
    loop {
        let page = admin.list_audit(query.clone()).await.unwrap().into_inner();
        let is_last = page.records.len() < 1000;
        pages.push(("the audit log".to_owned(), format!("{page:?}").into_bytes()));
        if is_last {
            return pages;
        }
        query.page_token = page.next_page_token;
    }
}

fn search(directory: &Path, net: &Net, files: &mut usize) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, net, files);
        } else {
            *files += 1;
            net.assert_not_in(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}
