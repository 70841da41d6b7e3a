-- The tables that SQLite has after its own migrations (src/store/migrations), column by column, because the statements
-- that read and write them are the same ones. A test compares the two. What stands here and not there: schema_versions,
-- which schema.rs makes, turn, instances, leases, and that no instance numbers a record twice.
--
-- Times are microseconds since 1970 UTC. Ids are UUIDs as 16 bytes, time-ordered. Names compare by their bytes,
-- whatever collation the database was made with.
--
-- What PostgreSQL keeps of what was destroyed: overwriting a blob or a wrap makes a new row version. The old one, with
-- its bytes, stays in the table's file until VACUUM, and may be read in that file after it; it stays in the write-ahead
-- log, on replicas that lag behind, and in every backup of the server. Nothing here can wipe it. A blob without its
-- wrap is worthless; but the wrap that was dropped is kept in the very same places. Whoever has those, and may also ask
-- the KMS to unwrap, can open what was destroyed, until the old bytes have gone from all of these or the KMS key has.

-- Whoever changes rows takes this one FOR UPDATE first, so that the changes of all replicas come one after another.
CREATE TABLE turn (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1)
);
INSERT INTO turn (id) VALUES (1);

-- The audit chains, and which process writes each: none writes one without a holder. One that was not seen for long has
-- died.
CREATE TABLE instances (
    instance TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder   BYTEA CHECK (length(holder) = 16),
    seen_at  BIGINT NOT NULL
);

-- What one process at a time does for all, and until when it is the one.
CREATE TABLE leases (
    name   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder BYTEA            NOT NULL CHECK (length(holder) = 16),
    until  BIGINT           NOT NULL
);

-- What there is one of.
CREATE TABLE meta (
    key   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);

-- One row per credential, tombstones too. What is served is repeated here, so that a list reads one table.
CREATE TABLE credentials (
    id                  BYTEA            NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org                 TEXT COLLATE "C" NOT NULL,
    project             TEXT COLLATE "C" NOT NULL,
    provider            TEXT COLLATE "C" NOT NULL,
    name                TEXT COLLATE "C" NOT NULL,
    state               TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'active', 'invalid', 'deleted')),
    disabled            BIGINT           NOT NULL CHECK (disabled IN (0, 1)),
    failing_since       BIGINT,
    active_version      BIGINT,
    latest_version      BIGINT           NOT NULL,
    fingerprint         TEXT COLLATE "C" NOT NULL,
    public_identity     TEXT COLLATE "C" NOT NULL,   -- JSON
    metadata            TEXT COLLATE "C" NOT NULL,   -- JSON
    labels              TEXT COLLATE "C" NOT NULL,   -- JSON
    revision            BIGINT           NOT NULL,
    created_at          BIGINT           NOT NULL,
    updated_at          BIGINT           NOT NULL,
    expires_at          BIGINT,                      -- the earliest of all that is known
    deleted_at          BIGINT,
    destroy_at          BIGINT,                      -- set while a tombstone's ciphertext is still there
    declared_expires_at BIGINT,                      -- the owner's word alone
    -- These three are repeated from the version that is shown.
    secret_created_at   BIGINT           NOT NULL DEFAULT 0,
    warnings            TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON
    last_test           TEXT COLLATE "C",            -- JSON
    next_test_at        BIGINT,                      -- of its versions the earliest; none while disabled or deleted
    -- The health that watchers know, and when time alone will change it.
    told_health         TEXT COLLATE "C" NOT NULL DEFAULT 'ok'
        CHECK (told_health IN ('ok', 'expiring', 'failing', 'expired')),
    tell_at             BIGINT,
    CHECK ((state = 'deleted') = (deleted_at IS NOT NULL)),
    CHECK ((state = 'active') = (active_version IS NOT NULL)),
    CHECK (destroy_at IS NULL OR deleted_at IS NOT NULL)
);

-- A name belongs to one live credential. The next three and it carry the pages of a list, whatever the filter.
CREATE UNIQUE INDEX credentials_live ON credentials (org, project, provider, name) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_provider ON credentials (org, provider, project, name, id) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_state ON credentials (org, state, project, provider, name, id)
    WHERE deleted_at IS NULL;
CREATE INDEX credentials_gone ON credentials (org, project, provider, name, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX credentials_due ON credentials (destroy_at, id) WHERE destroy_at IS NOT NULL;
-- What of an org waits to be destroyed.
CREATE INDEX credentials_kept ON credentials (org, id) WHERE destroy_at IS NOT NULL;
CREATE INDEX credentials_to_test ON credentials (provider, next_test_at, org, id) WHERE next_test_at IS NOT NULL;
CREATE INDEX credentials_to_tell ON credentials (tell_at, id) WHERE tell_at IS NOT NULL;
CREATE INDEX credentials_unhealthy ON credentials (told_health, deleted_at, disabled)
    WHERE told_health <> 'ok' AND deleted_at IS NULL AND disabled = 0;

-- One row per version: what was sealed. Rows are never deleted; a destroyed blob is overwritten with as many zeros.
CREATE TABLE org_integration_credentials (
    credential_id   BYTEA            NOT NULL REFERENCES credentials (id),
    version         BIGINT           NOT NULL,
    fingerprint     TEXT COLLATE "C" NOT NULL,
    digest          BYTEA            NOT NULL CHECK (length(digest) = 32),
    public_identity TEXT COLLATE "C" NOT NULL,       -- JSON
    seal            TEXT COLLATE "C" NOT NULL,
    created_by      TEXT COLLATE "C" NOT NULL,
    created_at      BIGINT           NOT NULL,
    sealed_blob     BYTEA            NOT NULL,
    PRIMARY KEY (credential_id, version)
);

-- What became of each version; when it is tested next, and how many tests in a row have not found it well.
CREATE TABLE org_integration_credential_states (
    credential_id BYTEA            NOT NULL,
    version       BIGINT           NOT NULL,
    state         TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'active', 'superseded', 'destroyed', 'invalid')),
    probe         TEXT COLLATE "C",                  -- JSON
    activated_at  BIGINT,
    destroyed_at  BIGINT,
    probe_at      BIGINT,
    failures      BIGINT           NOT NULL DEFAULT 0,
    learned       TEXT COLLATE "C",                  -- JSON: the newest test that found it well
    expires_at    BIGINT,                            -- with the warnings, what the upload itself told
    warnings      TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON
    PRIMARY KEY (credential_id, version),
    FOREIGN KEY (credential_id, version) REFERENCES org_integration_credentials (credential_id, version)
);

-- At most one version is served.
CREATE UNIQUE INDEX served ON org_integration_credential_states (credential_id) WHERE state = 'active';

-- The newest tests of each credential.
CREATE TABLE org_integration_credential_tests (
    id            BIGINT           GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    credential_id BYTEA            NOT NULL REFERENCES credentials (id),
    version       BIGINT           NOT NULL,
    at            BIGINT           NOT NULL,
    outcome       TEXT COLLATE "C" NOT NULL,
    reason        TEXT COLLATE "C" NOT NULL,
    hint          TEXT COLLATE "C" NOT NULL
);

CREATE INDEX tests_by_credential ON org_integration_credential_tests (credential_id, id);

-- Blobs that were sealed anew. What one takes over from is overwritten with as many zeros.
CREATE TABLE resealed_blobs (
    id            BIGINT           GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    state         TEXT COLLATE "C" NOT NULL CHECK (state IN ('next', 'live', 'gone')),
    credential_id BYTEA            NOT NULL,
    version       BIGINT           NOT NULL,
    seal          TEXT COLLATE "C" NOT NULL,
    sealed_blob   BYTEA            NOT NULL,
    FOREIGN KEY (credential_id, version) REFERENCES org_integration_credentials (credential_id, version)
);

CREATE INDEX resealed_by_version ON resealed_blobs (credential_id, version);
-- What is read, where there is one.
CREATE UNIQUE INDEX resealed_live ON resealed_blobs (credential_id, version) WHERE state = 'live';
-- What was not proven yet.
CREATE UNIQUE INDEX resealed_next ON resealed_blobs (credential_id, version) WHERE state = 'next';

-- What happened to credentials, for those who watch. A sequence number is never used twice.
CREATE TABLE changes (
    sequence      BIGINT           GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    org           TEXT COLLATE "C" NOT NULL,
    credential_id BYTEA            NOT NULL REFERENCES credentials (id),
    change        TEXT COLLATE "C" NOT NULL,
    version       BIGINT,
    at            BIGINT           NOT NULL
);

CREATE INDEX changes_by_org ON changes (org, sequence);

-- The audit log. The hottest table: every answered plaintext is a row here. So it has few indexes, and each takes its
-- newest entries at the end of a key's run. Positions are given out before a row is committed: a lower one may appear
-- later.
CREATE TABLE audit_log (
    position      BIGINT           GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    instance      TEXT COLLATE "C" NOT NULL,
    sequence      BIGINT           NOT NULL,
    org           TEXT COLLATE "C" NOT NULL,
    credential_id BYTEA,
    canonical     TEXT COLLATE "C" NOT NULL,         -- JSON, as the hash covers it
    hash          BYTEA            NOT NULL,
    -- The run that a record belongs to, where there is one: a column of its own, so that a run's records are found
    -- quickly and nobody else's cost more to write.
    run           TEXT COLLATE "C",
    UNIQUE (instance, sequence)
);

-- An instance's records in their order; its newest.
CREATE INDEX audit_log_by_instance ON audit_log (instance, position);
CREATE INDEX audit_log_by_org ON audit_log (org, position);
CREATE INDEX audit_log_by_credential ON audit_log (credential_id, position) WHERE credential_id IS NOT NULL;
CREATE INDEX audit_log_by_run ON audit_log (run, position) WHERE run IS NOT NULL;

-- The keys that sign checkpoints. An instance's newest signs.
CREATE TABLE audit_keys (
    instance   TEXT COLLATE "C" NOT NULL,
    number     BIGINT           NOT NULL,
    public     BYTEA            NOT NULL CHECK (length(public) = 32),
    created_at BIGINT           NOT NULL,
    PRIMARY KEY (instance, number)
);

-- Each stands for the records of its instance after the one before it, up to its size. The times are those of its span.
CREATE TABLE audit_checkpoints (
    instance  TEXT COLLATE "C" NOT NULL,
    size      BIGINT           NOT NULL,
    note      TEXT COLLATE "C" NOT NULL,             -- signed
    head      BYTEA            NOT NULL CHECK (length(head) = 32),
    frontier  BYTEA            NOT NULL,             -- of the tree, to go on from
    after     BIGINT           NOT NULL,             -- the position before the span's first record
    position  BIGINT           NOT NULL,             -- that of its last
    oldest_at BIGINT           NOT NULL,
    newest_at BIGINT           NOT NULL,
    PRIMARY KEY (instance, size)
);

-- For queries by time.
CREATE INDEX audit_checkpoints_by_time ON audit_checkpoints (position, after, oldest_at, newest_at);

-- Where an instance's log begins: after the checkpoint of this size. What is older is not shown any more, and swept
-- away.
CREATE TABLE audit_boundaries (
    instance TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    size     BIGINT           NOT NULL,
    position BIGINT           NOT NULL
);

-- How far each copy of the log has come.
CREATE TABLE audit_cursors (
    copy    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    reached BIGINT           NOT NULL
);

-- API tokens: their hashes, not their texts.
CREATE TABLE tokens (
    id           BYTEA            NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name         TEXT COLLATE "C" NOT NULL,
    role         TEXT COLLATE "C" NOT NULL,
    org          TEXT COLLATE "C" NOT NULL,
    projects     TEXT COLLATE "C" NOT NULL,          -- JSON
    providers    TEXT COLLATE "C" NOT NULL,          -- JSON
    hash         BYTEA            NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    expires_at   BIGINT           NOT NULL,
    revoked_at   BIGINT,
    actions      TEXT COLLATE "C" NOT NULL DEFAULT '[]', -- JSON
    parent       BYTEA,                              -- the token that it was derived from
    replaces     BYTEA,                              -- the token that it takes over from
    last_used_at BIGINT                              -- to about a minute
);

CREATE INDEX tokens_by_org ON tokens (org, created_at, id);
CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;
-- A token is rotated once.
CREATE UNIQUE INDEX tokens_by_replaced ON tokens (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX children_by_end ON tokens (expires_at) WHERE parent IS NOT NULL;

-- Run-scoped grants: their hashes, not their texts.
CREATE TABLE grants (
    id          BYTEA            NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org         TEXT COLLATE "C" NOT NULL,
    run         TEXT COLLATE "C" NOT NULL,
    phase       TEXT COLLATE "C" NOT NULL,
    credentials TEXT COLLATE "C" NOT NULL,           -- JSON
    holder      TEXT COLLATE "C",
    uses        BIGINT           NOT NULL,
    used        BIGINT           NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    hash        BYTEA            NOT NULL,
    minted_by   TEXT COLLATE "C" NOT NULL,
    minted_with BYTEA,                               -- the token that minted it
    created_at  BIGINT           NOT NULL,
    expires_at  BIGINT           NOT NULL,
    revoked_at  BIGINT
);

CREATE INDEX grants_by_org ON grants (org, id);
CREATE INDEX grants_by_token ON grants (minted_with) WHERE minted_with IS NOT NULL;
CREATE INDEX grants_by_end ON grants (expires_at);

-- Second factors: the secrets of one-time codes, each sealed under a data key of its own.
CREATE TABLE second_factors (
    caller       TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'active')),
    id           BYTEA            NOT NULL CHECK (length(id) = 16),
    caller_name  TEXT COLLATE "C" NOT NULL,
    org          TEXT COLLATE "C" NOT NULL,
    blob         BYTEA            NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    confirmed_at BIGINT,
    last_step    BIGINT           NOT NULL,          -- no code of this step or an older one is taken any more
    failures     BIGINT           NOT NULL,          -- wrong codes in a row
    locked_until BIGINT,
    PRIMARY KEY (caller, state)
);

CREATE INDEX second_factors_by_org ON second_factors (org, created_at);
CREATE INDEX second_factors_by_id ON second_factors (id);

-- Requests that wait for a second person, and those that one has agreed to. What was rejected, used or too late is gone
-- from here; the audit log tells of it.
CREATE TABLE approvals (
    id             BYTEA            NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    requester      TEXT COLLATE "C" NOT NULL,
    requester_name TEXT COLLATE "C" NOT NULL,
    known_by       TEXT COLLATE "C" NOT NULL,        -- JSON: what else tells who the requester is
    action         TEXT COLLATE "C" NOT NULL,
    org            TEXT COLLATE "C" NOT NULL,
    project        TEXT COLLATE "C" NOT NULL,
    provider       TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    digest         BYTEA            NOT NULL CHECK (length(digest) = 32),
    requested_at   BIGINT           NOT NULL,
    expires_at     BIGINT           NOT NULL,
    approved_by    TEXT COLLATE "C",
    approved_at    BIGINT
);

CREATE UNIQUE INDEX approvals_by_request ON approvals (requester, digest);
CREATE INDEX approvals_by_org ON approvals (org, requested_at);
CREATE INDEX approvals_by_end ON approvals (expires_at);

-- What keys are wrapped under.
CREATE TABLE wrapping_keys (
    id          BIGINT           NOT NULL PRIMARY KEY CHECK (id BETWEEN 32768 AND 8388607),
    key         TEXT COLLATE "C" NOT NULL,           -- the URI
    key_version TEXT COLLATE "C" NOT NULL,
    UNIQUE (key, key_version)
);

-- Wrapped keys: of versions, orgs, audit keys and second factors, several of each where there are. A wrap that is
-- dropped is overwritten with as many zeros, and the next one of its size takes its row.
CREATE TABLE wraps (
    id     BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    live   BIGINT NOT NULL CHECK (live IN (0, 1)),
    holder BYTEA  NOT NULL,                          -- what it is the key of: drawn in wrap.rs
    key    BIGINT NOT NULL REFERENCES wrapping_keys (id),
    bytes  BYTEA  NOT NULL
);

CREATE UNIQUE INDEX wraps_by_holder ON wraps (holder, key) WHERE live = 1;
CREATE INDEX wraps_by_key ON wraps (key, holder) WHERE live = 1;
CREATE INDEX wraps_free ON wraps (length(bytes), length(holder)) WHERE live = 0;

-- Orgs that are to be destroyed, and those that were. What was taken back is gone from here; the audit log tells of it.
CREATE TABLE org_destructions (
    id                BYTEA            NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org               TEXT COLLATE "C" NOT NULL,
    requested_by      TEXT COLLATE "C" NOT NULL,
    requested_by_name TEXT COLLATE "C" NOT NULL,
    requested_at      BIGINT           NOT NULL,
    destroy_at        BIGINT           NOT NULL,
    began_at          BIGINT,                        -- from then on it is not taken back, whatever the clock says
    ended_at          BIGINT,
    toll              TEXT COLLATE "C" NOT NULL,     -- JSON: what was destroyed so far
    proof             TEXT COLLATE "C",              -- JSON: what was read back at the end
    CHECK (ended_at IS NULL OR began_at IS NOT NULL),
    CHECK ((ended_at IS NULL) = (proof IS NULL))
);

-- One at a time.
CREATE UNIQUE INDEX org_destructions_under_way ON org_destructions (org) WHERE ended_at IS NULL;
CREATE INDEX org_destructions_by_org ON org_destructions (org, requested_at);
