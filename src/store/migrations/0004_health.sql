-- What connection tests find, when they come again, and what of a credential's health was told to those who watch.

-- Of each version: when it is tested next, and how many tests in a row have not found it well. `learned` is the newest
-- test that did. `expires_at` and `warnings` are what the upload itself told.
ALTER TABLE org_integration_credential_states ADD COLUMN probe_at INTEGER;
ALTER TABLE org_integration_credential_states ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE org_integration_credential_states ADD COLUMN learned TEXT;                     -- JSON
ALTER TABLE org_integration_credential_states ADD COLUMN expires_at INTEGER;
ALTER TABLE org_integration_credential_states ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]'; -- JSON

-- `expires_at` was the owner's word alone; now it is the earliest of all that is known, and the word stands here.
ALTER TABLE credentials ADD COLUMN declared_expires_at INTEGER;
-- Repeated from the version that is shown.
ALTER TABLE credentials ADD COLUMN secret_created_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE credentials ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';                    -- JSON
ALTER TABLE credentials ADD COLUMN last_test TEXT;                                         -- JSON
-- The earliest of its versions' tests; none while it is disabled or deleted.
ALTER TABLE credentials ADD COLUMN next_test_at INTEGER;
-- The health that watchers know, and when time alone will change it.
ALTER TABLE credentials ADD COLUMN told_health TEXT NOT NULL DEFAULT 'ok'
    CHECK (told_health IN ('ok', 'expiring', 'failing', 'expired'));
ALTER TABLE credentials ADD COLUMN tell_at INTEGER;

-- Everything that is there already is tested within a day, spread over it.
UPDATE org_integration_credential_states
    SET probe_at = (unixepoch() + abs(random() % 86400)) * 1000000 WHERE state IN ('pending', 'active');
UPDATE credentials SET
    declared_expires_at = expires_at,
    tell_at = CASE WHEN deleted_at IS NULL AND disabled = 0
        THEN coalesce(failing_since, expires_at - 1209600000000) END,
    secret_created_at = coalesce((SELECT v.created_at FROM org_integration_credentials v
        WHERE v.credential_id = credentials.id
          AND v.version = coalesce(credentials.active_version, credentials.latest_version)), created_at),
    last_test = (SELECT s.probe FROM org_integration_credential_states s
        WHERE s.credential_id = credentials.id
          AND s.version = coalesce(credentials.active_version, credentials.latest_version)),
    next_test_at = (SELECT min(s.probe_at) FROM org_integration_credential_states s
        WHERE s.credential_id = credentials.id AND credentials.deleted_at IS NULL AND credentials.disabled = 0
          AND (s.state = 'active' OR (s.state = 'pending' AND s.version = credentials.latest_version)));

CREATE INDEX credentials_to_test ON credentials (provider, next_test_at, org, id) WHERE next_test_at IS NOT NULL;
CREATE INDEX credentials_to_tell ON credentials (tell_at, id) WHERE tell_at IS NOT NULL;
CREATE INDEX credentials_unhealthy ON credentials (told_health, deleted_at, disabled)
    WHERE told_health <> 'ok' AND deleted_at IS NULL AND disabled = 0;

-- The newest tests of each credential.
CREATE TABLE org_integration_credential_tests (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    credential_id BLOB    NOT NULL REFERENCES credentials (id),
    version       INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    outcome       TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    hint          TEXT    NOT NULL
) STRICT;

CREATE INDEX tests_by_credential ON org_integration_credential_tests (credential_id, id);
