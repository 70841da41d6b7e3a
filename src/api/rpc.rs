//! The rpcs, read from the compiled protos: their paths in REST, their fields, and whether they carry secrets. Nothing
//! of that is written down a second time; what the protos do not say is in [`action`], and an rpc without it is refused
//! at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use metrics::{Counter, Histogram, counter, histogram};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, Value};

use crate::pb;
use crate::vault::{Action, Error};

/// Every rpc by its name.
pub struct Rpcs(BTreeMap<String, Arc<Rpc>>);

pub struct Rpc {
    pub name: String,
    /// What policies and the audit log call it.
    pub action: Action,
    /// It changes something: once begun, it is finished.
    pub changes: bool,
    pub request: MessageDescriptor,
    /// Its request or its answer may hold a secret.
    pub carries_secret: bool,
    pub http: Option<Rule>,
    /// Made once: finding a meter by its labels costs more than using it.
    pub served: Counter,
    pub seconds: Histogram,
}

/// What an rpc does, in the vault's words; and whether it changes something. A test of a stored credential does: it
/// settles the version's state.
fn action(rpc: &str) -> Option<(Action, bool)> {
    Some(match rpc {
        "SetupCredential" => (Action::Setup, true),
        "ValidateCredential" => (Action::Validate, true),
        "DeleteCredential" => (Action::Delete, true),
        "UndeleteCredential" => (Action::Undelete, true),
        "UpdateMetadata" => (Action::UpdateMetadata, true),
        "ActivateVersion" => (Action::Activate, true),
        "IssueToken" => (Action::IssueToken, true),
        "DeriveToken" => (Action::DeriveToken, true),
        "RotateToken" => (Action::RotateToken, true),
        "RevokeToken" => (Action::RevokeToken, true),
        "EnrolSecondFactor" => (Action::EnrolSecondFactor, true),
        "ConfirmSecondFactor" => (Action::ConfirmSecondFactor, true),
        "RemoveSecondFactor" => (Action::RemoveSecondFactor, true),
        "ApproveRequest" => (Action::ApproveRequest, true),
        "RejectRequest" => (Action::RejectRequest, true),
        "MintGrant" => (Action::MintGrant, true),
        "RevokeGrant" => (Action::RevokeGrant, true),
        "ListGrants" => (Action::ListGrants, false),
        "DecryptCredential" | "BatchDecrypt" => (Action::Decrypt, false),
        "GetCredential" => (Action::Get, false),
        "ListCredentials" => (Action::List, false),
        "ListVersions" => (Action::ListVersions, false),
        "WatchCredentials" => (Action::Watch, false),
        "ListTokens" => (Action::ListTokens, false),
        "ListAudit" => (Action::ListAudit, false),
        "VerifyAudit" => (Action::VerifyAudit, false),
        "ListSecondFactors" => (Action::ListSecondFactors, false),
        "ListApprovals" => (Action::ListApprovals, false),
        "ExportAudit" => (Action::ExportAudit, false),
        "ExportVault" => (Action::ExportVault, false),
        "GetAuditKey" => (Action::GetAuditKey, false),
        "RotateAuditKey" => (Action::RotateAuditKey, true),
        "ListProviders" => (Action::ListProviders, false),
        "ListKeys" => (Action::ListKeys, false),
        "Rewrap" => (Action::Rewrap, true),
        "Reseal" => (Action::Reseal, true),
        "DestroyOrg" => (Action::DestroyOrg, true),
        "RestoreOrg" => (Action::RestoreOrg, true),
        "ListOrgDestructions" => (Action::ListOrgDestructions, false),
        "ExplainPolicy" => (Action::ExplainPolicy, false),
        _ => return None,
    })
}

/// A google.api.http option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub method: Method,
    /// Both google.api.http and the router write parameters as `{name}`.
    pub path: String,
    /// Whether a body is taken; all fields that are not in the path may be in it.
    pub body: bool,
}

impl Rpcs {
    pub fn read() -> Result<Self, Error> {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).map_err(Error::bug)?;
        let mut rpcs = BTreeMap::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let rpc = Rpc::read(&pool, &method)?;
            if let Some(other) = rpcs.insert(rpc.name.clone(), Arc::new(rpc)) {
                return Err(Error::bug(format!("two services have an rpc {}", other.name)));
            }
        }
        Ok(Self(rpcs))
    }

    pub fn get(&self, name: &str) -> Result<&Arc<Rpc>, Error> {
        self.0.get(name).ok_or_else(|| Error::bug(format!("no rpc {name} in the protos")))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rpc>> {
        self.0.values()
    }
}

impl Rpc {
    fn read(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Self, Error> {
        let name = method.name().to_owned();
        let (action, changes) = action(&name).ok_or_else(|| Error::bug(format!("{name} is no action of the vault")))?;
        let carries_secret =
            [method.input(), method.output()].iter().any(|message| holds_secret(message, &mut Vec::new()));
        Ok(Self {
            action,
            changes,
            request: method.input(),
            carries_secret,
            http: rule(pool, method)?,
            served: counter!("strongroom_requests_total", "rpc" => name.clone(), "outcome" => "ok"),
            seconds: histogram!("strongroom_request_seconds", "rpc" => name.clone()),
            name,
        })
    }
}

fn holds_secret(message: &MessageDescriptor, seen: &mut Vec<String>) -> bool {
    if seen.iter().any(|name| name == message.full_name()) {
        return false;
    }
    seen.push(message.full_name().to_owned());
    message.full_name() == SECRET
        || message.fields().any(|field| field.kind().as_message().is_some_and(|inner| holds_secret(inner, seen)))
}

/// The message that bears secrets.
pub const SECRET: &str = "strongroom.v1.Secret";

fn rule(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Option<Rule>, Error> {
    let Some(extension) = pool.get_extension_by_name("google.api.http") else { return Ok(None) };
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    let value = options.get_extension(&extension);
    let unusable = || Error::bug(format!("the http rule of {} cannot be used", method.name()));
    let rule = value.as_message().ok_or_else(unusable)?;
    let (method, path) = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH]
        .into_iter()
        .find_map(|method| Some((method.clone(), text(rule, &method.as_str().to_lowercase())?)))
        .ok_or_else(unusable)?;
    let body = match text(rule, "body").as_deref() {
        None => false,
        Some("*") => true,
        Some(_) => return Err(unusable()),
    };
    Ok(Some(Rule { method, path, body }))
}

fn text(rule: &DynamicMessage, field: &str) -> Option<String> {
    match rule.get_field_by_name(field)?.as_ref() {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_the_protos() {
        let rpcs = Rpcs::read().unwrap();
        let rule = |method, path: &str, body| Some(Rule { method, path: path.into(), body });
        for (name, expected) in [
            ("SetupCredential", rule(Method::POST, "/integrations/{org}/{provider}/setup", true)),
            ("ListCredentials", rule(Method::GET, "/integrations/{org}", false)),
            ("UpdateMetadata", rule(Method::PUT, "/integrations/{org}/{provider}/metadata", true)),
            ("RevokeToken", rule(Method::DELETE, "/admin/tokens/{id}", false)),
            ("WatchCredentials", None),
        ] {
            assert_eq!(rpcs.get(name).unwrap().http, expected, "{name}");
        }
        assert!(rpcs.get("Nothing").is_err());
    }

    #[test]
    fn rpcs_with_secrets_are_known() {
        let rpcs = Rpcs::read().unwrap();
        let secretive: Vec<_> = rpcs.iter().filter(|rpc| rpc.carries_secret).map(|rpc| rpc.name.as_str()).collect();
        assert_eq!(
            secretive,
            [
                "BatchDecrypt",
                "ConfirmSecondFactor",
                "DecryptCredential",
                "DeriveToken",
                "EnrolSecondFactor",
                "IssueToken",
                "MintGrant",
                "RotateToken",
                "SetupCredential",
                "ValidateCredential"
            ]
        );
    }
}
