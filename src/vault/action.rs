//! What can be done, by the words that policies and the audit log use.

macro_rules! actions {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($variant),+ }

        impl Action {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

actions! {
    Setup = "setup",
    SkipProbe = "skipProbe",
    Validate = "validate",
    Get = "get",
    Delete = "delete",
    Undelete = "undelete",
    UpdateMetadata = "updateMetadata",
    Decrypt = "decrypt",
    ListVersions = "listVersions",
    Activate = "activate",
    List = "list",
    Watch = "watch",
    IssueToken = "issueToken",
    RevokeToken = "revokeToken",
    ListTokens = "listTokens",
    ListAudit = "listAudit",
    VerifyAudit = "verifyAudit",
    ExportAudit = "exportAudit",
    GetAuditKey = "getAuditKey",
    RotateAuditKey = "rotateAuditKey",
    ListProviders = "listProviders",
    // The daemon's own doing: never asked of a policy.
    Authenticate = "authenticate",
    Probe = "probe",
    Revalidate = "revalidate",
    Health = "health",
    Destroy = "destroy",
    KeepOrgKey = "keepOrgKey",
    KeepAuditKey = "keepAuditKey",
    PruneAudit = "pruneAudit",
}
