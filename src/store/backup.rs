//! What leaves a store as a whole, and comes back into an empty one, whichever store that is: the rows as they are meant.
//! Each table of a store is here, or in [`LEFT_OUT`] with its reason.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Error;

/// Of the tables below. It is counted up with the store's migrations.
pub const SCHEMA: u32 = super::sqlite::SCHEMA;

/// Rows of one table after another, of one moment, in pieces of bounded size; and none after the last.
pub type Rows = mpsc::Receiver<Next>;
pub type Next = Result<Option<Piece>, Error>;

#[derive(Debug)]
pub struct Piece {
    pub table: &'static Table,
    pub rows: Vec<Vec<Cell>>,
}

pub struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
}

pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UUID's 16 bytes.
    Id,
    /// 32 bytes.
    Hash,
    Bytes,
    Text,
    /// A text that is JSON.
    Json,
    Flag,
    /// A whole number that is not negative.
    Count,
    /// Microseconds since 1970 UTC.
    Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What stays behind, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("approvals", "they last for minutes, and one that was used since would be good once more"),
    ("wrapping_keys", "each wrap names its key"),
    ("resealed_blobs", "what is read of them stands in its version's row"),
    ("sqlite_sequence", "counted anew from the rows"),
];
pub const COLUMNS_LEFT_OUT: &[(&str, &str, &str)] =
    &[("org_integration_credential_tests", "id", "the order of the rows says as much")];
/// Rows of `meta` that mean nothing elsewhere.
pub const META_LEFT_OUT: &[(&str, &str)] = &[
    ("proofs", "counts how often this very file was written to"),
    ("migration", "tells of this very database"),
    ("company", "is found out anew from the records"),
];

const fn has(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, optional: false }
}

const fn may(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, optional: true }
}

/// In an order in which each row comes after those that it points at.
pub static TABLES: &[Table] = &[
    Table { name: "meta", columns: &[has("key", Kind::Text), has("value", Kind::Text)] },
    Table {
        name: "audit_keys",
        columns: &[
            has("instance", Kind::Text),
            has("number", Kind::Count),
            has("public", Kind::Hash),
            has("created_at", Kind::Time),
        ],
    },
    // The live ones; `holder` is drawn in wrap.rs.
    Table {
        name: "wraps",
        columns: &[
            has("holder", Kind::Bytes),
            has("key", Kind::Text),
            has("key_version", Kind::Text),
            has("bytes", Kind::Bytes),
        ],
    },
    Table {
        name: "credentials",
        columns: &[
            has("id", Kind::Id),
            has("org", Kind::Text),
            has("project", Kind::Text),
            has("provider", Kind::Text),
            has("name", Kind::Text),
            has("state", Kind::Text),
            has("disabled", Kind::Flag),
            may("failing_since", Kind::Time),
            may("active_version", Kind::Count),
            has("latest_version", Kind::Count),
            has("fingerprint", Kind::Text),
            has("public_identity", Kind::Json),
            has("metadata", Kind::Json),
            has("labels", Kind::Json),
            has("revision", Kind::Count),
            has("created_at", Kind::Time),
            has("updated_at", Kind::Time),
            may("expires_at", Kind::Time),
            may("deleted_at", Kind::Time),
            may("destroy_at", Kind::Time),
            may("declared_expires_at", Kind::Time),
            has("secret_created_at", Kind::Time),
            has("warnings", Kind::Json),
            may("last_test", Kind::Json),
            may("next_test_at", Kind::Time),
            has("told_health", Kind::Text),
            may("tell_at", Kind::Time),
        ],
    },
    // A destroyed version's blob is empty.
    Table {
        name: "org_integration_credentials",
        columns: &[
            has("credential_id", Kind::Id),
            has("version", Kind::Count),
            has("fingerprint", Kind::Text),
            has("digest", Kind::Hash),
            has("public_identity", Kind::Json),
            has("seal", Kind::Text),
            has("created_by", Kind::Text),
            has("created_at", Kind::Time),
            has("sealed_blob", Kind::Bytes),
        ],
    },
    Table {
        name: "org_integration_credential_states",
        columns: &[
            has("credential_id", Kind::Id),
            has("version", Kind::Count),
            has("state", Kind::Text),
            may("probe", Kind::Json),
            may("activated_at", Kind::Time),
            may("destroyed_at", Kind::Time),
            may("probe_at", Kind::Time),
            has("failures", Kind::Count),
            may("learned", Kind::Json),
            may("expires_at", Kind::Time),
            has("warnings", Kind::Json),
        ],
    },
    // Of each credential, oldest first.
    Table {
        name: "org_integration_credential_tests",
        columns: &[
            has("credential_id", Kind::Id),
            has("version", Kind::Count),
            has("at", Kind::Time),
            has("outcome", Kind::Text),
            has("reason", Kind::Text),
            has("hint", Kind::Text),
        ],
    },
    Table {
        name: "tokens",
        columns: &[
            has("id", Kind::Id),
            has("name", Kind::Text),
            has("role", Kind::Text),
            has("org", Kind::Text),
            has("projects", Kind::Json),
            has("providers", Kind::Json),
            has("hash", Kind::Hash),
            has("created_by", Kind::Text),
            has("created_at", Kind::Time),
            has("expires_at", Kind::Time),
            may("revoked_at", Kind::Time),
            has("actions", Kind::Json),
            may("parent", Kind::Id),
            may("replaces", Kind::Id),
            may("last_used_at", Kind::Time),
        ],
    },
    Table {
        name: "grants",
        columns: &[
            has("id", Kind::Id),
            has("org", Kind::Text),
            has("run", Kind::Text),
            has("phase", Kind::Text),
            has("credentials", Kind::Json),
            may("holder", Kind::Text),
            has("uses", Kind::Count),
            has("used", Kind::Count),
            has("hash", Kind::Hash),
            has("minted_by", Kind::Text),
            may("minted_with", Kind::Id),
            has("created_at", Kind::Time),
            has("expires_at", Kind::Time),
            may("revoked_at", Kind::Time),
        ],
    },
    Table {
        name: "second_factors",
        columns: &[
            has("caller", Kind::Text),
            has("state", Kind::Text),
            has("id", Kind::Id),
            has("caller_name", Kind::Text),
            has("org", Kind::Text),
            has("blob", Kind::Bytes),
            has("created_by", Kind::Text),
            has("created_at", Kind::Time),
            may("confirmed_at", Kind::Time),
            has("last_step", Kind::Count),
            has("failures", Kind::Count),
            may("locked_until", Kind::Time),
        ],
    },
    Table {
        name: "org_destructions",
        columns: &[
            has("id", Kind::Id),
            has("org", Kind::Text),
            has("requested_by", Kind::Text),
            has("requested_by_name", Kind::Text),
            has("requested_at", Kind::Time),
            has("destroy_at", Kind::Time),
            may("began_at", Kind::Time),
            may("ended_at", Kind::Time),
            has("toll", Kind::Json),
            may("proof", Kind::Json),
        ],
    },
    // `sequence` is where a watch goes on.
    Table {
        name: "changes",
        columns: &[
            has("sequence", Kind::Count),
            has("org", Kind::Text),
            has("credential_id", Kind::Id),
            has("change", Kind::Text),
            may("version", Kind::Count),
            has("at", Kind::Time),
        ],
    },
    // `position` is what checkpoints, the boundary and the cursors name.
    Table {
        name: "audit_log",
        columns: &[
            has("position", Kind::Count),
            has("instance", Kind::Text),
            has("sequence", Kind::Count),
            has("org", Kind::Text),
            may("credential_id", Kind::Id),
            has("canonical", Kind::Json),
            has("hash", Kind::Hash),
            may("run", Kind::Text),
        ],
    },
    Table {
        name: "audit_checkpoints",
        columns: &[
            has("instance", Kind::Text),
            has("size", Kind::Count),
            has("note", Kind::Text),
            has("head", Kind::Hash),
            has("frontier", Kind::Bytes),
            has("after", Kind::Count),
            has("position", Kind::Count),
            has("oldest_at", Kind::Time),
            has("newest_at", Kind::Time),
        ],
    },
    Table {
        name: "audit_boundaries",
        columns: &[has("instance", Kind::Text), has("size", Kind::Count), has("position", Kind::Count)],
    },
    Table { name: "audit_cursors", columns: &[has("copy", Kind::Text), has("reached", Kind::Count)] },
];

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({})", self.name)
    }
}

impl Table {
    pub fn columns(&self) -> Vec<&'static str> {
        self.columns.iter().map(|column| column.name).collect()
    }

    /// Those that name a row: its first ones.
    pub fn names(&self) -> &'static [Column] {
        let count = match self.name {
            "wraps" | "org_integration_credential_tests" => 3,
            "audit_keys"
            | "org_integration_credentials"
            | "org_integration_credential_states"
            | "second_factors"
            | "audit_checkpoints" => 2,
            _ => 1,
        };
        &self.columns[..count]
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The cells of a row of an export; or what is wrong with which.
    pub fn read(&self, row: Vec<Value>) -> Result<Vec<Cell>, String> {
        if row.len() != self.columns.len() {
            return Err(format!("a row of {} has {} cells, not {}", self.name, row.len(), self.columns.len()));
        }
        let cells = self.columns.iter().zip(row).map(|(column, value)| {
            let wrong = || format!("{} of a row of {} is not {}", column.name, self.name, column.kind.what());
            match value {
                Value::Null if column.optional => Ok(Cell::Null),
                value => column.kind.read(value).ok_or_else(wrong),
            }
        });
        cells.collect()
    }
}

impl Kind {
    fn read(self, value: Value) -> Option<Cell> {
        Some(match (self, value) {
            (Self::Text, Value::String(text)) => Cell::Text(text),
            (Self::Json, Value::String(text)) => {
                serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
                Cell::Text(text)
            }
            (Self::Id | Self::Hash | Self::Bytes, Value::String(text)) => {
                let bytes = STANDARD.decode(text).ok()?;
                let is_long_enough = match self {
                    Self::Id => bytes.len() == 16,
                    Self::Hash => bytes.len() == 32,
                    _ => true,
                };
                Cell::Bytes(Some(bytes).filter(|_| is_long_enough)?)
            }
            (kind, Value::Number(number)) => {
                let number = number.as_i64()?;
                let fits = match kind {
                    Self::Flag => (0..=1).contains(&number),
                    Self::Count => number >= 0,
                    Self::Time => Timestamp::from_microsecond(number).is_ok(),
                    _ => false,
                };
                Cell::Integer(Some(number).filter(|_| fits)?)
            }
            _ => return None,
        })
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Id => "an id",
            Self::Hash => "32 bytes in base64",
            Self::Bytes => "bytes in base64",
            Self::Text => "a text",
            Self::Json => "JSON in a text",
            Self::Flag => "0 or 1",
            Self::Count => "a whole number that is not negative",
            Self::Time => "a time",
        }
    }
}

impl Cell {
    pub fn write(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => STANDARD.encode(bytes).into(),
        }
    }

    /// What a piece may hold of is counted by this.
    pub const fn size(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}
