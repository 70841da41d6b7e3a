//! azure_service_principal: a secret or a certificate, as `az` prints them.

use super::*;

#[test]
fn what_az_prints_is_taken_as_it_is() {
    let canonical = format!(
        r#"{{"client_id":"{CLIENT}","client_secret":"{AZURE_SECRET}","subscription_id":"{SUBSCRIPTION}","tenant_id":"{TENANT}"}}"#
    );
    let auth = json!({
        "clientId": CLIENT, "clientSecret": AZURE_SECRET, "subscriptionId": SUBSCRIPTION, "tenantId": TENANT,
        "activeDirectoryEndpointUrl": "https://login.microsoftonline.com",
        "resourceManagerEndpointUrl": "https://evil.example/",
        "activeDirectoryGraphResourceId": "https://graph.windows.net/",
        "sqlManagementEndpointUrl": "https://management.core.windows.net:8443/",
        "galleryEndpointUrl": "https://gallery.azure.com/",
        "managementEndpointUrl": "https://management.core.windows.net/",
    });
    let lines = format!(
        "export ARM_CLIENT_ID=\"{CLIENT}\"\nexport ARM_CLIENT_SECRET='{AZURE_SECRET}'\r\nARM_TENANT_ID={TENANT}\nARM_SUBSCRIPTION_ID={SUBSCRIPTION} # ours\n"
    );
    for upload in [document(auth.to_string()), document(lines)] {
        let parsed = parse("azure_service_principal", &upload).unwrap();
        assert_eq!(text(&parsed), canonical);
        assert_eq!(parsed.public_identity.keys().collect::<Vec<_>>(), ["client_id", "subscription_id", "tenant_id"]);
        assert!(parsed.warnings.is_empty());
    }
    let plain = json!({ "appId": CLIENT, "displayName": "etl", "password": AZURE_SECRET, "tenant": TENANT });
    let parsed = parse("azure_service_principal", &document(plain.to_string())).unwrap();
    assert_eq!(
        text(&parsed),
        format!(r#"{{"client_id":"{CLIENT}","client_secret":"{AZURE_SECRET}","tenant_id":"{TENANT}"}}"#)
    );
}

#[test]
fn a_certificate_comes_with_its_key_and_without_a_secret() {
    let (certificate, key) = (certificate(), rsa_pem());
    let who = [("tenant_id", TENANT), ("client_id", CLIENT)];
    let with = |more: &[(&'static str, &str)]| {
        let all: Vec<(&str, &str)> = who.iter().chain(more).copied().collect();
        fields(&all)
    };
    let both = with(&[("certificate", &certificate), ("private_key", &key)]);
    assert!(parse("azure_service_principal", &both).is_ok());
    let give = "give client_secret, or certificate and private_key";
    refused("azure_service_principal", &with(&[]), "client_secret", &format!("is missing: {give}"));
    refused("azure_service_principal", &with(&[("private_key", &key)]), "certificate", &format!("is missing: {give}"));
    refused(
        "azure_service_principal",
        &with(&[("certificate", &certificate)]),
        "private_key",
        &format!("is missing: {give}"),
    );
    let three = with(&[("certificate", &certificate), ("private_key", &key), ("client_secret", AZURE_SECRET)]);
    refused("azure_service_principal", &three, "certificate", &format!("is one too many: {give}"));
    let two = with(&[("private_key", &key), ("client_secret", AZURE_SECRET)]);
    refused("azure_service_principal", &two, "private_key", "is one too many");
    refused(
        "azure_service_principal",
        &with(&[("certificate", &format!("{certificate}{key}")), ("private_key", &key)]),
        "certificate",
        "this holds a private key",
    );
    refused(
        "azure_service_principal",
        &with(&[("certificate", &certificate), ("private_key", &key.replace("PRIVATE", "ENCRYPTED PRIVATE"))]),
        "private_key",
        "locked with a passphrase",
    );
}

#[test]
fn what_was_pasted_instead_is_named() {
    let bad = |field: &'static str, value: &str, words: &str| {
        let mut all = BTreeMap::from([("tenant_id", TENANT), ("client_id", CLIENT), ("client_secret", AZURE_SECRET)]);
        all.insert(field, value);
        refused("azure_service_principal", &fields(&all.into_iter().collect::<Vec<_>>()), field, words);
    };
    bad("client_secret", SUBSCRIPTION, "this is the id of a secret and not its value");
    bad("client_secret", &AZURE_SECRET[..30], "of which the end is missing");
    bad("client_secret", "short", "must be the value of a client secret");
    bad("tenant_id", "common", "this stands for every tenant");
    bad("tenant_id", "acme", "must be a tenant's id");
    bad("client_id", &CLIENT[1..], "must be the application's client id");
    bad("subscription_id", "prod", "must be a subscription's id");
    bad("cloud", "Public", "must be public, usgov or china");
    let json = |value: Value| document(value.to_string());
    refused(
        "azure_service_principal",
        &json(json!({ "appId": CLIENT, "tenant": TENANT, "fileWithCertAndPrivateKey": "/home/me/x.pem" })),
        "fileWithCertAndPrivateKey",
        "this is the name of a file",
    );
    let login =
        json!([{ "cloudName": "AzureCloud", "homeTenantId": TENANT, "id": SUBSCRIPTION, "user": { "name": "me" } }]);
    refused("azure_service_principal", &json(login.clone()), "document", "this is what `az login` prints");
    refused("azure_service_principal", &json(login[0].clone()), "document", "this is what `az account show` prints");
}

#[test]
fn a_secret_of_an_old_kind_is_taken_with_a_remark() {
    let old = "pQ3/xY7+zW1=kL5:mN9_bV2.cD4-eF6]";
    let parsed = parse(
        "azure_service_principal",
        &fields(&[("tenant_id", "acme.onmicrosoft.com"), ("client_id", CLIENT), ("client_secret", old)]),
    );
    assert_eq!(parsed.unwrap().warnings.len(), 1);
}
