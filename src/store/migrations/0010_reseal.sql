-- Blobs that were sealed anew. Rows of org_integration_credentials never change their size, and another seal or format
-- makes another size: so what is sealed anew stands here, and what it takes over from is overwritten with as many zeros
-- where it stands, see 0008_wraps.sql. Rows are appended and never deleted, and never change their size either: the
-- states have as many letters, and a row is taken again only for the same version, seal and length.
CREATE TABLE resealed_blobs (
    id            INTEGER PRIMARY KEY,
    state         TEXT    NOT NULL CHECK (state IN ('next', 'live', 'gone')),
    credential_id BLOB    NOT NULL,
    version       INTEGER NOT NULL,
    seal          TEXT    NOT NULL,
    sealed_blob   BLOB    NOT NULL,
    FOREIGN KEY (credential_id, version) REFERENCES org_integration_credentials (credential_id, version)
) STRICT;

-- None of these holds any of the bytes.
CREATE INDEX resealed_by_version ON resealed_blobs (credential_id, version);
-- What is read, where there is one.
CREATE UNIQUE INDEX resealed_live ON resealed_blobs (credential_id, version) WHERE state = 'live';
-- What was not proven yet.
CREATE UNIQUE INDEX resealed_next ON resealed_blobs (credential_id, version) WHERE state = 'next';
