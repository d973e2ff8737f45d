-- What was learnt of other servers and holds for a while: MTA-STS policies, who speaks TLS, counts for TLS reports.
--   remembered.hash     Cipher.hash(b"remembered", kind, key)
--   remembered.sealed   Cipher.seal_bulk(b"remembered", kind + 00 + hash, {"key": ..., "value": ...} as JSON)
CREATE TABLE remembered (
    kind TEXT NOT NULL,
    hash BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    expires BIGINT NOT NULL,                   -- seconds since 1970
    PRIMARY KEY (kind, hash)
);
CREATE INDEX remembered_expires ON remembered (expires);
