//! The keys of the KMS: what is wrapped under them, and moving it; and sealing anew.

use clap::Args;

use super::Context;
use super::error::Failure;
use super::moving::{self, News, SoFar};
use super::view::Columns;
use crate::pb::v1::{
    Key, KeyHolders, ListKeysRequest, ResealRequest, ResealResponse, RewrapFailure, RewrapRequest, RewrapResponse,
};

const KEYS: &[&str] = &["KEY", "VERSION", "IS", "VERSIONS", "ORG KEYS", "AUDIT KEYS", "SECOND FACTORS"];
const KEYS_BY_ORG: &[&str] = &["KEY", "VERSION", "ORG", "VERSIONS", "ORG KEYS", "AUDIT KEYS", "SECOND FACTORS"];

/// List what keys of the KMS are in use, and by how much: what is listed with a number must not be destroyed.
///
/// Backups and exports may need keys that are not in use here any more.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom keys --by-org")]
pub(super) struct Keys {
    /// Count by org too, which takes longer.
    #[arg(long)]
    by_org: bool,
}

impl Keys {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ListKeysRequest { by_org: self.by_org };
        let keys = context.server.admin().await?.list_keys(request).await?.into_inner().keys;
        context.out.show(&keys, |keys| match self.by_org {
            false => Columns::new(KEYS).page(keys.iter().map(|key| row(key, is(key), key.held.as_ref()))),
            true => Columns::new(KEYS_BY_ORG).page(keys.iter().flat_map(by_org)),
        })
    }
}

fn by_org(key: &Key) -> Vec<Vec<String>> {
    let mut orgs: Vec<_> = key.by_org.iter().collect();
    orgs.sort_by_key(|(org, _)| org.as_str());
    orgs.into_iter().map(|(org, held)| row(key, org.clone(), Some(held))).collect()
}

fn row(key: &Key, third: String, held: Option<&KeyHolders>) -> Vec<String> {
    let KeyHolders { versions, org_keys, audit_keys, second_factors } = held.copied().unwrap_or_default();
    let counts = [versions, org_keys, audit_keys, second_factors].map(|count| count.to_string());
    [key.key.clone(), key.version.clone(), third].into_iter().chain(counts).collect()
}

/// What a key is to this daemon.
fn is(key: &Key) -> String {
    let mut words = Vec::new();
    match (key.recovery, key.configured) {
        (true, true) => words.push("recovery".to_owned()),
        (true, false) => words.push("recovery, NOT CONFIGURED".to_owned()),
        (false, false) => words.push("NOT CONFIGURED".to_owned()),
        (false, true) if key.default => words.push("default".to_owned()),
        (false, true) if key.orgs.is_empty() => words.push("other".to_owned()),
        (false, true) => (),
    }
    words.extend(key.orgs.iter().map(|org| format!("of {org}")));
    words.join(", ")
}

/// Move wrapped keys to the newest version of their key, or to another key, while everything is served.
///
/// No credential is sealed anew. Each key is read back and opened before the old wrap of it goes, so this may be stopped
/// at any moment; run it again to go on. What cannot be opened is named and left as it is.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom rewrap --dry-run\n  strongroom rewrap --from local://old --to local://new"
)]
pub(super) struct Rewrap {
    /// The key to move to; without it, each goes to the key that is meant for its org.
    #[arg(long, value_name = "URI")]
    to: Option<String>,

    /// Only what is under this key.
    #[arg(long, value_name = "URI")]
    from: Option<String>,

    /// Only what belongs to this tenant.
    #[arg(long)]
    org: Option<String>,

    /// At most so many keys a second; as many as can be, when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Only count what there is to move.
    #[arg(long)]
    dry_run: bool,
}

impl Rewrap {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = RewrapRequest {
            to: self.to.unwrap_or_default(),
            from: self.from.unwrap_or_default(),
            org: self.org.unwrap_or_default(),
            rate: self.rate.unwrap_or_default(),
            dry_run: self.dry_run,
        };
        let news = context.server.admin_without_end().await?.rewrap(request).await?.into_inner();
        moving::follow(context, news, self.dry_run).await
    }
}

impl News for RewrapResponse {
    const NAME: &str = "rewrap";

    fn so_far(&self) -> SoFar {
        let Self { total, moved, gone, failed, done, .. } = *self;
        SoFar { total, moved, gone, failed, done }
    }

    fn left(&self) -> Vec<String> {
        let told = |it: &RewrapFailure| format!("under {} {}: {}", it.key, it.key_version, it.why);
        self.failures.iter().map(told).collect()
    }
}

/// Seal versions anew whose provider's entry in the registry names another seal than they have, while everything is served.
///
/// Their keys stay, wrapped as they are. Each version is read back and opened before the old blob of it goes, so this may
/// be stopped at any moment; run it again to go on. What cannot be opened is named and left as it is.
#[derive(Args)]
#[command(after_help = "Examples:\n  strongroom reseal --dry-run\n  strongroom reseal --provider openai --rate 100")]
pub(super) struct Reseal {
    /// Only what belongs to this tenant.
    #[arg(long)]
    org: Option<String>,

    /// Only credentials of this provider.
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// At most so many versions a second; as many as can be, when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Only count what there is to seal anew.
    #[arg(long)]
    dry_run: bool,
}

impl Reseal {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ResealRequest {
            org: self.org.unwrap_or_default(),
            provider: self.provider.unwrap_or_default(),
            rate: self.rate.unwrap_or_default(),
            dry_run: self.dry_run,
        };
        let news = context.server.admin_without_end().await?.reseal(request).await?.into_inner();
        moving::follow(context, news, self.dry_run).await
    }
}

impl News for ResealResponse {
    const NAME: &str = "reseal";

    fn so_far(&self) -> SoFar {
        let Self { total, moved, gone, failed, done, .. } = *self;
        SoFar { total, moved, gone, failed, done }
    }

    fn left(&self) -> Vec<String> {
        self.failures.iter().map(|failure| failure.why.clone()).collect()
    }
}
