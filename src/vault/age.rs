//! What a credential's owner should know now: when its secret is to be replaced, and what is wrong or soon will be. Derived
//! when it is looked at.

use std::time::Duration;

use jiff::Timestamp;

use crate::providers::Provider;
use crate::store::{Credential, Health};
use crate::vault::Vault;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is shown beside a credential's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// When its secret is as old as it should become.
    pub rotate_by: Option<Timestamp>,
    /// In a sentence each.
    pub warnings: Vec<String>,
    /// When it is tested next, if it is tested at all.
    pub next_test_at: Option<Timestamp>,
}

impl Vault {
    pub fn outlook(&self, credential: &Credential, now: Timestamp) -> Outlook {
        let registry = self.registry.load();
        let provider = registry.get(&credential.path.provider);
        let days = rotation_days(credential, provider.map(|it| it.as_ref()));
        let rotate_by = days.and_then(|days| credential.secret_created_at.saturating_add(DAY * days).ok());
        let mut warnings = credential.warnings.clone();
        if let (Some(days), Some(end)) = (days, rotate_by)
            && end <= now
        {
            warnings.push(format!("this secret is older than {days} days: replace it"));
        }
        warnings.extend(ending(credential, now));
        warnings.dedup();
        let is_tested = provider.is_some_and(|it| self.untested(it, &credential.metadata).is_none());
        Outlook { rotate_by, warnings, next_test_at: credential.next_test_at.filter(|_| is_tested) }
    }
}

fn ending(credential: &Credential, now: Timestamp) -> Option<String> {
    let end = credential.expires_at?;
    if end <= now {
        return Some(format!("it expired on {}: replace it", end.strftime("%Y-%m-%d")));
    }
    let left = end.duration_since(now);
    (left <= Health::EXPIRING).then(|| match left.as_hours() / 24 {
        0 => "it expires within a day: replace it".to_owned(),
        1 => "it expires in 1 day: replace it".to_owned(),
        days => format!("it expires in {days} days: replace it"),
    })
}

/// The owner's word stands above the registry's.
fn rotation_days(credential: &Credential, provider: Option<&Provider>) -> Option<u32> {
    let own = credential.metadata.get("rotation_days").and_then(|days| u32::try_from(days.as_u64()?).ok());
    own.or_else(|| provider?.rotation_days)
}
