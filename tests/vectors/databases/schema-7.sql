-- A database of schema 7, as the last build before schema 8 left it; the token in it and what waits to be destroyed end in
-- 2100. It stays as it is: every later build opens it. Its key is beside it.
PRAGMA foreign_keys = OFF;
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
BEGIN TRANSACTION;
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
CREATE TABLE audit_boundaries (
    instance TEXT    NOT NULL PRIMARY KEY,
    size     INTEGER NOT NULL,
    position INTEGER NOT NULL
) STRICT;
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
INSERT INTO "audit_checkpoints" VALUES('01a1feb4-3dc3-73b5-9509-d76c0fc90672',16,'strongroom/01a1feb4-3dc3-73b5-9509-d76c0fc90672
16
rTE1tLw1pBTvyZJFG9HvCSxkgARgbjA8pj906O8Bauo=
head dDN6M9aPvaf9qkXFQaKzlkJqQaN2qapSlL5p4zkwIwU=
time 2026-11-21T15:23:08Z

— strongroom/01a1feb4-3dc3-73b5-9509-d76c0fc90672 6NFhvyUCwC0xkiGnaKQqbq9t6P4cJqxQoR7NZ4wpPDPeY0tkjEuR7/dVTOOETqRjw10eGL6u6IDXVB7+M1EbmPd+ZQY=
',X'74337A33D68FBDA7FDAA45C541A2B396426A41A376A9AA5294BE69E339302305',X'AD3135B4BC35A414EFC992451BD1EF092C648004606E303CA63F74E8EF016AEA',0,16,1795274587613434,1795274588636809);
CREATE TABLE audit_cursors (
    copy    TEXT    NOT NULL PRIMARY KEY,
    reached INTEGER NOT NULL
) STRICT;
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
INSERT INTO "audit_keys" VALUES('01a1feb4-3dc3-73b5-9509-d76c0fc90672',1,X'101F344E71B677A7CFB50747E8CADD26DC2DE09243400EA63B0DB121D32BF191',X'012FAB505F97D7CC829C7BE7BD81372940A8630C6A51F8316FF562462CE60D0838F4AE11089B5F0E42729A96E3C46BC826534798A097D86D0AD855D9F45BB8CD0F6DF7DDFEFDC1F10C0FB206B9AD92E44B','local://default','1',1795274588636809);
CREATE TABLE audit_log (
    position      INTEGER PRIMARY KEY AUTOINCREMENT,
    instance      TEXT    NOT NULL,
    sequence      INTEGER NOT NULL,
    org           TEXT    NOT NULL,
    credential_id BLOB,
    canonical     TEXT    NOT NULL,                  -- JSON, as the hash covers it
    hash          BLOB    NOT NULL
, run TEXT) STRICT;
INSERT INTO "audit_log" VALUES(1,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',1,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":1,"at":"2026-11-21T15:23:07.613434838Z","caller":"system","caller_name":"system","action":"keepOrgKey","outcome":"ok","org":"*","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-3ddd-76b8-a9b4-7033f2c20de1","policies":[],"proof":"system"}',X'E5FBE49A63D0C38A5352DC85122EA6FE6D3C8D01DFFB3195E19FAB6F482BE9A2',NULL);
INSERT INTO "audit_log" VALUES(2,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',2,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":2,"at":"2026-11-21T15:23:07.615211358Z","caller":"system","caller_name":"system","action":"replacePolicies","outcome":"ok","org":"*","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-3ddf-7680-a78d-e65a01e80e28","policies":[],"proof":"system","after":"policies=27d69d7a301341a6f26b9bfdb01d2975971fcf265ce5525f92302407c81c1c9c providers=089fb8cb8ce14679ecddefb12d0f6746638ba4241b7dc3328004c59a87f58a2a callers= authorities="}',X'B43A8CE5C66AD9C710F6D02D3313C6B6649123774D96911187656CC77DA50F2F',NULL);
INSERT INTO "audit_log" VALUES(3,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',3,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":3,"at":"2026-11-21T15:23:07.616419007Z","caller":"system","caller_name":"system","action":"issueToken","outcome":"ok","org":"*","project":"","provider":"","name":"first-admin","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-3de0-72ea-b23d-9fb0d5a78b08","policies":[],"proof":"system"}',X'B949B78EDE46C480D615D042E1A66689C34371581FDDC47819043C224575684B',NULL);
INSERT INTO "audit_log" VALUES(4,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',4,'acme',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":4,"at":"2026-11-21T15:23:07.907898964Z","caller":"system","caller_name":"system","action":"keepOrgKey","outcome":"ok","org":"acme","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-3f03-70db-b9a2-a4b73e72e8ce","policies":[],"proof":"system"}',X'BB0AF4EDE036C6BFC71590A2427BB00EA6880C81E80442830607955E7E8388ED',NULL);
INSERT INTO "audit_log" VALUES(5,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',5,'acme',X'01A1FEB43F087169996F88685EA2EAFB','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":5,"at":"2026-11-21T15:23:07.898952848Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"setup","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"default","credential_id":"01a1feb4-3f08-7169-996f-88685ea2eafb","version":1,"fingerprint":"fd6f7cec","request_id":"01a1feb4-3ef9-7005-8ac5-223fa1a0b7a3","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'DF34BF74026626238CE353EB157BE4089063E594E5BA2FF9846C4A4FA07FE793',NULL);
INSERT INTO "audit_log" VALUES(6,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',6,'acme',X'01A1FEB43F087169996F88685EA2EAFB','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":6,"at":"2026-11-21T15:23:08.06302656Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"setup","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"default","credential_id":"01a1feb4-3f08-7169-996f-88685ea2eafb","version":2,"fingerprint":"e6fff5df","request_id":"01a1feb4-3f9e-7202-a5bc-3c3791ef2e62","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'A6AA949374AD3555C7FFC84AE333FB438B8D12B6BA9B948C8596D61D19005B49',NULL);
INSERT INTO "audit_log" VALUES(7,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',7,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":7,"at":"2026-11-21T15:23:08.217015586Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"setup","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"gone","credential_id":"01a1feb4-403b-71b6-b3f2-c4d983178a37","version":1,"fingerprint":"17dd0ccd","request_id":"01a1feb4-4038-7668-8d5d-42033d8847ce","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'873973F4D04A685A358F80D31F96B4D04829EA6E0DA69E2CC3C7FDD5F935D172',NULL);
INSERT INTO "audit_log" VALUES(8,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',8,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":8,"at":"2026-11-21T15:23:08.232415869Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"delete","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"gone","credential_id":"01a1feb4-403b-71b6-b3f2-c4d983178a37","version":null,"fingerprint":"17dd0ccd","request_id":"01a1feb4-4048-706a-bea8-9daebe9fd421","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'22BFB274C755D9BDE55E79C6F030125197BBF818B93B07D2E833E39109C253FB',NULL);
INSERT INTO "audit_log" VALUES(9,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',9,'acme',X'01A1FEB440DC7152A6CDF48380E603E9','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":9,"at":"2026-11-21T15:23:08.377498152Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"setup","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"kept","credential_id":"01a1feb4-40dc-7152-a6cd-f48380e603e9","version":1,"fingerprint":"94015983","request_id":"01a1feb4-40d8-74d8-929c-e1fd0ca0b66d","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'B2C708F9514C8CA56087CDBDA00E047863E39C4231E9431413DD5C51D8DF7544',NULL);
INSERT INTO "audit_log" VALUES(10,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',10,'acme',X'01A1FEB440DC7152A6CDF48380E603E9','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":10,"at":"2026-11-21T15:23:08.394551634Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"delete","outcome":"ok","org":"acme","project":"default","provider":"openai","name":"kept","credential_id":"01a1feb4-40dc-7152-a6cd-f48380e603e9","version":null,"fingerprint":"94015983","request_id":"01a1feb4-40ea-702e-8fb7-48b664dd7b0b","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'CF554B45881C055FF690F69EAAE90E84EFF79464DECB6693F3EC19DEB9C313E8',NULL);
INSERT INTO "audit_log" VALUES(11,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',11,'beta',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":11,"at":"2026-11-21T15:23:08.421892255Z","caller":"system","caller_name":"system","action":"keepOrgKey","outcome":"ok","org":"beta","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-4105-7094-961a-84aec9d832e0","policies":[],"proof":"system"}',X'4541F3A001421B259F42D000ADE5B791906E621DC4207BE197B1AFA252352131',NULL);
INSERT INTO "audit_log" VALUES(12,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',12,'beta',X'01A1FEB4410775F3B9B7AB6786069249','{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":12,"at":"2026-11-21T15:23:08.408595878Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"setup","outcome":"ok","org":"beta","project":"default","provider":"cloudflare","name":"default","credential_id":"01a1feb4-4107-75f3-b9b7-ab6786069249","version":1,"fingerprint":"d8524c15","request_id":"01a1feb4-40f8-72f7-bd2e-0a962ed05e64","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'63E66932AFCAE42C57249DF9F5795D46EAAE1A7C8D1332623999BEB421838F95',NULL);
INSERT INTO "audit_log" VALUES(13,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',13,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":13,"at":"2026-11-21T15:23:08.436399207Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"enrolSecondFactor","outcome":"ok","org":"*","project":"","provider":"","name":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-4114-7756-afba-2870b020e209","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'CCF64D8F70039FECB058C763BF3709DD2C621A6205E2ACB05B53863F6C1FEFC5',NULL);
INSERT INTO "audit_log" VALUES(14,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',14,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":14,"at":"2026-11-21T15:23:08.61555534Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"confirmSecondFactor","outcome":"ok","org":"*","project":"","provider":"","name":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-41c7-75ef-b31d-03f3eb34459a","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'BAE230C069362683593A417FBDB59F40E3876FAD1ED10521EBFAA62F717D74EB',NULL);
INSERT INTO "audit_log" VALUES(15,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',15,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":15,"at":"2026-11-21T15:23:08.631021756Z","caller":"01a1feb4-3de0-72ea-b23d-9fb1b8d21efa","caller_name":"first-admin","action":"listSecondFactors","outcome":"ok","org":"*","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-41d6-77be-810f-02220c986b02","policies":["admin-everything"],"proof":"token","address":"127.0.0.1"}',X'9C1C0661CE84955340C2ADEF3052EE45BB3884B54BA47950D06A7D3A5CCAD218',NULL);
INSERT INTO "audit_log" VALUES(16,'01a1feb4-3dc3-73b5-9509-d76c0fc90672',16,'*',NULL,'{"instance":"01a1feb4-3dc3-73b5-9509-d76c0fc90672","sequence":16,"at":"2026-11-21T15:23:08.636809475Z","caller":"system","caller_name":"system","action":"keepAuditKey","outcome":"ok","org":"*","project":"","provider":"","name":"","credential_id":null,"version":null,"fingerprint":"","request_id":"01a1feb4-41dc-758a-9799-3d543b1a6a21","policies":[],"proof":"system"}',X'74337A33D68FBDA7FDAA45C541A2B396426A41A376A9AA5294BE69E339302305',NULL);
CREATE TABLE changes (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    org           TEXT    NOT NULL,
    credential_id BLOB    NOT NULL REFERENCES credentials (id),
    change        TEXT    NOT NULL,
    version       INTEGER,
    at            INTEGER NOT NULL
) STRICT;
INSERT INTO "changes" VALUES(1,'acme',X'01A1FEB43F087169996F88685EA2EAFB','setup',1,1795274587898952);
INSERT INTO "changes" VALUES(2,'acme',X'01A1FEB43F087169996F88685EA2EAFB','activated',1,1795274587898952);
INSERT INTO "changes" VALUES(3,'acme',X'01A1FEB43F087169996F88685EA2EAFB','setup',2,1795274588063026);
INSERT INTO "changes" VALUES(4,'acme',X'01A1FEB43F087169996F88685EA2EAFB','activated',2,1795274588063026);
INSERT INTO "changes" VALUES(5,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','setup',1,1795274588217015);
INSERT INTO "changes" VALUES(6,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','activated',1,1795274588217015);
INSERT INTO "changes" VALUES(7,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','deleted',NULL,1795274588232415);
INSERT INTO "changes" VALUES(8,'acme',X'01A1FEB4403B71B6B3F2C4D983178A37','destroyed',NULL,1795274588232415);
INSERT INTO "changes" VALUES(9,'acme',X'01A1FEB440DC7152A6CDF48380E603E9','setup',1,1795274588377498);
INSERT INTO "changes" VALUES(10,'acme',X'01A1FEB440DC7152A6CDF48380E603E9','activated',1,1795274588377498);
INSERT INTO "changes" VALUES(11,'acme',X'01A1FEB440DC7152A6CDF48380E603E9','deleted',NULL,1795274588394551);
INSERT INTO "changes" VALUES(12,'beta',X'01A1FEB4410775F3B9B7AB6786069249','setup',1,1795274588408595);
INSERT INTO "changes" VALUES(13,'beta',X'01A1FEB4410775F3B9B7AB6786069249','activated',1,1795274588408595);
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
    destroy_at      INTEGER, declared_expires_at INTEGER, secret_created_at INTEGER NOT NULL DEFAULT 0, warnings TEXT NOT NULL DEFAULT '[]', last_test TEXT, next_test_at INTEGER, told_health TEXT NOT NULL DEFAULT 'ok'
    CHECK (told_health IN ('ok', 'expiring', 'failing', 'expired')), tell_at INTEGER,                         -- set while a tombstone's ciphertext is still there
    CHECK ((state = 'deleted') = (deleted_at IS NOT NULL)),
    CHECK ((state = 'active') = (active_version IS NOT NULL)),
    CHECK (destroy_at IS NULL OR deleted_at IS NOT NULL)
) STRICT;
INSERT INTO "credentials" VALUES(X'01A1FEB43F087169996F88685EA2EAFB','acme','default','openai','default','active',0,NULL,2,2,'e6fff5df','{}','{}','{}',2,1795274587898952,1795274588063026,NULL,NULL,NULL,NULL,1795274588063026,'[]','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.06302656Z","retry_after_seconds":null}',1795362642497450,'ok',NULL);
INSERT INTO "credentials" VALUES(X'01A1FEB4403B71B6B3F2C4D983178A37','acme','default','openai','gone','deleted',0,NULL,NULL,1,'17dd0ccd','{}','{}','{}',2,1795274588217015,1795274588232415,NULL,1795274588232415,NULL,NULL,1795274588217015,'[]','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.217015586Z","retry_after_seconds":null}',NULL,'ok',NULL);
INSERT INTO "credentials" VALUES(X'01A1FEB440DC7152A6CDF48380E603E9','acme','default','openai','kept','deleted',0,NULL,NULL,1,'94015983','{}','{}','{}',2,1795274588377498,1795274588394551,NULL,1795274588394551,4102444800000000,NULL,1795274588377498,'[]','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.377498152Z","retry_after_seconds":null}',NULL,'ok',NULL);
INSERT INTO "credentials" VALUES(X'01A1FEB4410775F3B9B7AB6786069249','beta','default','cloudflare','default','active',0,NULL,1,1,'d8524c15','{}','{}','{}',1,1795274588408595,1795274588408595,NULL,NULL,NULL,NULL,1795274588408595,'[]','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.408595878Z","retry_after_seconds":null}',1795356830898868,'ok',NULL);
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
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO "meta" VALUES('instance','01a1feb4-3dc3-73b5-9509-d76c0fc90672');
INSERT INTO "meta" VALUES('rules','policies=27d69d7a301341a6f26b9bfdb01d2975971fcf265ce5525f92302407c81c1c9c providers=089fb8cb8ce14679ecddefb12d0f6746638ba4241b7dc3328004c59a87f58a2a callers= authorities=');
CREATE TABLE org_integration_credential_states (
    credential_id BLOB    NOT NULL,
    version       INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('pending', 'active', 'superseded', 'destroyed', 'invalid')),
    probe         TEXT,                              -- JSON
    activated_at  INTEGER,
    destroyed_at  INTEGER, probe_at INTEGER, failures INTEGER NOT NULL DEFAULT 0, learned TEXT, expires_at INTEGER, warnings TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (credential_id, version),
    FOREIGN KEY (credential_id, version) REFERENCES org_integration_credentials (credential_id, version)
) STRICT;
INSERT INTO "org_integration_credential_states" VALUES(X'01A1FEB43F087169996F88685EA2EAFB',1,'superseded','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:07.898952848Z","retry_after_seconds":null}',1795274587898952,NULL,1795359413094649,0,NULL,NULL,'[]');
INSERT INTO "org_integration_credential_states" VALUES(X'01A1FEB43F087169996F88685EA2EAFB',2,'active','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.06302656Z","retry_after_seconds":null}',1795274588063026,NULL,1795362642497450,0,NULL,NULL,'[]');
INSERT INTO "org_integration_credential_states" VALUES(X'01A1FEB4403B71B6B3F2C4D983178A37',1,'destroyed','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.217015586Z","retry_after_seconds":null}',1795274588217015,1795274588232415,1795353363105548,0,NULL,NULL,'[]');
INSERT INTO "org_integration_credential_states" VALUES(X'01A1FEB440DC7152A6CDF48380E603E9',1,'active','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.377498152Z","retry_after_seconds":null}',1795274588377498,NULL,1795353007303568,0,NULL,NULL,'[]');
INSERT INTO "org_integration_credential_states" VALUES(X'01A1FEB4410775F3B9B7AB6786069249',1,'active','{"outcome":"untested","reason":"skipped","hint":"the connection test was left out as asked: `strongroom validate` runs it","at":"2026-11-21T15:23:08.408595878Z","retry_after_seconds":null}',1795274588408595,NULL,1795356830898868,0,NULL,NULL,'[]');
CREATE TABLE org_integration_credential_tests (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    credential_id BLOB    NOT NULL REFERENCES credentials (id),
    version       INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    outcome       TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    hint          TEXT    NOT NULL
) STRICT;
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
INSERT INTO "org_integration_credentials" VALUES(X'01A1FEB43F087169996F88685EA2EAFB',1,'fd6f7cec',X'77C37C8AF57578035CF36C58CEAC14E4AEA9676D2E3F08DC5CD979FBB4049ABB','{}','aes256gcm','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274587898952,X'010183DE4CACE164C5206E68D15F30F17DC4058351D491AB817C68397F31A1F987FFE82E6535C17D992ED79589EA7484BF02BAB8D3DAF0015772A0166C8481FAFE17B35BC5675BE22F5A736DEC634ED7223879242607F19E36EEC9F5F995B8E00FD359C54B656E8CB75064A5E52DDE54FD38AF73D4A749A284F0FA7D7713207E48DDA60CD3BE2A5854134B37360670DCFA9B1B22572AB1EFDCD48C55D8BB012368EB8491C4325F4F85701BEFE835221E7E681736E1D723B712E0D4F17F543F20415EB9842E1C09F770F644C48C981E552001B8B577B7',X'014F646FBE8D89F004C4B4B6B2A9AF0890B68081C52606E84CCE53CA657E540CA99C495989ACD8DE95E6E5D6EA19AF8C4F943AC2CF6C4E89D30D8E7015B371460F15643A73264737BD4105015F8C1C23E2');
INSERT INTO "org_integration_credentials" VALUES(X'01A1FEB43F087169996F88685EA2EAFB',2,'e6fff5df',X'61BF23246535AFE146D6C23DA0DE93A44A63F6EE20C1D27E9BC684B0BE76A09F','{}','aes256gcm','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274588063026,X'0101828AC83D5135FC61020ECB361EBB1DAC55D0882A151B44E6684262A3F50742640E82045E98803C8AB2D4E1D48AE017998079FA5031046A5CF113B17751BE06D3FB98937F4B849176123E0A6AC72C7E5F9825CCF2C5A448DD1F366DE23C1EE62C59A0B3319C8B4142E74833E3449562EEC0E8E389C4B97BCF6EEB530B2A4BAE81F4C29DB01CA8005176A782F788521758642D9049562B5A6D5A1511A14E44A4742240DF0AE091FBD4E62827A9FE634BF040BD452849C2E0B8579060542A9829C065321190E7C3B2DC80C2F89E5B3FE0D21B3E8065',X'01004BF8DA6B10956A9F00DEFD1452F5BAC65DEE8C1A40699934783AA3148DF6E15C5D5E89511D9FA6DF3BE97C342DA0FFF9AC4E680F61801BDC40A855CB3AFDEB88D1FCA43710D0F8E9E69B8778215EA1');
INSERT INTO "org_integration_credentials" VALUES(X'01A1FEB4403B71B6B3F2C4D983178A37',1,'17dd0ccd',X'D5DA0754B35C4ECEB5E4F5D4313F5D2DBB7D1E3FA695967CC623FED12037179B','{}','aes256gcm','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274588217015,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',X'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "org_integration_credentials" VALUES(X'01A1FEB440DC7152A6CDF48380E603E9',1,'94015983',X'16C66A276EC19E0EE07845278304B751BA6365E9A755C11AC5C7B3AB3794BE06','{}','aes256gcm','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274588377498,X'0101B1F5838CB1B6171DE70CE2E0ACB075ABA68B436C50B784DA18D4EBD85CF084F74719CFC045C3246D283FA911DC2BEE2AF895F78913885099C3D50A763D27A3A6E9255D6F778422C4739BE7F019A9A6403B4D2A37B8113072677E7662D92C1064FA2341D279BC78D38569070FF9C31810344288917A8E0CA85AADC219C6C4993E102E8C4FF547340E6E40BB46758C246B69810BFF86071278DD13E20E106A84018C3A35D70A2AE02C533661E51FD94241718F5C816F9EE03DB37D85204F89BCD007AF698163D0C05B22D46DBE059A2A673CD6417A',X'01A519B6A05846D6FB6A0D99346A8B904C02EBF59EDB24D91D7B06C3B0380A9C43015F371FB9CC9A0BFB2FB10A0BA308F1F0C3A8E4C92DBC188528AAFF8F9548D23E84B8974DAD895BD0B8F76909734825');
INSERT INTO "org_integration_credentials" VALUES(X'01A1FEB4410775F3B9B7AB6786069249',1,'d8524c15',X'AF4DA6E78B2D947F00E3D73FBAB2077C92ED601E5B75737858B0689E1B41C7ED','{}','fernet','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274588408595,X'0102B2E6F39DD314DAF45746A9DE095D292460214F7AFCFCF3B9FA490DD856747105D9EDCBC3BA059B58B2BDEE4E169637981ED6CCCDAC9CA80ACD3D740901C08CE067414141414141414141414132424752362D764148683971514E682D6A63385542324F345447656B6D7862594F36626F53727A5A6A426654475157724168454971716E7474554B4B526F635358526334506F4869784F323566577A5834757577536D39644F79694F536D633436536531415548463262334A4A4944515F35615F4A4D47445830537A52746358',X'01F78858D13A5AEA4183CA182B687F81210E32F151362C0ADBBA93DC32822AF60D1BD2E8443A5A11F1526AA7B531E6DBD01CED42829CE3B50BAA99C2A2989A4D20771B0C60F8FA5987544CF9C7190D6353');
CREATE TABLE org_keys (
    org             TEXT NOT NULL PRIMARY KEY,
    wrapped         BLOB NOT NULL,
    kms_key         TEXT NOT NULL,
    kms_key_version TEXT NOT NULL
) STRICT;
INSERT INTO "org_keys" VALUES('*',X'016CE3E047D81A31C359F61642C9398397863F650E7B6A9ADDF2234B5203706737CEC0D2807B7E1741A01FCDA21C8CA4F4A6C9CB4A339D7BBE70EB0C0DC97788A5E3F715D1FD18AB38DC4106C54B50B2F1','local://default','1');
INSERT INTO "org_keys" VALUES('acme',X'01D29F50F3B9A96724DDD5516F06003D470CD70844057CE65E158D95FAD19EB8870E3A28086FA62B8E798AEC665CFAA09477085231827E085E4DC49D791B081B17CACAFBD13ABB8C97F4BBFE866B8CF6AE','local://default','1');
INSERT INTO "org_keys" VALUES('beta',X'01902ADBAAEA2CFE033A095CB3FD2CEDBC7E791C6ACEDAC94D7E3E89DC239B1074B70E78D4F0A4DC7AF2545BF0F337E1BD7DC0C4621646EE959F8A4892AC4ABE296B3CCEDD74EA365C53534470FBCCCA24','local://default','1');
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
INSERT INTO "second_factors" VALUES('01a1feb4-3de0-72ea-b23d-9fb1b8d21efa','active',X'01A1FEB4411570998C50F06B765684D1','first-admin','*',X'0101E5BE686C6BF794D192D5FF10ADC548DD599EB6AC1C2CC7ED09CA0362E4F4B56C71120F877062CAC115E20C084E461D0FE7BB841082A5D776D6BEB05C53D433504D45532617FF4673AC6B3DD029ECBBC583A3403955D60F2E45F190AD22D0BD55FEAFA88A',X'018C77DC4F180CD4365742181A29EF1B796062D69B4758C4B3C02C4CB72D7020B79D8D7F5CC76C2FCB5DEF515AE681B36BFE01D8AF2589B34284E54076643033BD6A34884A730AEFDD474ED0D47B2FCCCE','local://default','1','01a1feb4-3de0-72ea-b23d-9fb1b8d21efa',1795274588436399,1795274588615555,59842486,0,NULL);
CREATE TABLE tokens (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    org        TEXT    NOT NULL,
    projects   TEXT    NOT NULL,                     -- JSON
    providers  TEXT    NOT NULL,                     -- JSON
    hash       BLOB    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
, actions      TEXT NOT NULL DEFAULT '[]', parent       BLOB, replaces     BLOB, last_used_at INTEGER) STRICT;
INSERT INTO "tokens" VALUES(X'01A1FEB43DE072EAB23D9FB1B8D21EFA','first-admin','admin','*','[]','[]',X'3F88AF3BF79648C00DB7FD72939488F5F3F18DACF3C3452A4AF0D9506496319C','system',1795274587616366,4102444800000000,NULL,'[]',NULL,NULL,1795274587898952);
CREATE UNIQUE INDEX credentials_live ON credentials (org, project, provider, name) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_provider ON credentials (org, provider, project, name, id) WHERE deleted_at IS NULL;
CREATE INDEX credentials_live_by_state ON credentials (org, state, project, provider, name, id) WHERE deleted_at IS NULL;
CREATE INDEX credentials_gone ON credentials (org, project, provider, name, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX credentials_due ON credentials (destroy_at, id) WHERE destroy_at IS NOT NULL;
CREATE UNIQUE INDEX served ON org_integration_credential_states (credential_id) WHERE state = 'active';
CREATE INDEX changes_by_org ON changes (org, sequence);
CREATE INDEX audit_log_by_org ON audit_log (org, position);
CREATE INDEX audit_log_by_credential ON audit_log (credential_id, position) WHERE credential_id IS NOT NULL;
CREATE INDEX tokens_by_org ON tokens (org, created_at, id);
CREATE INDEX credentials_to_test ON credentials (provider, next_test_at, org, id) WHERE next_test_at IS NOT NULL;
CREATE INDEX credentials_to_tell ON credentials (tell_at, id) WHERE tell_at IS NOT NULL;
CREATE INDEX credentials_unhealthy ON credentials (told_health, deleted_at, disabled)
    WHERE told_health <> 'ok' AND deleted_at IS NULL AND disabled = 0;
CREATE INDEX tests_by_credential ON org_integration_credential_tests (credential_id, id);
CREATE INDEX tokens_by_parent ON tokens (parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX tokens_by_replaced ON tokens (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX grants_by_org ON grants (org, id);
CREATE INDEX grants_by_token ON grants (minted_with) WHERE minted_with IS NOT NULL;
CREATE INDEX grants_by_end ON grants (expires_at);
CREATE INDEX children_by_end ON tokens (expires_at) WHERE parent IS NOT NULL;
CREATE INDEX second_factors_by_org ON second_factors (org, created_at);
CREATE UNIQUE INDEX approvals_by_request ON approvals (requester, digest);
CREATE INDEX approvals_by_org ON approvals (org, requested_at);
CREATE INDEX approvals_by_end ON approvals (expires_at);
CREATE INDEX audit_log_by_run ON audit_log (run, position) WHERE run IS NOT NULL;
CREATE INDEX audit_checkpoints_by_time ON audit_checkpoints (position, after, oldest_at, newest_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit_log',16);
INSERT INTO "sqlite_sequence" VALUES('changes',13);
COMMIT;
PRAGMA application_id = 1400140397;
PRAGMA user_version = 7;
