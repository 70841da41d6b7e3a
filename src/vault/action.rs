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
    DeriveToken = "deriveToken",
    RotateToken = "rotateToken",
    MintGrant = "mintGrant",
    RevokeGrant = "revokeGrant",
    ListGrants = "listGrants",
    ListAudit = "listAudit",
    VerifyAudit = "verifyAudit",
    ExportAudit = "exportAudit",
    ExportVault = "exportVault",
    GetAuditKey = "getAuditKey",
    RotateAuditKey = "rotateAuditKey",
    ListProviders = "listProviders",
    ListKeys = "listKeys",
    Rewrap = "rewrap",
    Reseal = "reseal",
    EnrolSecondFactor = "enrolSecondFactor",
    ConfirmSecondFactor = "confirmSecondFactor",
    RemoveSecondFactor = "removeSecondFactor",
    ManageSecondFactors = "manageSecondFactors",
    ListSecondFactors = "listSecondFactors",
    ListApprovals = "listApprovals",
    ApproveRequest = "approveRequest",
    RejectRequest = "rejectRequest",
    ExplainPolicy = "explainPolicy",
    DestroyOrg = "destroyOrg",
    RestoreOrg = "restoreOrg",
    ListOrgDestructions = "listOrgDestructions",
    // The daemon's own doing: never asked of a policy.
    Authenticate = "authenticate",
    StepUp = "stepUp",
    RequestApproval = "requestApproval",
    UseApproval = "useApproval",
    ExpireApproval = "expireApproval",
    Probe = "probe",
    Revalidate = "revalidate",
    Health = "health",
    Destroy = "destroy",
    ShredOrg = "shredOrg",
    OrgDestroyed = "orgDestroyed",
    KeepOrgKey = "keepOrgKey",
    KeepWraps = "keepWraps",
    KeepBlobs = "keepBlobs",
    Recover = "recover",
    ProveRecovery = "proveRecovery",
    ReplacePolicies = "replacePolicies",
    KeepAuditKey = "keepAuditKey",
    PruneAudit = "pruneAudit",
    ImportVault = "importVault",
}

impl Action {
    /// The action of a word, if a policy can be asked about it.
    pub fn named(word: &str) -> Option<Self> {
        Self::asked().find(|action| action.as_str() == word)
    }

    /// All but the daemon's own doing, which stands last.
    pub fn asked() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().take_while(|action| *action != Self::Authenticate)
    }
}
