-- Wrapped keys: of versions, orgs, audit keys and second factors, in one table, and several of each where there are.

-- What they are wrapped under. The ids all take three bytes, see below.
CREATE TABLE wrapping_keys (
    id          INTEGER PRIMARY KEY CHECK (id BETWEEN 32768 AND 8388607),
    key         TEXT NOT NULL,                       -- the URI
    key_version TEXT NOT NULL,
    UNIQUE (key, key_version)
) STRICT;

-- Rows are appended and never deleted, and never change their size. SQLite moves rows between pages when their sizes
-- change or rows go, and leaves the old bytes behind in unused space, secure_delete or not: a key that somebody has moved
-- away from would still open what is found there. So a wrap that is dropped is overwritten with as many zeros where it
-- stands, and the next one of its size takes its place.
CREATE TABLE wraps (
    id     INTEGER PRIMARY KEY,
    live   INTEGER NOT NULL CHECK (live IN (0, 1)),
    holder BLOB    NOT NULL,                         -- what it is the key of: drawn in wrap.rs
    key    INTEGER NOT NULL REFERENCES wrapping_keys (id),
    bytes  BLOB    NOT NULL
) STRICT;

INSERT INTO wrapping_keys (id, key, key_version)
    SELECT 32767 + row_number() OVER (ORDER BY kms_key, kms_key_version), kms_key, kms_key_version FROM (
        SELECT kms_key, kms_key_version FROM org_integration_credentials UNION
        SELECT kms_key, kms_key_version FROM org_keys UNION
        SELECT kms_key, kms_key_version FROM audit_keys UNION
        SELECT kms_key, kms_key_version FROM second_factors);

INSERT INTO wraps (live, holder, key, bytes)
    SELECT 1, CAST(x'76' || v.credential_id || unhex(printf('%08x', v.version)) AS BLOB), k.id, v.wrapped_dek
        FROM org_integration_credentials v
        JOIN wrapping_keys k ON k.key = v.kms_key AND k.key_version = v.kms_key_version
        LEFT JOIN org_integration_credential_states s ON s.credential_id = v.credential_id AND s.version = v.version
        WHERE s.state IS DISTINCT FROM 'destroyed';
INSERT INTO wraps (live, holder, key, bytes)
    SELECT 1, CAST(x'6f' || CAST(o.org AS BLOB) AS BLOB), k.id, o.wrapped
        FROM org_keys o JOIN wrapping_keys k ON k.key = o.kms_key AND k.key_version = o.kms_key_version;
INSERT INTO wraps (live, holder, key, bytes)
    SELECT 1, CAST(x'61' || unhex(printf('%08x', a.number)) || CAST(a.instance AS BLOB) AS BLOB), k.id, a.wrapped
        FROM audit_keys a JOIN wrapping_keys k ON k.key = a.kms_key AND k.key_version = a.kms_key_version;
INSERT INTO wraps (live, holder, key, bytes)
    SELECT 1, CAST(x'66' || f.id AS BLOB), k.id, f.wrapped_dek
        FROM second_factors f JOIN wrapping_keys k ON k.key = f.kms_key AND k.key_version = f.kms_key_version;

-- None of these holds any of the bytes.
CREATE UNIQUE INDEX wraps_by_holder ON wraps (holder, key) WHERE live = 1;
CREATE INDEX wraps_by_key ON wraps (key, holder) WHERE live = 1;
CREATE INDEX wraps_free ON wraps (length(bytes), length(holder)) WHERE live = 0;

-- The tables that held them are written anew, in their order, and the old ones dropped: secure_delete wipes a page that
-- is freed. Dropping a column would move rows.

-- One row per version: what was sealed. Rows are appended, never deleted, and never change their size: a destroyed blob
-- is overwritten with as many zeros. Whatever has to change lives in other tables.
CREATE TABLE sealed (
    credential_id   BLOB    NOT NULL REFERENCES credentials (id),
    version         INTEGER NOT NULL,
    fingerprint     TEXT    NOT NULL,
    digest          BLOB    NOT NULL CHECK (length(digest) = 32),
    public_identity TEXT    NOT NULL,                -- JSON
    seal            TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    sealed_blob     BLOB    NOT NULL,
    PRIMARY KEY (credential_id, version)
) STRICT;
INSERT INTO sealed SELECT credential_id, version, fingerprint, digest, public_identity, seal, created_by, created_at,
    sealed_blob FROM org_integration_credentials ORDER BY rowid;
DROP TABLE org_integration_credentials;
ALTER TABLE sealed RENAME TO org_integration_credentials;

CREATE TABLE factors (
    caller       TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'active')),
    id           BLOB    NOT NULL CHECK (length(id) = 16),
    caller_name  TEXT    NOT NULL,
    org          TEXT    NOT NULL,
    blob         BLOB    NOT NULL,
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER,
    last_step    INTEGER NOT NULL,                   -- no code of this step or an older one is taken any more
    failures     INTEGER NOT NULL,                   -- wrong codes in a row
    locked_until INTEGER,
    PRIMARY KEY (caller, state)
) STRICT;
INSERT INTO factors SELECT caller, state, id, caller_name, org, blob, created_by, created_at, confirmed_at, last_step,
    failures, locked_until FROM second_factors ORDER BY rowid;
DROP TABLE second_factors;
ALTER TABLE factors RENAME TO second_factors;
CREATE INDEX second_factors_by_org ON second_factors (org, created_at);
CREATE INDEX second_factors_by_id ON second_factors (id);

CREATE TABLE signers (
    instance   TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    public     BLOB    NOT NULL CHECK (length(public) = 32),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (instance, number)
) STRICT;
INSERT INTO signers SELECT instance, number, public, created_at FROM audit_keys ORDER BY rowid;
DROP TABLE audit_keys;
ALTER TABLE signers RENAME TO audit_keys;

-- An org's key is its wraps.
DROP TABLE org_keys;
