//! Second factors and approvals, as the vault sees their rows.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::row::{Path, Sealed};
use super::word::Word;

/// The secret of somebody's one-time codes, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    pub id: Uuid,
    /// Whose it is: one active and one pending each.
    pub caller: String,
    pub caller_name: String,
    /// The tenant of the caller, or `*`.
    pub org: String,
    pub state: FactorState,
    pub sealed: Sealed,
    pub created_by: String,
    pub created_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
    /// No code of this step or an older one is taken any more.
    pub last_step: u64,
    /// Wrong codes in a row.
    pub failures: u32,
    /// Until then, no code is looked at.
    pub locked_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactorState {
    /// Waits for its first code. Good for nothing yet.
    Pending,
    Active,
}

impl Word for FactorState {
    const ALL: &'static [Self] = &[Self::Pending, Self::Active];

    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
        }
    }
}

impl Factor {
    /// Wrong codes in a row that cost nothing but themselves.
    const FREE: u32 = 4;
    const FIRST_LOCK: Duration = Duration::from_secs(30);
    const LONGEST_LOCK: Duration = Duration::from_secs(3600);

    /// How long a factor is locked after so many wrong codes in a row: in the long run, one guess of a million an hour.
    pub fn lock(failures: u32) -> Option<Duration> {
        let doublings = failures.checked_sub(Self::FREE + 1)?;
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        Some(Self::FIRST_LOCK.saturating_mul(factor).min(Self::LONGEST_LOCK))
    }
}

/// A request that waits for a second person, or that one has agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub id: Uuid,
    pub requester: String,
    pub requester_name: String,
    /// What else tells who the requester is, such as the subject and the address that their proof names.
    pub known_by: Vec<String>,
    pub action: String,
    /// What it is about. Parts that it is not about are empty.
    pub path: Path,
    /// Of the very request, under a key.
    pub digest: [u8; 32],
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    /// Who agreed, and when.
    pub approved: Option<(String, Timestamp)>,
}

impl Approval {
    /// Requests of one caller that are kept at a time.
    pub const MOST: u32 = 32;
}

/// What happens to somebody's second factor. [`super::Error::Stale`] where it is not as the change takes it to be.
#[derive(Clone, Debug)]
pub enum FactorChange {
    /// Keeps it, pending, in the place of one that is pending already: stale unless the active one is still this.
    Enrol { factor: Box<Factor>, beside: Option<Uuid> },
    /// A pending one's first good code: it takes the place of the active one. Stale as with [`FactorChange::Spend`].
    Confirm { caller: String, id: Uuid, step: u64 },
    /// A good code, once: stale when one of this step or a later one was spent before, or the factor is locked.
    Spend { caller: String, id: Uuid, step: u64 },
    /// A wrong code counts, and locks when there were too many in a row: stale when it is locked already. Of many at
    /// once, each is counted before it is answered.
    Miss { caller: String, id: Uuid },
    /// All that the caller has, active and pending.
    Remove { caller: String },
    /// One that nobody has confirmed.
    Forget { caller: String, id: Uuid },
}

/// What happens to a request that needs a second person. [`super::Error::Stale`] where it is not as the change takes it to
/// be.
#[derive(Clone, Debug)]
pub enum ApprovalChange {
    /// Keeps it, unless the same caller's same request is kept already. [`super::Error::Full`] when too many are.
    Request(Box<Approval>),
    /// A second person agrees, until a time: stale when another has, or its time is over.
    Approve { id: Uuid, by: String, until: Timestamp },
    /// A second person does not agree, or no longer: it is gone.
    Reject { id: Uuid },
    /// The very request that was agreed to is about to be done: stale unless it is approved, in time and this caller's.
    /// It is gone afterwards.
    Spend { id: Uuid, requester: String, digest: [u8; 32] },
    /// Its time is over: it is gone.
    Expire { id: Uuid },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_doubles_up_to_an_hour() {
        let seconds = |failures| Factor::lock(failures).map(|lock| lock.as_secs());
        assert_eq!((0..=4).map(seconds).collect::<Vec<_>>(), [None; 5]);
        let locks: Vec<_> = (5..=13).filter_map(seconds).collect();
        assert_eq!(locks, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(seconds(u32::MAX), Some(3600));
    }
}
