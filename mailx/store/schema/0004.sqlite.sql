-- Aliases that reach addresses elsewhere, and senders whose rewritten form is too long to stand in an address.
-- A message that no mailbox shows, for it only goes on to other servers, has an empty messages.summary.
--   alias_remotes.hash     Cipher.hash(b"alias", alias id as 8 octets, the address, lower case)
--   alias_remotes.sealed   Cipher.seal(b"alias", alias id as 8 octets + hash, the address)
--   senders.hash           Cipher.hash(b"sender", b"", the address)
--   senders.sealed         Cipher.seal(b"sender", hash, the address)
CREATE TABLE alias_remotes (
    alias_id INTEGER NOT NULL REFERENCES aliases (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (alias_id, hash)
) WITHOUT ROWID;
CREATE TABLE senders (
    hash BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,
    expires INTEGER NOT NULL                    -- seconds since 1970
) WITHOUT ROWID;
CREATE INDEX senders_expires ON senders (expires);
CREATE INDEX dispatches_account ON dispatches (account_id, created) WHERE account_id IS NOT NULL;
