//! States and seals are enums inside, and words in rows, policies and on the wire. Stated once, here.

use super::row::{CredentialState, Health, VersionState};
use crate::crypto::Seal;

pub trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;

    fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.word() == text)
    }
}

impl Word for CredentialState {
    const ALL: &'static [Self] = &[Self::Pending, Self::Active, Self::Invalid, Self::Deleted];

    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Invalid => "invalid",
            Self::Deleted => "deleted",
        }
    }
}

impl Word for VersionState {
    const ALL: &'static [Self] = &[Self::Pending, Self::Active, Self::Superseded, Self::Destroyed, Self::Invalid];

    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Superseded => "superseded",
            Self::Destroyed => "destroyed",
            Self::Invalid => "invalid",
        }
    }
}

impl Word for Health {
    const ALL: &'static [Self] = &[Self::Disabled, Self::Expired, Self::Failing, Self::Expiring, Self::Ok];

    fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Failing => "failing",
            Self::Expiring => "expiring",
            Self::Ok => "ok",
        }
    }
}

impl Word for Seal {
    const ALL: &'static [Self] = &[Self::Aes256Gcm, Self::Fernet];

    fn word(self) -> &'static str {
        self.as_str()
    }
}
