-- Orgs that are to be destroyed, and those that were. What was taken back is gone from here; the audit log tells of it.
CREATE TABLE org_destructions (
    id                BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    org               TEXT    NOT NULL,
    requested_by      TEXT    NOT NULL,
    requested_by_name TEXT    NOT NULL,
    requested_at      INTEGER NOT NULL,
    destroy_at        INTEGER NOT NULL,
    began_at          INTEGER,                       -- from then on it is not taken back, whatever the clock says
    ended_at          INTEGER,
    toll              TEXT    NOT NULL,              -- JSON: what was destroyed so far
    proof             TEXT,                          -- JSON: what was read back at the end
    CHECK (ended_at IS NULL OR began_at IS NOT NULL),
    CHECK ((ended_at IS NULL) = (proof IS NULL))
) STRICT;

-- One at a time.
CREATE UNIQUE INDEX org_destructions_under_way ON org_destructions (org) WHERE ended_at IS NULL;
CREATE INDEX org_destructions_by_org ON org_destructions (org, requested_at);

-- What of an org waits to be destroyed.
CREATE INDEX credentials_kept ON credentials (org, id) WHERE destroy_at IS NOT NULL;
