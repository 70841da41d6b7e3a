//! Who strongroom is: each source of each chain, and what is said when there is none.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use strongroom::cloud::platform::{Error, Variables, aws, azure};

use super::variables;
use crate::fake::kms::{aws as fake_aws, azure as fake_azure, client};
use crate::fake::platform::{Fixed, none};
use crate::fake::{Answer, Asked, World};

const LATER: &str = "2100-01-01T00:00:00Z";

fn nobody() -> World {
    World::start(|_| Answer::status(404))
}

async fn session(world: &World, fixed: &Fixed, variables: Arc<Variables>) -> Result<String, Error> {
    let chain = aws::Chain::new(variables, client(world), fixed.platform());
    let lease = chain.session(fake_aws::REGION).await?;
    let token = lease.value.session_token.as_ref().and_then(|token| token.expose_text()).unwrap_or_default();
    Ok(format!("{} {token}", lease.value.access_key_id))
}

async fn token(world: &World, fixed: &Fixed, variables: Arc<Variables>) -> Result<String, Error> {
    let chain = azure::Chain::new(variables, client(world), fixed.platform());
    Ok(chain.token("https://vault.azure.net").await?.value.expose_text().unwrap().to_owned())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) {
    assert!(matches!(&result, Err(Error::Refused(why)) if why.contains(part)), "{part}: {result:?}");
}

fn later<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) {
    assert!(matches!(&result, Err(Error::Unavailable(why)) if why.contains(part)), "{part}: {result:?}");
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    std::fs::write(directory.join(name), text).unwrap();
    directory.join(name).to_str().unwrap().to_owned()
}

/// A machine of EC2 whose role is `strongroom`, by IMDSv2.
fn machine(asked: &Asked) -> Answer {
    let known = asked.header("x-aws-ec2-metadata-token") == "TOKEN==";
    match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/latest/api/token") if asked.header("x-aws-ec2-metadata-token-ttl-seconds") == "300" => {
            Answer::text(200, "TOKEN==")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") if known => Answer::text(200, "strongroom"),
        ("GET", "/latest/meta-data/iam/security-credentials/strongroom") if known => {
            Answer::json(200, &fake_aws::session(LATER))
        }
        _ => Answer::status(401),
    }
}

const FOUND: &str = "ASIAY34FZKBOKMUTVV7A FwoGZXIvYXdzEXAMPLE";

#[tokio::test]
async fn aws_by_the_machine_with_a_token_of_imds_2() {
    let (world, fixed) = (nobody(), Fixed::start(machine));
    assert_eq!(session(&world, &fixed, variables([])).await.unwrap(), FOUND);
    assert_eq!(fixed.dialled(), ["169.254.169.254:80"; 3]);
    assert!(fixed.asked().iter().all(|asked| asked.body.is_empty() && asked.host == "169.254.169.254:80"));
    refused(session(&world, &fixed, variables([("AWS_EC2_METADATA_DISABLED", "true")])).await, "METADATA_DISABLED");

    let roleless =
        Fixed::start(|asked| if asked.method == "PUT" { Answer::text(200, "T") } else { Answer::status(404) });
    refused(session(&world, &roleless, variables([])).await, "no role (instance profile)");
    let version_1 = Fixed::start(|asked| if asked.method == "PUT" { Answer::status(405) } else { machine(asked) });
    refused(session(&world, &version_1, variables([])).await, "answers 405");
    let redirecting = Fixed::start(|_| Answer::status(307).header("location", "http://evil.example/"));
    refused(session(&world, &redirecting, variables([])).await, "answers 307");
    let denied = json!({"Code": "AssumeRoleUnauthorizedAccess", "Message": "no"});
    let denied =
        Fixed::start(
            move |asked| if asked.path.ends_with("/strongroom") { Answer::json(200, &denied) } else { machine(asked) },
        );
    refused(session(&world, &denied, variables([])).await, "AssumeRoleUnauthorizedAccess");
    let busy = Fixed::start(|_| Answer::status(503));
    later(session(&world, &busy, variables([])).await, "answers 503");
}

#[tokio::test]
async fn aws_nowhere_is_told_at_once() {
    let world = nobody();
    let chain = aws::Chain::new(variables([]), client(&world), none());
    let error = chain.session(fake_aws::REGION).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "no AWS credentials: not in the environment, no web identity, no shared file, no container's; the machine's \
         metadata service: 169.254.169.254:80 cannot be reached"
    );
}

#[tokio::test]
async fn aws_by_a_container() {
    let world = nobody();
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "token", "pod-token\n");
    let fixed = Fixed::start(|asked| match (asked.path.as_str(), asked.header("authorization")) {
        ("/v2/credentials/x", "") | ("/v1/credentials", "pod-token") => Answer::json(200, &fake_aws::session(LATER)),
        _ => Answer::status(403),
    });
    let ecs = variables([("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")]);
    assert_eq!(session(&world, &fixed, ecs).await.unwrap(), FOUND);
    let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let pod = |url: &str| variables([(full, url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)]);
    assert_eq!(session(&world, &fixed, pod("http://169.254.170.23/v1/credentials")).await.unwrap(), FOUND);
    assert_eq!(session(&world, &fixed, pod("http://[fd00:ec2::23]/v1/credentials")).await.unwrap(), FOUND);
    assert_eq!(fixed.dialled(), ["169.254.170.2:80", "169.254.170.23:80", "[fd00:ec2::23]:80"]);
    refused(session(&world, &fixed, variables([(full, "http://169.254.170.23/v1/credentials")])).await, "answers 403");
    for url in ["http://10.0.0.1/v1/credentials", "https://evil.example/", "http://169.254.169.254/latest", "x"] {
        refused(session(&world, &fixed, pod(url)).await, full);
    }
    assert_eq!(fixed.dialled().len(), 4, "and nobody was called");
}

#[tokio::test]
async fn aws_by_a_web_identity() {
    let amazon = fake_aws::Amazon::start();
    let world = &amazon.world;
    let fixed = Fixed::start(|_| panic!("not asked"));
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "token", fake_aws::WEB_TOKEN);
    let web = |role: &str| variables([("AWS_WEB_IDENTITY_TOKEN_FILE", &file), ("AWS_ROLE_ARN", role)]);
    assert_eq!(session(world, &fixed, web(fake_aws::ROLE)).await.unwrap(), FOUND);
    refused(session(world, &fixed, web("arn:aws:iam::123456789012:role/other")).await, "its trust policy");
    for (text, part) in
        [("ended", "not written anew"), ("eyJ.x.y", "no such issuer"), ("two words", "does not hold a token")]
    {
        write(directory.path(), "token", text);
        refused(session(world, &fixed, web(fake_aws::ROLE)).await, part);
    }
    write(directory.path(), "token", "unverified");
    later(session(world, &fixed, web(fake_aws::ROLE)).await, "cannot fetch the keys");
    std::fs::remove_file(&file).unwrap();
    refused(session(world, &fixed, web(fake_aws::ROLE)).await, "cannot be read");
    refused(session(world, &fixed, variables([("AWS_WEB_IDENTITY_TOKEN_FILE", &file)])).await, "AWS_ROLE_ARN is not");
}

/// What is set up counts, though something behind it would do.
#[tokio::test]
async fn aws_ends_where_a_source_is_set_up_and_faulty() {
    let (world, fixed) = (nobody(), Fixed::start(machine));
    refused(session(&world, &fixed, variables([("AWS_ACCESS_KEY_ID", "AKIA")])).await, "AWS_SECRET_ACCESS_KEY is not");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let path = home.path().to_str().unwrap();
    write(home.path(), ".aws/config", "[default]\nregion = eu-west-1\n[profile sso]\nsso_session = corp\n");
    let profile = |name: &str| variables([("HOME", path), ("AWS_PROFILE", name)]);
    refused(session(&world, &fixed, profile("sso")).await, "sso_session");
    refused(session(&world, &fixed, profile("none")).await, "AWS_PROFILE");
    assert!(fixed.asked().is_empty());
    assert_eq!(
        session(&world, &fixed, variables([("HOME", path)])).await.unwrap(),
        FOUND,
        "a file without keys is none"
    );
    write(home.path(), ".aws/credentials", "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s\n");
    assert_eq!(session(&world, &fixed, variables([("HOME", path)])).await.unwrap(), "AKIDEXAMPLE ");
}

#[tokio::test]
async fn azure_by_an_applications_secret_token_and_certificate() {
    let vault = fake_azure::Vault::start();
    let world = &vault.world;
    let fixed = Fixed::start(|_| panic!("not asked"));
    let directory = tempfile::tempdir().unwrap();
    let federated = write(directory.path(), "token", fake_azure::FEDERATED);
    let certificate = {
        let key = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der = aws_lc_rs::encoding::AsDer::as_der(&key).unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n");
        let pair = rcgen::KeyPair::generate().unwrap();
        let own = rcgen::CertificateParams::new(vec!["strongroom".into()]).unwrap().self_signed(&pair).unwrap();
        write(directory.path(), "client.pem", &(pem + &own.pem()))
    };
    let by = |name: &str, value: &str| {
        variables([("AZURE_TENANT_ID", fake_azure::TENANT), ("AZURE_CLIENT_ID", fake_azure::CLIENT), (name, value)])
    };
    for (name, value) in [
        ("AZURE_CLIENT_SECRET", fake_azure::SECRET),
        ("AZURE_FEDERATED_TOKEN_FILE", &federated),
        ("AZURE_CLIENT_CERTIFICATE_PATH", &certificate),
    ] {
        assert_eq!(token(world, &fixed, by(name, value)).await.unwrap(), fake_azure::TOKEN, "{name}");
    }
    let error = token(world, &fixed, by("AZURE_CLIENT_SECRET", "wrong")).await;
    refused(error.clone(), "AADSTS7000215");
    assert!(!format!("{error:?}").contains(fake_azure::SECRET), "nothing of Entra's words is repeated");
    write(directory.path(), "token", "eyJ.other.x");
    refused(token(world, &fixed, by("AZURE_FEDERATED_TOKEN_FILE", &federated)).await, "no federated credential");
    refused(
        token(world, &fixed, by("AZURE_CLIENT_CERTIFICATE_PATH", &federated)).await,
        "AZURE_CLIENT_CERTIFICATE_PATH",
    );
    refused(token(world, &fixed, variables([("AZURE_CLIENT_SECRET", "x")])).await, "AZURE_TENANT_ID is not");
    let other = [("AZURE_TENANT_ID", "../x"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "x")];
    refused(token(world, &fixed, variables(other)).await, "AZURE_TENANT_ID is neither");
    let other = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "x"),
        ("AZURE_AUTHORITY_HOST", "http://x"),
    ];
    refused(token(world, &fixed, variables(other)).await, "AZURE_AUTHORITY_HOST");
}

#[tokio::test]
async fn azure_by_a_managed_identity() {
    let world = nobody();
    let given = json!({"access_token": "T", "expires_in": "86399", "expires_on": "4102444800", "token_type": "Bearer"});
    let fixed = Fixed::start(move |asked| {
        let (path, query) = asked.path.split_once('?').unwrap();
        let query: std::collections::BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(query["resource"], "https://vault.azure.net");
        let version = query["api-version"].as_str();
        match (path, version, asked.header("metadata"), asked.header("x-identity-header")) {
            ("/metadata/identity/oauth2/token", "2018-02-01", "true", "") if !query.contains_key("client_id") => {
                Answer::json(200, &given)
            }
            ("/msi/token", "2019-08-01", "", "known") => Answer::json(200, &given),
            _ => Answer::json(400, &json!({"error": "invalid_request", "error_description": "Identity not found"})),
        }
    });
    assert_eq!(token(&world, &fixed, variables([])).await.unwrap(), "T");
    refused(token(&world, &fixed, variables([("AZURE_CLIENT_ID", "other")])).await, "AZURE_CLIENT_ID");
    let container = |url: &str| variables([("IDENTITY_ENDPOINT", url), ("IDENTITY_HEADER", "known")]);
    assert_eq!(token(&world, &fixed, container("http://localhost:42356/msi/token")).await.unwrap(), "T");
    refused(token(&world, &fixed, container("http://evil.example/msi/token")).await, "IDENTITY_ENDPOINT");
    assert_eq!(fixed.dialled(), ["169.254.169.254:80", "169.254.169.254:80", "127.0.0.1:42356"]);
    for (answer, part) in
        [(Answer::status(404), "404"), (Answer::status(503), "503"), (Answer::text(200, "<html>"), "not a token")]
    {
        let busy = Fixed::start(move |_| answer.clone());
        later(token(&world, &busy, variables([])).await, part);
    }
}
