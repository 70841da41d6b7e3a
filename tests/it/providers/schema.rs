//! The published JSON Schema of the registry file: what editors are told is what the loader does.

use super::registry::small;
use super::*;

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../config/providers.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    // In linear time, as the loader's patterns are: this is no browser's dialect.
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
    options.with_pattern_options(jsonschema::PatternOptions::regex()).build(&schema).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn the_embedded_registry_is_what_the_schema_says() {
    let text = include_str!("../../../config/providers.yml");
    assert!(text.starts_with("# yaml-language-server: $schema=providers.schema.json\n"));
    let errors: Vec<String> = schema()
        .iter_errors(&yaml(text))
        .map(|error| format!("{}: {:.200}", error.instance_path(), error.to_string()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn a_broken_registry_fails_the_schema_and_the_loader() {
    let schema = schema();
    assert!(schema.is_valid(&yaml(&small("Plain", "Plain"))));
    for (from, to) in [
        ("id: plain", "id: Plain"),
        ("    title: Plain\n", "    titel: Plain\n"),
        ("    title: Plain\n", ""),
        ("category: saas", "category: sass"),
        ("class: long-lived", "class: eternal"),
        ("https://plain.example", "http://plain.example"),
        ("    fields:", "    checks: [no_such]\n    fields:"),
        ("    fields:", "    either: [[token]]\n    fields:"),
        ("    fields:", "    limits: { per_minute: 0 }\n    fields:"),
        ("    fields:", "    limits: { per_hour: 1 }\n    fields:"),
        ("    fields:", "    rotation: { days: 0 }\n    fields:"),
        ("    fields:", "    rotation: { weeks: 2 }\n    fields:"),
        ("    fields:", "    document: { shapes: [toml] }\n    fields:"),
        ("    fields:", "    environment: { plain-token: '{token}' }\n    fields:"),
        ("name: account", "name: a"),
        ("must_be: pl- and eight digits", "shape: token"),
        ("must_be: pl- and eight digits", "must_be: eight digits\n        colour: red"),
        ("'^pl-[0-9]{8}$'", "'pl-[0-9]{8}'"),
        ("{ enum: [eu, us] }", "{ type: strin }"),
        ("{ enum: [eu, us] }", "{ type: string, maxLenght: 3 }"),
        ("{ enum: [eu, us] }", "{ type: object }"),
    ] {
        let text = small(from, to);
        assert!(!schema.is_valid(&yaml(&text)), "the schema accepts {to}");
        let error = Registry::parse("mine.yml", &text).expect_err(to);
        assert!(error.line.is_some(), "{to}: {error}");
    }
}
