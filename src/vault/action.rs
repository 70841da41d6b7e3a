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
    ListProviders = "listProviders",
    // The daemon's own doing: never asked of a policy.
    Authenticate = "authenticate",
    Probe = "probe",
    Revalidate = "revalidate",
    Health = "health",
    Destroy = "destroy",
    KeepOrgKey = "keepOrgKey",
}

impl Action {
    /// The action of a word, if a policy can be asked about it.
    pub fn named(word: &str) -> Option<Self> {
        Self::asked().find(|action| action.as_str() == word)
    }

    /// All but the daemon's own doing.
    pub fn asked() -> impl Iterator<Item = Self> {
        use Action as A;
        let own = [A::Authenticate, A::Probe, A::Revalidate, A::Health, A::Destroy, A::KeepOrgKey];
        Self::ALL.iter().copied().filter(move |action| !own.contains(action))
    }
}
