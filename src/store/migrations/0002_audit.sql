-- The audit log. The hottest table: every answered plaintext is a row here. So it has few indexes, and each takes its
-- newest entries at the end of a key's run.
CREATE TABLE audit_log (
    position      INTEGER PRIMARY KEY AUTOINCREMENT,
    instance      TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    org           TEXT    NOT NULL,
    credential_id BLOB,
    canonical     TEXT    NOT NULL,                  -- JSON, as the hash covers it
    hash          BLOB    NOT NULL
) STRICT;

CREATE INDEX audit_log_by_org ON audit_log (org, position);
CREATE INDEX audit_log_by_credential ON audit_log (credential_id, position) WHERE credential_id IS NOT NULL;
