-- Times are microseconds since 1970 UTC. Ids are UUIDs as 16 bytes, time-ordered. Names compare by their bytes.

-- 'Strm': tells our files from other people's.
PRAGMA application_id = 1400140397;

-- The instance that writes this database's audit chain, and what else there is one of.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- One row per credential, tombstones too. What is served is repeated here, so that a list reads one table.
CREATE TABLE credentials (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org             TEXT    NOT NULL,
    project         TEXT    NOT NULL,
    provider        TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'active', 'invalid', 'deleted')),
    disabled        INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    failing_since   INTEGER,
    active_version  INTEGER,
    latest_version  INTEGER NOT NULL,
    fingerprint     TEXT    NOT NULL,
    public_identity TEXT    NOT NULL,                -- JSON
    metadata        TEXT    NOT NULL,                -- JSON
    labels          TEXT    NOT NULL,                -- JSON
    revision        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    deleted_at      INTEGER,
    destroy_at      INTEGER,                         -- set while a tombstone's ciphertext is still there
    CHECK ((state = 'deleted') = (deleted_at IS NOT NULL)),
    CHECK ((state = 'active') = (active_version IS NOT NULL)),
    CHECK (destroy_at IS NULL OR deleted_at IS NOT NULL)
) STRICT;

-- A name belongs to one live credential. The other four carry the pages of a list, whatever the filter.
CREATE UNIQUE INDEX credentials_live ON credentials (org, project, provider, name) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_provider ON credentials (org, provider, project, name, id) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_state ON credentials (org, state, project, provider, name, id) WHERE deleted_at IS NULL;
CREATE INDEX credentials_gone ON credentials (org, project, provider, name, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX credentials_due ON credentials (destroy_at, id) WHERE destroy_at IS NOT NULL;

-- One row per version: what was sealed. Rows are appended, never deleted, and never change their size: a destroyed blob
-- and its wrapped key are overwritten with as many zeros. SQLite moves rows between pages when their sizes change and
-- leaves the old bytes behind in unused space, secure_delete or not; a row that never moves leaves nothing behind.
-- Whatever has to change lives in the table below.
CREATE TABLE org_integration_credentials (
    credential_id   BLOB    NOT NULL REFERENCES credentials (id),
    version         INTEGER NOT NULL,
    fingerprint     TEXT    NOT NULL,
    digest          BLOB    NOT NULL CHECK (length(digest) = 32),
    public_identity TEXT    NOT NULL,                -- JSON
    seal            TEXT    NOT NULL,
    kms_key         TEXT    NOT NULL,
    kms_key_version TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    sealed_blob     BLOB    NOT NULL,
    wrapped_dek     BLOB    NOT NULL,
    PRIMARY KEY (credential_id, version)
) STRICT;

-- What became of each version.
CREATE TABLE org_integration_credential_states (
    credential_id BLOB    NOT NULL,
    version       INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('pending', 'active', 'superseded', 'destroyed', 'invalid')),
    probe         TEXT,                              -- JSON
    activated_at  INTEGER,
    destroyed_at  INTEGER,
    PRIMARY KEY (credential_id, version),
    FOREIGN KEY (credential_id, version) REFERENCES org_integration_credentials (credential_id, version)
) STRICT;

-- At most one version is served.
CREATE UNIQUE INDEX served ON org_integration_credential_states (credential_id) WHERE state = 'active';

-- What happened to credentials, for those who watch. A sequence number is never used twice.
CREATE TABLE changes (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    org           TEXT    NOT NULL,
    credential_id BLOB    NOT NULL REFERENCES credentials (id),
    change        TEXT    NOT NULL,
    version       INTEGER,
    at            INTEGER NOT NULL
) STRICT;

CREATE INDEX changes_by_org ON changes (org, sequence);
