//! The registry: what can be set up, and what each entry asks for.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::error::{Exit, Failure};
use super::output::escape;
use super::view::{self, Columns};
use crate::pb::v1::{ListProvidersRequest, Provider, ProviderField, ProviderLimits};

const HEADER: &[&str] = &["PROVIDER", "TITLE", "CATEGORY", "CLASS", "TEST", "ROTATION"];

/// List what can be set up.
///
/// TEST says whether the provider is asked before a credential is served, ROTATION how old a secret may become before
/// its owner is told to replace it.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom providers show aws_keys")]
pub(super) struct Providers {
    #[command(subcommand)]
    command: Option<ProvidersCommand>,
}

#[derive(Subcommand)]
enum ProvidersCommand {
    /// Show one provider: its fields and their rules, its connection test, environment variables, metadata.
    #[command(after_help = "Example:\n  strongroom providers show aws_keys")]
    Show {
        /// The provider's id.
        provider: String,
    },
}

impl Providers {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if let Some(ProvidersCommand::Show { provider }) = self.command {
            let found = one(context, &provider).await?;
            return context.out.show(&found, page);
        }
        let reply = context.server.admin().await?.list_providers(ListProvidersRequest::default()).await?.into_inner();
        context.out.show(&reply.providers, |providers| Columns::new(HEADER).page(providers.iter().map(row)))
    }
}

/// An entry of the server's registry. One that is not there is answered with those that may have been meant.
pub(super) async fn one(context: &Context, id: &str) -> Result<Provider, Failure> {
    let request = ListProvidersRequest { provider: id.to_owned() };
    let reply = context.server.admin().await?.list_providers(request).await.map_err(|status| {
        let failure = Failure::from(status);
        match failure.exit() {
            Exit::Invalid => absent(failure.message()),
            _ => failure,
        }
    })?;
    let found = reply.into_inner().providers.into_iter().find(|entry| entry.id == id);
    found.ok_or_else(|| absent(&format!("the registry has no provider {id}")))
}

fn absent(message: &str) -> Failure {
    Failure::new(Exit::NotFound, message).hint("`strongroom providers` lists those that the registry has")
}

fn row(it: &Provider) -> Vec<String> {
    vec![
        it.id.clone(),
        it.title.clone(),
        it.category.clone(),
        it.class.clone(),
        if it.test.is_empty() { "no" } else { "yes" }.into(),
        if it.rotation_days == 0 { String::new() } else { format!("{} days", it.rotation_days) },
    ]
}

fn page(it: &Provider) -> String {
    let mut page = view::sheet([
        ("provider", it.id.clone()),
        ("title", it.title.clone()),
        ("category", it.category.clone()),
        ("class", class(&it.class)),
        ("made at", it.docs.clone()),
        ("document", document(it)),
        ("shown", it.public_identity.join(", ")),
        ("fingerprint", it.fingerprint.clone()),
        ("seal", it.seal.clone()),
        ("rotation", if it.rotation_days == 0 { String::new() } else { format!("after {} days", it.rotation_days) }),
        ("limits", it.limits.as_ref().map(limits).unwrap_or_default()),
    ]);
    section(&mut page, "fields", fields(it), choices(it));
    let test = match it.test.as_slice() {
        [] => vec!["none: what is set up waits until `strongroom activate` serves it".to_owned()],
        test => test.to_vec(),
    };
    section(&mut page, "connection test", [], test);
    section(&mut page, "environment", it.environment.clone(), []);
    section(&mut page, "metadata", metadata(it), []);
    page
}

/// Lines with a name, then lines without.
fn section(
    page: &mut String,
    title: &str,
    named: impl IntoIterator<Item = (String, String)>,
    plain: impl IntoIterator<Item = String>,
) {
    let named: Vec<_> = named.into_iter().map(|(name, text)| (format!("  {name}"), text)).collect();
    let mut lines = if named.is_empty() { String::new() } else { view::aligned(named) };
    lines.extend(plain.into_iter().map(|line| format!("  {}\n", escape(&line))));
    if !lines.is_empty() {
        *page += &format!("\n{title}\n{lines}");
    }
}

fn class(class: &str) -> String {
    let meaning = match class {
        "long-lived" => "a secret that is stored",
        "federated" => "a trust; no secret is stored",
        "manual" => "whatever its owner enters",
        _ => return class.to_owned(),
    };
    format!("{class}: {meaning}")
}

/// What `--document` takes.
fn document(it: &Provider) -> String {
    let mut kinds: Vec<&str> = it.document_shapes.iter().map(String::as_str).collect();
    if it.fields.len() == 1 && !it.other_fields {
        kinds.insert(0, "the bare value");
    }
    let kinds = or(&kinds);
    match it.document_field.as_str() {
        "" => kinds,
        field => format!("{kinds}; also whole, as --field {field}=@FILE"),
    }
}

fn limits(limits: &ProviderLimits) -> String {
    let ProviderLimits { per_minute, burst, at_once } = limits;
    format!("asked {per_minute} times a minute for an org, {burst} at once; {at_once} under way for all orgs")
}

/// A line of rules for each field, and below it what may help.
fn fields(it: &Provider) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for field in &it.fields {
        lines.push((field.name.clone(), rule(field)));
        let mut beside = |words: String| lines.push((String::new(), words));
        if let Some(example) = example(field) {
            beside(format!("such as {example}"));
        }
        if !field.aliases.is_empty() {
            beside(format!("also read as {}", field.aliases.join(", ")));
        }
    }
    lines
}

/// What goes for several fields.
fn choices(it: &Provider) -> Vec<String> {
    let groups = it.either.iter().map(|group| match group.fields.as_slice() {
        [first, others @ ..] if !others.is_empty() => format!("{first} with {}", listed(others, "and")),
        alone => alone.concat(),
    });
    let groups: Vec<_> = groups.collect();
    let either = (!groups.is_empty()).then(|| format!("either {}", or(&groups)));
    let others = it.other_fields.then(|| "any names; every value is secret".to_owned());
    either.into_iter().chain(others).collect()
}

/// `secret, optional: 40 hexadecimal digits`.
fn rule(field: &ProviderField) -> String {
    let mut kind = Vec::new();
    if field.secret {
        kind.push("secret");
    }
    if !field.required {
        kind.push("optional");
    }
    let is = must_be(field);
    match kind.is_empty() {
        true => is,
        false => format!("{}: {is}", kind.join(", ")),
    }
}

/// Completes the sentence "must be …".
pub(super) fn must_be(field: &ProviderField) -> String {
    match (field.must_be.as_str(), field.shape.as_str()) {
        ("", "pem") => "a PEM block".into(),
        ("", "text") => "any text".into(),
        ("", _) => "one word without spaces".into(),
        (words, _) => words.into(),
    }
}

/// Where the rule gives none itself. A block of lines is known by its first.
pub(super) fn example(field: &ProviderField) -> Option<String> {
    if field.must_be.contains("such as") || field.must_be == field.example {
        return None;
    }
    let mut lines = field.example.lines();
    let first = lines.next()?;
    Some(if lines.next().is_some() { format!("{first} …") } else { first.to_owned() })
}

fn metadata(it: &Provider) -> BTreeMap<String, String> {
    let schemas = it.metadata.as_ref().map(|schemas| serde_json::json!(schemas)).unwrap_or_default();
    let schemas = schemas.as_object().into_iter().flatten();
    schemas.map(|(key, schema)| (key.clone(), allowed(schema))).collect()
}

/// A JSON Schema in words, as far as the registry uses it.
fn allowed(schema: &Value) -> String {
    let text = |keyword: &str| schema[keyword].as_str();
    let number = |keyword: &str| schema[keyword].as_f64();
    let mut words = match text("type") {
        _ if schema["enum"].is_array() => {
            let options: Vec<_> = schema["enum"].as_array().into_iter().flatten().map(plain).collect();
            or(&options)
        }
        Some("string") => "text".into(),
        Some("integer") => "a whole number".into(),
        Some("number") => "a number".into(),
        Some("boolean") => "true or false".into(),
        Some("array") => format!("a list, each {}", allowed(&schema["items"])),
        Some("object") => format!("a map, each {}", allowed(&schema["additionalProperties"])),
        _ => "any value".into(),
    };
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        words += &format!(" from {least} to {most}");
    }
    if let Some(format) = text("format") {
        words += &format!(" in the format {format}");
    }
    if let Some(pattern) = text("pattern") {
        words += &format!(" like {pattern}");
    }
    if let Some(description) = text("description") {
        words += &format!(": {description}");
    }
    words
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `a, b or c`.
fn or(words: &[impl AsRef<str>]) -> String {
    listed(words, "or")
}

fn listed(words: &[impl AsRef<str>], conjunction: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} {conjunction} {last}", before.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pb::v1::FieldGroup;

    pub fn field(name: &str, secret: bool, required: bool) -> ProviderField {
        ProviderField { name: name.into(), secret, required, shape: "token".into(), ..ProviderField::default() }
    }

    pub fn group(names: &[&str]) -> FieldGroup {
        FieldGroup { fields: names.iter().map(ToString::to_string).collect() }
    }

    fn azure() -> Provider {
        let id = ProviderField {
            must_be: "a UUID".into(),
            example: "1f0c-…".into(),
            aliases: vec!["appId".into(), "clientId".into()],
            ..field("client_id", false, true)
        };
        let key = ProviderField { shape: "pem".into(), example: "-----BEGIN\nabc".into(), ..field("key", true, false) };
        let metadata = serde_json::json!({
            "days": { "type": "integer", "minimum": 1, "maximum": 730 },
            "zones": { "type": "array", "items": { "type": "string", "pattern": "^z$" } },
            "tier": { "enum": ["dev", "prod"] },
        });
        Provider {
            id: "azure".into(),
            class: "federated".into(),
            fields: vec![id, field("secret", true, false), key],
            either: vec![group(&["secret"]), group(&["key", "certificate"])],
            document_shapes: vec!["json".into(), "env".into()],
            rotation_days: 180,
            limits: Some(ProviderLimits { per_minute: 30, burst: 5, at_once: 8 }),
            test: vec!["POST https://login.example/token".into()],
            environment: [("AZURE_CLIENT_ID".to_owned(), "{client_id}".to_owned())].into(),
            metadata: serde_json::from_value(metadata).unwrap(),
            ..Provider::default()
        }
    }

    #[test]
    fn a_page_tells_all_that_there_is_to_fill_in() {
        assert_eq!(
            page(&azure()),
            "provider  azure
class     federated: a trust; no secret is stored
document  json or env
rotation  after 180 days
limits    asked 30 times a minute for an org, 5 at once; 8 under way for all orgs

fields
  client_id  a UUID
             such as 1f0c-…
             also read as appId, clientId
  secret     secret, optional: one word without spaces
  key        secret, optional: a PEM block
             such as -----BEGIN …
  either secret or key with certificate

connection test
  POST https://login.example/token

environment
  AZURE_CLIENT_ID  {client_id}

metadata
  days   a whole number from 1 to 730
  tier   dev or prod
  zones  a list, each text like ^z$
"
        );
    }

    #[test]
    fn what_is_not_there_is_left_out_and_a_missing_test_is_told() {
        let bare = Provider { id: "openai".into(), fields: vec![field("api_key", true, true)], ..Provider::default() };
        let page = page(&bare);
        assert!(page.contains("document  the bare value\n") && page.contains("strongroom activate"), "{page}");
        for absent in ["limits", "rotation", "environment", "metadata", "either"] {
            assert!(!page.contains(absent), "{page}");
        }
    }

    #[test]
    fn the_list_says_what_is_tested() {
        assert_eq!(row(&azure())[3..], ["federated", "yes", "180 days"]);
        assert_eq!(row(&Provider::default())[4..], ["no", ""]);
    }

    #[test]
    fn a_server_cannot_draw_on_the_page() {
        let evil = "\u{1b}[2Jx\nforged  line".to_owned();
        let provider = Provider {
            id: evil.clone(),
            test: vec![evil.clone()],
            environment: [(evil.clone(), evil.clone())].into(),
            fields: vec![ProviderField { must_be: evil.clone(), ..field(&evil, true, true) }],
            ..Provider::default()
        };
        let page = page(&provider);
        assert!(!page.contains('\u{1b}') && !page.lines().any(|line| line.starts_with("forged")), "{page}");
    }
}
