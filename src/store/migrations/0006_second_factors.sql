-- Second factors: the secrets of one-time codes, each sealed under a data key of its own.
CREATE TABLE second_factors (
    caller          TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'active')),
    id              BLOB    NOT NULL CHECK (length(id) = 16),
    caller_name     TEXT    NOT NULL,
    org             TEXT    NOT NULL,
    blob            BLOB    NOT NULL,
    wrapped_dek     BLOB    NOT NULL,
    kms_key         TEXT    NOT NULL,
    kms_key_version TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    confirmed_at    INTEGER,
    last_step       INTEGER NOT NULL,                -- no code of this step or an older one is taken any more
    failures        INTEGER NOT NULL,                -- wrong codes in a row
    locked_until    INTEGER,
    PRIMARY KEY (caller, state)
) STRICT;

CREATE INDEX second_factors_by_org ON second_factors (org, created_at);

-- Requests that wait for a second person, and those that one has agreed to. What was rejected, used or too late is
-- gone from here; the audit log tells of it.
CREATE TABLE approvals (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    requester      TEXT    NOT NULL,
    requester_name TEXT    NOT NULL,
    known_by       TEXT    NOT NULL,                 -- JSON: what else tells who the requester is
    action         TEXT    NOT NULL,
    org            TEXT    NOT NULL,
    project        TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    digest         BLOB    NOT NULL CHECK (length(digest) = 32),
    requested_at   INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    approved_by    TEXT,
    approved_at    INTEGER
) STRICT;

CREATE UNIQUE INDEX approvals_by_request ON approvals (requester, digest);
CREATE INDEX approvals_by_org ON approvals (org, requested_at);
CREATE INDEX approvals_by_end ON approvals (expires_at);
