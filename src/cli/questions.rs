//! Asks in a terminal for what a provider wants to have: what is secret does not show, and what has several lines comes
//! from a file.

use std::collections::BTreeMap;

use super::error::{Exit, Failure};
use super::input::{Answer, Inputs, Uploaded};
use super::output::{escape, say};
use super::providers::{example, must_be};
use crate::crypto::Secret;
use crate::pb::v1::{FieldGroup, Provider, ProviderField};

/// How often a question is asked until it is answered.
const TRIES: usize = 3;
const LONGEST_EXAMPLE: usize = 48;

/// The whole upload, question by question.
pub(super) fn upload(provider: &Provider, inputs: &mut Inputs) -> Result<Uploaded, Failure> {
    introduce(provider);
    let one = provider.fields.len() == 1 && !provider.other_fields;
    if !one && let Some(document) = document(provider, inputs)? {
        return Ok(Uploaded { document: Some(document), ..Uploaded::default() });
    }
    let mut fields = BTreeMap::new();
    let chosen = choose(provider, inputs)?;
    for field in &provider.fields {
        let has = |group: &FieldGroup| group.fields.contains(&field.name);
        let needed = match chosen {
            Some(group) if has(group) => true,
            Some(_) if provider.either.iter().any(has) => continue,
            _ => field.required,
        };
        if let Some(value) = value(field, needed, inputs)? {
            fields.insert(field.name.clone(), value);
        }
    }
    if provider.other_fields {
        others(&mut fields, inputs)?;
    }
    Ok(Uploaded { fields, document: None })
}

/// Asks anew for the one field that the server found wrong; any other refusal stands.
pub(super) fn correct(
    provider: &Provider,
    uploaded: &mut Uploaded,
    refused: Failure,
    inputs: &mut Inputs,
) -> Result<(), Failure> {
    let is_about = |field: &&ProviderField| refused.message().starts_with(&format!("{}: ", field.name));
    let wrong = provider.fields.iter().find(|field| uploaded.fields.contains_key(&field.name) && is_about(field));
    let Some(field) = wrong.filter(|_| refused.exit() == Exit::Invalid) else { return Err(refused) };
    say(escape(refused.message()));
    if let Some(value) = value(field, true, inputs)? {
        uploaded.fields.insert(field.name.clone(), value);
    }
    Ok(())
}

/// For whoever may not read the registry: what it consists of is not known, so it is taken as a whole.
pub(super) fn unknown(provider: &str, inputs: &mut Inputs) -> Result<Uploaded, Failure> {
    say(escape(&format!(
        "this token may not read the registry, so what {provider} consists of cannot be asked one by one"
    )));
    for _ in 0..TRIES {
        let document = match inputs.file("the file that holds it (Enter to type a key instead):", "the document")? {
            Answer::Nothing => inputs.hidden("the key (it does not show)")?,
            answer => answer,
        };
        match document {
            Answer::Given(document) => return Ok(Uploaded { document: Some(document), ..Uploaded::default() }),
            Answer::Nothing => say("one of them is needed"),
            Answer::Useless(failure) => say(failure),
        }
    }
    Err(unanswered("the document"))
}

fn introduce(provider: &Provider) {
    let title = if provider.title.is_empty() { &provider.id } else { &provider.title };
    say(escape(&match provider.docs.as_str() {
        "" => title.clone(),
        docs => format!("{title}: made at {docs}"),
    }));
}

fn document(provider: &Provider, inputs: &mut Inputs) -> Result<Option<Secret>, Failure> {
    let question = match provider.document_shapes.join(", ").as_str() {
        "" => "the file that holds it, or Enter to give its fields:".to_owned(),
        shapes => format!("the file that holds it ({shapes}), or Enter to give its fields:"),
    };
    for _ in 0..TRIES {
        match inputs.file(&question, "the document")? {
            Answer::Given(document) => return Ok(Some(document)),
            Answer::Nothing => return Ok(None),
            Answer::Useless(failure) => say(failure),
        }
    }
    Err(unanswered("the document"))
}

/// One of the alternatives, where there are any.
fn choose<'a>(provider: &'a Provider, inputs: &mut Inputs) -> Result<Option<&'a FieldGroup>, Failure> {
    if provider.either.is_empty() {
        return Ok(None);
    }
    for (group, number) in provider.either.iter().zip(1..) {
        say(escape(&format!("  {number}  {}", group.fields.join(", "))));
    }
    let most = provider.either.len();
    for _ in 0..TRIES {
        let answer = inputs.ask(&format!("which of these, 1 to {most}:"))?;
        let number = answer.trim().parse::<usize>().unwrap_or_default();
        match number.checked_sub(1).and_then(|index| provider.either.get(index)) {
            Some(group) => return Ok(Some(group)),
            None => say(format!("a number from 1 to {most} is needed")),
        }
    }
    Err(unanswered("the choice"))
}

fn value(field: &ProviderField, needed: bool, inputs: &mut Inputs) -> Result<Option<Secret>, Failure> {
    let such_as = example(field).map(|example| format!(", such as {}", shortened(&example))).unwrap_or_default();
    say(escape(&format!("{}: {}{such_as}", field.name, must_be(field))));
    for _ in 0..TRIES {
        match ask(field, needed, inputs)? {
            Answer::Given(value) => return Ok(Some(value)),
            Answer::Nothing if !needed => return Ok(None),
            Answer::Nothing => say("it is needed"),
            Answer::Useless(failure) => say(failure),
        }
    }
    Err(unanswered(&field.name))
}

fn ask(field: &ProviderField, needed: bool, inputs: &mut Inputs) -> Result<Answer, Failure> {
    let name = &field.name;
    let leave = if needed { "" } else { ", Enter to leave it out" };
    if field.shape == "pem" || field.example.trim_end().contains('\n') {
        return inputs.file(&format!("{name} (its file{leave}):"), name);
    }
    match field.secret {
        true => inputs.hidden(&format!("{name} (does not show{leave})")),
        false if needed => inputs.answer(&format!("{name}:")),
        false => inputs.answer(&format!("{name} (Enter to leave it out):")),
    }
}

/// Fields that only their owner knows.
fn others(fields: &mut BTreeMap<String, Secret>, inputs: &mut Inputs) -> Result<(), Failure> {
    loop {
        let end = if fields.is_empty() { "" } else { " (Enter to end)" };
        let name = inputs.ask(&format!("a field's name{end}:"))?.trim().to_owned();
        if name.is_empty() && !fields.is_empty() {
            return Ok(());
        }
        if name.is_empty() || fields.contains_key(&name) {
            say("a name that was not given yet is needed");
            continue;
        }
        if let Answer::Given(value) = inputs.hidden(&format!("{name} (does not show)"))? {
            fields.insert(name, value);
        }
    }
}

/// An example as long as a line says no more than its beginning.
fn shortened(example: &str) -> String {
    match example.char_indices().nth(LONGEST_EXAMPLE) {
        Some((end, _)) => format!("{}…", &example[..end]),
        None => example.to_owned(),
    }
}

fn unanswered(what: &str) -> Failure {
    Failure::usage(format!("{what}: not given")).hint("--field NAME=@FILE and --document FILE answer without questions")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::providers::tests::{field, group};
    use super::*;

    /// Typed lines, and what is typed unseen, in their order.
    fn terminal(typed: &'static str, unseen: &'static [&'static str]) -> Inputs {
        let mut unseen = unseen.iter();
        let prompt = Box::new(move |question: &str| {
            unseen.next().map(ToString::to_string).ok_or_else(|| io::Error::other(question.to_owned()))
        });
        Inputs { stdin: Box::new(typed.as_bytes()), terminal: true, prompt }
    }

    fn texts(uploaded: &Uploaded) -> Vec<(&str, &str)> {
        uploaded.fields.iter().map(|(name, value)| (name.as_str(), value.expose_text().unwrap())).collect()
    }

    fn aws() -> Provider {
        Provider {
            id: "aws_keys".into(),
            fields: vec![
                field("access_key_id", false, true),
                field("secret_access_key", true, true),
                field("session_token", true, false),
            ],
            ..Provider::default()
        }
    }

    #[test]
    fn a_single_key_is_one_hidden_question() {
        let provider = Provider { fields: vec![field("api_key", true, true)], ..Provider::default() };
        let uploaded = upload(&provider, &mut terminal("", &["", "sk-1"])).unwrap();
        assert_eq!(texts(&uploaded), [("api_key", "sk-1")]);
        let failure = upload(&provider, &mut terminal("", &["", "", ""])).unwrap_err().to_string();
        assert!(failure.starts_with("error: api_key: not given\nhint: "), "{failure}");
    }

    #[test]
    fn what_is_secret_is_never_read_from_what_shows() {
        let uploaded = upload(&aws(), &mut terminal("\n AKIA \n", &["s3cret", ""])).unwrap();
        assert_eq!(texts(&uploaded), [("access_key_id", "AKIA"), ("secret_access_key", "s3cret")]);
        assert!(upload(&aws(), &mut terminal("\nAKIA\nnot read\n", &[])).is_err());
    }

    #[test]
    fn an_unanswered_question_ends_it() {
        assert!(upload(&aws(), &mut terminal("", &[])).unwrap_err().to_string().contains("not answered"));
        assert!(
            upload(&aws(), &mut terminal("\n\n\n\n", &["x", "y"])).unwrap_err().to_string().contains("access_key_id")
        );
    }

    #[test]
    fn the_file_that_was_handed_out_answers_everything() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"{\"a\": 1}").unwrap();
        let typed = format!("/nowhere/canary\n'{}'\n", file.path().display());
        let uploaded = upload(&aws(), &mut terminal(typed.leak(), &[])).unwrap();
        assert_eq!(uploaded.document.unwrap().expose(), b"{\"a\": 1}");
    }

    #[test]
    fn of_alternatives_only_the_chosen_one_is_asked() {
        let key = ProviderField { shape: "pem".into(), ..field("key", true, false) };
        let provider = Provider {
            fields: vec![field("client_id", false, true), field("secret", true, false), key],
            either: vec![group(&["secret"]), group(&["key"])],
            ..Provider::default()
        };
        let uploaded = upload(&provider, &mut terminal("\n3\nx\n1\nid\n", &["s3cret"])).unwrap();
        assert_eq!(texts(&uploaded), [("client_id", "id"), ("secret", "s3cret")]);

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"PEM").unwrap();
        let typed = format!("\n2\nid\n\n{}\n", file.path().display());
        let uploaded = upload(&provider, &mut terminal(typed.leak(), &[])).unwrap();
        assert_eq!(texts(&uploaded), [("client_id", "id"), ("key", "PEM")]);
    }

    #[test]
    fn fields_of_the_owners_choice() {
        let provider = Provider { other_fields: true, ..Provider::default() };
        let uploaded = upload(&provider, &mut terminal("\n\nlogin\nlogin\npassword\n\n", &["me", "s3cret"])).unwrap();
        assert_eq!(texts(&uploaded), [("login", "me"), ("password", "s3cret")]);
    }

    #[test]
    fn only_the_field_that_was_wrong_is_asked_again() {
        let mut uploaded = upload(&aws(), &mut terminal("\nAKIA\n", &["old", ""])).unwrap();
        let refused = || Failure::new(Exit::Invalid, "secret_access_key: must be longer");
        correct(&aws(), &mut uploaded, refused(), &mut terminal("", &["new"])).unwrap();
        assert_eq!(texts(&uploaded), [("access_key_id", "AKIA"), ("secret_access_key", "new")]);

        for stands in [
            Failure::new(Exit::Invalid, "metadata.region: must match"),
            Failure::new(Exit::Invalid, "session_token: was not asked for"),
            Failure::new(Exit::Denied, "secret_access_key: no"),
        ] {
            let (exit, message) = (stands.exit(), stands.message().to_owned());
            let failure = correct(&aws(), &mut uploaded, stands, &mut terminal("", &["unread"])).unwrap_err();
            assert_eq!((failure.exit(), failure.message()), (exit, message.as_str()));
        }
        let mut whole = Uploaded { document: Some(Secret::from("{}".to_owned())), ..Uploaded::default() };
        assert!(correct(&aws(), &mut whole, refused(), &mut terminal("", &["unread"])).is_err(), "a file is put right");
    }

    #[test]
    fn a_long_example_is_shown_by_its_beginning() {
        assert_eq!(shortened("sk-1"), "sk-1");
        assert_eq!(shortened(&"é".repeat(60)), format!("{}…", "é".repeat(48)));
    }

    #[test]
    fn who_may_not_read_the_registry_hands_in_the_whole() {
        let uploaded = unknown("openai", &mut terminal("/nowhere\n\n", &["sk-1"])).unwrap();
        assert_eq!(uploaded.document.unwrap().expose(), b"sk-1");
        assert!(unknown("openai", &mut terminal("\n\n\n", &["", "", ""])).is_err());
    }
}
