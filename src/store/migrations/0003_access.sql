-- API tokens: their hashes, not their texts.
CREATE TABLE tokens (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    org        TEXT    NOT NULL,
    projects   TEXT    NOT NULL,                     -- JSON
    providers  TEXT    NOT NULL,                     -- JSON
    hash       BLOB    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX tokens_by_org ON tokens (org, created_at, id);

-- The key of each org, wrapped by the KMS.
CREATE TABLE org_keys (
    org             TEXT NOT NULL PRIMARY KEY,
    wrapped         BLOB NOT NULL,
    kms_key         TEXT NOT NULL,
    kms_key_version TEXT NOT NULL
) STRICT;
