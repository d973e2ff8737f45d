-- MailX schema 25: retention, accounts that wait for their erasure, and warnings of quotas.
-- An account in the state deleted keeps its address and its mail until its grace is over; one that is being erased is in the
-- state erased: its address is free, and what is left of it goes in slices. Up to schema 24 that one was called deleted.
--   logins.hash     Cipher.hash(b"login", scope, what is sealed)
--   logins.sealed   Cipher.seal(b"login", scope + hash, JSON: address, mechanism)
UPDATE accounts SET state = 'erased' WHERE state = 'deleted';
ALTER TABLE accounts ADD COLUMN deleted INTEGER;                    -- when it was, seconds since 1970; NULL: it is not
ALTER TABLE accounts ADD COLUMN retention INTEGER;                  -- days; NULL: the server's setting; 0: mail stays
ALTER TABLE accounts ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;  -- percent of the quota whose crossing the owner knows of
ALTER TABLE accounts ADD COLUMN warned_at INTEGER;                  -- when it was crossed
ALTER TABLE accounts ADD COLUMN warning INTEGER NOT NULL DEFAULT 0; -- percent whose crossing is to be told; 0: none
ALTER TABLE accounts ADD COLUMN recounts INTEGER NOT NULL DEFAULT 0; -- how often its counters were put right
ALTER TABLE mailboxes ADD COLUMN retention INTEGER;                 -- days; NULL: as its account and its use have it; 0: mail stays
CREATE INDEX accounts_deleted ON accounts (deleted) WHERE deleted IS NOT NULL;
CREATE INDEX accounts_warning ON accounts (warned_at) WHERE warning > 0;
CREATE TABLE logins (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hour INTEGER NOT NULL,                       -- since 1970
    hash BLOB NOT NULL,
    first INTEGER NOT NULL,                      -- seconds since 1970
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (account_id, hour, hash)
) WITHOUT ROWID;
CREATE INDEX logins_hour ON logins (hour);
