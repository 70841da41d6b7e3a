//! aws_iam_role: a trust, of which nothing is truly secret.

use super::*;

const ARN: &str = "arn:aws:iam::029608264753:role/vendor/strongroom";

#[test]
fn a_role_is_taken_from_fields_json_and_a_configuration_file() {
    let canonical = format!(
        r#"{{"duration_seconds":"3600","external_id":"vlt-9f8e7d6c","region":"eu-west-1","role_arn":"{ARN}"}}"#
    );
    let json = json!({ "RoleArn": ARN, "ExternalId": "vlt-9f8e7d6c", "DurationSeconds": 3600, "region": "eu-west-1" });
    let profile = format!(
        "[profile x]\nrole_arn = {ARN}\nexternal_id=vlt-9f8e7d6c\nsource_profile = default\nduration_seconds = 3600\nregion = eu-west-1\n"
    );
    for upload in [document(json.to_string()), document(profile)] {
        let parsed = parse("aws_iam_role", &upload).unwrap();
        assert_eq!(text(&parsed), canonical);
        assert_eq!(parsed.public_identity["role_arn"], ARN);
        assert!(!parsed.public_identity.contains_key("external_id"));
        assert!(parsed.warnings.is_empty());
    }
}

#[test]
fn what_is_no_role_is_named() {
    let bad = |field: &str, value: &str, words: &str| {
        let mut all = BTreeMap::from([("role_arn", ARN), ("external_id", "vlt-9f8e7d6c")]);
        all.insert(field, value);
        refused("aws_iam_role", &fields(&all.into_iter().collect::<Vec<_>>()), field, words);
    };
    bad("role_arn", "arn:aws:sts::029608264753:assumed-role/strongroom/x", "this is a session of a role");
    bad("role_arn", "arn:aws:iam::029608264753:user/etl", "this is a user");
    bad("role_arn", "arn:aws:iam::029608264753:root", "this is the whole account");
    bad("role_arn", "029608264753", "this is an account id");
    bad("role_arn", "AROAQNZGKIQY56JQ7WML", "this is the id of a role");
    bad("role_arn", &ARN.replace("aws", "AWS"), "must be the ARN of a role");
    bad("role_arn", &ARN.replace("029608264753", "02960826475"), "must be the ARN of a role");
    bad("external_id", "x", "must be 2 to 1224");
    bad("external_id", ARN, "this is an ARN");
    bad("region", "eu-west-1b", "this is an availability zone");
    bad("session_name", "a b", "has a space inside");
    for seconds in ["899", "43201", "99999", "1e3", "-900", "0900"] {
        bad("duration_seconds", seconds, "must be a number of seconds from 900 to 43200");
    }
    refused("aws_iam_role", &fields(&[("role_arn", ARN)]), "external_id", "is missing");
}

#[test]
fn a_duration_longer_than_chained_roles_get_is_remarked() {
    for (seconds, remarks) in
        [("900", 0), ("3600", 0), ("3601", 1), ("3610", 1), ("3700", 1), ("4000", 1), ("43200", 1)]
    {
        let upload = fields(&[("role_arn", ARN), ("external_id", "vlt-9f8e7d6c"), ("duration_seconds", seconds)]);
        assert_eq!(parse("aws_iam_role", &upload).unwrap().warnings.len(), remarks, "{seconds}");
    }
}
