//! What is known of issuers that many people use. Everything that a preset brings, an `[[issuer]]` may say otherwise.

use std::time::Duration;

pub struct Preset {
    pub name: &'static str,
    /// Where it is the same for everybody.
    pub issuer: Option<&'static str>,
    /// Where its keys are, if not at the issuer's own host.
    pub jwks_hosts: &'static [&'static str],
    /// Attributes, and the claims that they come from.
    pub claims: &'static [(&'static str, &'static str)],
    /// Everybody can have a token of such an issuer, so each caller must say whose: by one of these.
    pub tenancy: &'static [&'static str],
    /// What each subject begins with: a pattern of no more than that says nothing.
    pub common: &'static str,
    /// An attribute that counts only while the claim beside it is `true`.
    pub vouched: Option<(&'static str, &'static str)>,
    pub max_age: Duration,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

pub const PRESETS: [Preset; 6] = [
    Preset {
        name: "github",
        issuer: Some("https://token.actions.githubusercontent.com"),
        jwks_hosts: &[],
        claims: &[
            ("run", "run_id"),
            ("run_attempt", "run_attempt"),
            ("repository", "repository"),
            ("repository_id", "repository_id"),
            ("repository_owner", "repository_owner"),
            ("repository_owner_id", "repository_owner_id"),
            ("repository_visibility", "repository_visibility"),
            ("enterprise_id", "enterprise_id"),
            ("ref", "ref"),
            ("ref_type", "ref_type"),
            ("ref_protected", "ref_protected"),
            ("sha", "sha"),
            ("environment", "environment"),
            ("event_name", "event_name"),
            ("workflow_ref", "workflow_ref"),
            ("job_workflow_ref", "job_workflow_ref"),
            ("runner_environment", "runner_environment"),
            ("actor", "actor"),
            ("actor_id", "actor_id"),
        ],
        tenancy: &[
            "repository_id",
            "repository_owner_id",
            "enterprise_id",
            "repository",
            "repository_owner",
            "job_workflow_ref",
            "sub",
        ],
        common: "repo:",
        vouched: None,
        max_age: HOUR,
    },
    Preset {
        name: "gitlab",
        issuer: Some("https://gitlab.com"),
        jwks_hosts: &[],
        claims: &[
            ("run", "pipeline_id"),
            ("pipeline_source", "pipeline_source"),
            ("job_id", "job_id"),
            ("project_id", "project_id"),
            ("project_path", "project_path"),
            ("namespace_id", "namespace_id"),
            ("namespace_path", "namespace_path"),
            ("ref", "ref"),
            ("ref_path", "ref_path"),
            ("ref_type", "ref_type"),
            ("ref_protected", "ref_protected"),
            ("sha", "sha"),
            ("environment", "environment"),
            ("environment_protected", "environment_protected"),
            ("deployment_tier", "deployment_tier"),
            ("runner_id", "runner_id"),
            ("runner_environment", "runner_environment"),
            ("ci_config_ref_uri", "ci_config_ref_uri"),
            ("user_id", "user_id"),
            ("user_login", "user_login"),
        ],
        tenancy: &["project_id", "namespace_id", "project_path", "namespace_path", "sub"],
        common: "project_path:",
        vouched: None,
        // As long as the job may run.
        max_age: DAY,
    },
    Preset {
        name: "kubernetes",
        issuer: None,
        jwks_hosts: &[],
        claims: &[
            ("namespace", "/kubernetes.io/namespace"),
            ("serviceaccount", "/kubernetes.io/serviceaccount/name"),
            ("serviceaccount_uid", "/kubernetes.io/serviceaccount/uid"),
            ("pod", "/kubernetes.io/pod/name"),
            ("pod_uid", "/kubernetes.io/pod/uid"),
            ("node", "/kubernetes.io/node/name"),
            ("node_uid", "/kubernetes.io/node/uid"),
        ],
        tenancy: &["namespace", "serviceaccount_uid", "sub"],
        common: "system:serviceaccount:",
        vouched: None,
        max_age: DAY,
    },
    Preset {
        name: "google",
        issuer: Some("https://accounts.google.com"),
        jwks_hosts: &["www.googleapis.com"],
        claims: &[
            ("email", "email"),
            ("hosted_domain", "hd"),
            ("authorized_party", "azp"),
            ("project_id", "/google/compute_engine/project_id"),
            ("project_number", "/google/compute_engine/project_number"),
            ("zone", "/google/compute_engine/zone"),
            ("instance_id", "/google/compute_engine/instance_id"),
            ("instance_name", "/google/compute_engine/instance_name"),
        ],
        tenancy: &["sub", "email", "hosted_domain", "project_id", "project_number"],
        common: "",
        vouched: Some(("email", "email_verified")),
        max_age: Duration::from_secs(65 * 60),
    },
    Preset {
        name: "azure",
        issuer: None,
        jwks_hosts: &["login.microsoftonline.com", "login.windows.net"],
        claims: &[
            ("tenant_id", "tid"),
            ("object_id", "oid"),
            ("app_id", "appid"),
            ("authorized_party", "azp"),
            ("identity_type", "idtyp"),
            ("resource_id", "xms_mirid"),
        ],
        tenancy: &["object_id", "app_id", "authorized_party", "resource_id", "sub"],
        common: "",
        vouched: None,
        // What a managed identity gets is good for a day, and says that it began five minutes ago.
        max_age: Duration::from_secs(25 * 60 * 60),
    },
    Preset {
        name: "terraform",
        issuer: Some("https://app.terraform.io"),
        jwks_hosts: &[],
        claims: &[
            ("run", "terraform_run_id"),
            ("phase", "terraform_run_phase"),
            ("organization_id", "terraform_organization_id"),
            ("organization", "terraform_organization_name"),
            ("project_id", "terraform_project_id"),
            ("project", "terraform_project_name"),
            ("workspace_id", "terraform_workspace_id"),
            ("workspace", "terraform_workspace_name"),
            ("full_workspace", "terraform_full_workspace"),
        ],
        tenancy: &["organization_id", "project_id", "workspace_id", "organization", "full_workspace", "sub"],
        common: "organization:",
        vouched: None,
        // As long as a run may take.
        max_age: DAY,
    },
];
