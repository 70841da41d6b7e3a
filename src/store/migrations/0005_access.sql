-- What a token is limited to, where it comes from, and when it was used last, to about a minute.
ALTER TABLE tokens ADD COLUMN actions      TEXT NOT NULL DEFAULT '[]';  -- JSON
ALTER TABLE tokens ADD COLUMN parent       BLOB;                        -- the token that it was derived from
ALTER TABLE tokens ADD COLUMN replaces     BLOB;                        -- the token that it takes over from
ALTER TABLE tokens ADD COLUMN last_used_at INTEGER;

CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;
-- A token is rotated once.
CREATE UNIQUE INDEX tokens_by_replaced ON tokens (replaces) WHERE replaces IS NOT NULL;

-- Run-scoped grants: their hashes, not their texts.
CREATE TABLE grants (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org         TEXT    NOT NULL,
    run         TEXT    NOT NULL,
    phase       TEXT    NOT NULL,
    credentials TEXT    NOT NULL,                    -- JSON
    holder      TEXT,
    uses        INTEGER NOT NULL,
    used        INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    hash        BLOB    NOT NULL,
    minted_by   TEXT    NOT NULL,
    minted_with BLOB,                                -- the token that minted it
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

CREATE INDEX grants_by_org ON grants (org, id);
CREATE INDEX grants_by_token ON grants (minted_with) WHERE minted_with IS NOT NULL;
CREATE INDEX grants_by_end ON grants (expires_at);
CREATE INDEX children_by_end ON tokens (expires_at) WHERE parent IS NOT NULL;
