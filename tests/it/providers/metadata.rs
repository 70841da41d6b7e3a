//! Metadata: what each provider's schema accepts and refuses.

use super::*;

#[test]
fn metadata_is_accepted_by_the_providers_schema() {
    let registry = registry();
    let common = json!({
        "label": "nightly", "owner": "data@acme.example", "environment": "prod", "tags": { "team": "data" },
        "notes": "n".repeat(1000), "expires_at": "2027-01-01T00:00:00Z", "rotation_days": 90,
    });
    for provider in registry.all() {
        provider.check_metadata(&map(common.clone())).unwrap();
        provider.check_metadata(&Map::new()).unwrap();
    }
    for (provider, own) in [
        (
            "gcp_service_account",
            json!({ "project_id": "acme-analytics", "billing_account": "0A1B2C-3D4E5F-6A7B8C",
            "billing_dataset": "acme-analytics.billing.export", "location": "europe-west4",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"] }),
        ),
        ("aws_keys", json!({ "account_id": "029608264753", "region": "us-gov-west-1", "partition": "aws-us-gov" })),
        (
            "openai",
            json!({ "organization": "org-Zq8Rk2Vn5Wm1", "project": "proj_Zq8", "base_url": "https://api.openai.com/v1" }),
        ),
        ("cloudflare", json!({ "account_id": "0a1b2c3d".repeat(4), "template": "dns_edit" })),
        ("saas_generic", json!({ "service_name": "Acme Mail", "url": "https://mail.acme.example/", "login": "etl" })),
    ] {
        registry.get(provider).unwrap().check_metadata(&map(own)).unwrap();
    }
}

#[test]
fn metadata_is_refused_by_path_and_rule() {
    let registry = registry();
    let nested = |levels: usize| {
        serde_json::from_str::<Value>(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels))).unwrap()
    };
    for (provider, metadata, message) in [
        ("aws_keys", json!({ "region": "Frankfurt" }), "metadata.region: must match ^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$"),
        ("aws_keys", json!({ "account_id": 29_608_264_753_u64 }), "metadata.account_id: must be of type string"),
        (
            "aws_keys",
            json!({ "regoin": "eu-west-1" }),
            "metadata: has a key that aws_keys does not know; perhaps region was meant",
        ),
        ("aws_keys", json!({ "cur_prefix": "p".repeat(257) }), "metadata.cur_prefix: must have at most 256 characters"),
        (
            "openai",
            json!({ "base_url": "https://evil.example" }),
            "metadata.base_url: must be one of https://api.openai.com/v1",
        ),
        (
            "openai",
            json!({ "region": "eu" }),
            "metadata: has a key that openai does not know; its keys are base_url, organization, project, environment, expires_at, label, notes, owner, rotation_days, tags",
        ),
        ("openai", json!({ "environment": "Prod" }), "metadata.environment: must be one of dev, staging, prod, other"),
        ("openai", json!({ "rotation_days": 0 }), "metadata.rotation_days: must be at least 1"),
        ("openai", json!({ "rotation_days": 731 }), "metadata.rotation_days: must be at most 730"),
        ("openai", json!({ "rotation_days": "90" }), "metadata.rotation_days: must be of type integer"),
        ("openai", json!({ "owner": "nobody" }), "metadata.owner: must be in the format email"),
        ("openai", json!({ "expires_at": "tomorrow" }), "metadata.expires_at: must be in the format date-time"),
        ("openai", json!({ "notes": "n".repeat(1001) }), "metadata.notes: must have at most 1000 characters"),
        (
            "openai",
            json!({ "tags": { "a b": "x" } }),
            "metadata.tags: has a key whose name must match ^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$",
        ),
        ("openai", json!({ "tags": { "team": 7 } }), "metadata.tags.*: must be of type string"),
        (
            "openai",
            json!({ "tags": (0..21).map(|n| (n.to_string(), "x".into())).collect::<Map<_, _>>() }),
            "metadata.tags: must have at most 20 entries",
        ),
        ("openai", json!({ "label": nested(8) }), "metadata: is nested more than 8 deep"),
        ("openai", json!({ "label": nested(100) }), "metadata: is nested more than 8 deep"),
        ("openai", json!({ "label": null }), "metadata.label: must be of type string"),
        ("openai", json!({ "notes": "n".repeat(20_000) }), "metadata: is longer than 16384 bytes"),
        (
            "openai",
            json!({ "notes": format!(" {OPENAI}\n") }),
            "metadata.notes: looks like an OpenAI key; metadata is stored in clear and must not hold a secret",
        ),
        (
            "openai",
            json!({ "tags": { "key": ANTHROPIC } }),
            "metadata.tags: looks like an Anthropic key; metadata is stored in clear and must not hold a secret",
        ),
        (
            "cloudflare",
            json!({ "zone_ids": ["0a1b2c3d".repeat(4), "zone"] }),
            "metadata.zone_ids.1: must match ^[0-9a-f]{32}$",
        ),
        (
            "cloudflare",
            json!({ "zone_ids": ["0a1b2c3d".repeat(4), "0a1b2c3d".repeat(4)] }),
            "metadata.zone_ids: must not have an entry twice",
        ),
        ("gcp_service_account", json!({ "scopes": "all" }), "metadata.scopes: must be of type array"),
        ("saas_generic", json!({ "url": "http://mail.acme.example/" }), "metadata.url: must match ^https://"),
        ("saas_generic", json!({ "url": "https://not a uri" }), "metadata.url: must be in the format uri"),
    ] {
        let error = registry.get(provider).unwrap().check_metadata(&map(metadata)).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}
