-- What a token is limited to, where it comes from, and when it was used last, to about a minute.
ALTER TABLE tokens ADD COLUMN actions      TEXT NOT NULL DEFAULT '[]';  -- JSON
ALTER TABLE tokens ADD COLUMN parent       BLOB;                        -- the token that it was derived from
ALTER TABLE tokens ADD COLUMN replaces     BLOB;                        -- the token that it takes over from
ALTER TABLE tokens ADD COLUMN last_used_at INTEGER;

CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;
-- A token is rotated once.
CREATE UNIQUE INDEX tokens_by_replaced ON tokens (replaces) WHERE replaces IS NOT NULL;
