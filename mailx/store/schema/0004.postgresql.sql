-- Aliases that reach addresses elsewhere, and senders whose rewritten form is too long to stand in an address.
-- A message that no mailbox shows, for it only goes on to other servers, has an empty messages.summary.
--   alias_remotes.hash     Cipher.hash(b"alias", alias id as 8 octets, the address, lower case)
--   alias_remotes.sealed   Cipher.seal(b"alias", alias id as 8 octets + hash, the address)
--   senders.hash           Cipher.hash(b"sender", b"", the address)
--   senders.sealed         Cipher.seal(b"sender", hash, the address)
CREATE TABLE alias_remotes (
    alias_id BIGINT NOT NULL REFERENCES aliases (id) ON DELETE CASCADE,
    hash BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    PRIMARY KEY (alias_id, hash)
);
CREATE TABLE senders (
    hash BYTEA PRIMARY KEY,
    sealed BYTEA NOT NULL,
    expires BIGINT NOT NULL                    -- seconds since 1970
);
CREATE INDEX senders_expires ON senders (expires);
CREATE INDEX dispatches_account ON dispatches (account_id, created) WHERE account_id IS NOT NULL;
