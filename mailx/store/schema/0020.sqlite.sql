-- MailX schema 20: heads of other domains' key logs, as they were shown to us.
--   log_heads.hash             Cipher.hash(b"log head", b"", domain)
--   log_heads.sealed           Cipher.seal(b"log head", guid, {"domain": ..., "head": the signed statement} as JSON)
--   log_evidence.hash          as log_heads.hash
--   log_evidence.mark          Cipher.hash(b"log evidence", hash, what contradicts), so that it is kept once
--   log_evidence.sealed        Cipher.seal(b"log evidence", guid, {"domain", "kept", "shown", "reason", "epochs"} as JSON)
CREATE TABLE log_heads (
    hash BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    size INTEGER NOT NULL,
    guid BLOB NOT NULL,
    sealed BLOB NOT NULL,
    seen INTEGER NOT NULL,                      -- when it was shown last, seconds since 1970
    PRIMARY KEY (hash, epoch)
) WITHOUT ROWID;
CREATE TABLE log_evidence (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL,
    mark BLOB NOT NULL UNIQUE,
    guid BLOB NOT NULL,
    sealed BLOB NOT NULL,
    found INTEGER NOT NULL                      -- seconds since 1970
);
CREATE INDEX log_evidence_hash ON log_evidence (hash, id);
