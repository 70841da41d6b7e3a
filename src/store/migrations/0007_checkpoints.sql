-- What proves the audit log, what has been pruned of it, and how far its copies have come.

-- The run that a record belongs to, where there is one: a column of its own, so that a run's records are found quickly
-- and nobody else's cost more to write.
ALTER TABLE audit_log ADD COLUMN run TEXT;
CREATE INDEX audit_log_by_run ON audit_log (run, position) WHERE run IS NOT NULL;

-- The keys that sign checkpoints, their seeds wrapped by the KMS. The newest signs.
CREATE TABLE audit_keys (
    instance        TEXT    NOT NULL,
    number          INTEGER NOT NULL,
    public          BLOB    NOT NULL CHECK (length(public) = 32),
    wrapped         BLOB    NOT NULL,
    kms_key         TEXT    NOT NULL,
    kms_key_version TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (instance, number)
) STRICT;

-- Each stands for the records after the one before it, up to its size. The times are those of its span.
CREATE TABLE audit_checkpoints (
    instance  TEXT    NOT NULL,
    size      INTEGER NOT NULL,
    note      TEXT    NOT NULL,                      -- signed
    head      BLOB    NOT NULL CHECK (length(head) = 32),
    frontier  BLOB    NOT NULL,                      -- of the tree, to go on from
    after     INTEGER NOT NULL,                      -- the position before the span's first record
    position  INTEGER NOT NULL,                      -- that of its last
    oldest_at INTEGER NOT NULL,
    newest_at INTEGER NOT NULL,
    PRIMARY KEY (instance, size)
) STRICT;

-- For queries by time.
CREATE INDEX audit_checkpoints_by_time ON audit_checkpoints (position, after, oldest_at, newest_at);

-- Where the log begins: after the checkpoint of this size. What is older is not shown any more, and swept away.
CREATE TABLE audit_boundaries (
    instance TEXT    NOT NULL PRIMARY KEY,
    size     INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- How far each copy of the log has come.
CREATE TABLE audit_cursors (
    copy    TEXT    NOT NULL PRIMARY KEY,
    reached INTEGER NOT NULL
) STRICT;
