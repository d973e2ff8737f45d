-- MailX schema 24: metadata of mailboxes and accounts (RFC 5464); how many messages an account may hold (RFC 9208).
--   metadata.hash              Cipher.hash(b"metadata", scope of the mailbox and account, the entry's name in lower case)
--   metadata.sealed            Cipher.seal(b"metadata", guid, the entry's name, NUL, its value)
CREATE TABLE metadata (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox_id INTEGER REFERENCES mailboxes (id) ON DELETE CASCADE,  -- NULL: of the server
    account_id INTEGER REFERENCES accounts (id) ON DELETE CASCADE,   -- whose private entry it is; NULL: shared
    hash BLOB NOT NULL,
    guid BLOB NOT NULL,                        -- binds the seal; new with every value
    sealed BLOB NOT NULL,
    size INTEGER NOT NULL                          -- octets of the value
);
CREATE UNIQUE INDEX metadata_entry ON metadata (coalesce(mailbox_id, 0), coalesce(account_id, 0), hash);
CREATE INDEX metadata_mailbox ON metadata (mailbox_id) WHERE mailbox_id IS NOT NULL;
CREATE INDEX metadata_account ON metadata (account_id) WHERE account_id IS NOT NULL;
ALTER TABLE accounts ADD COLUMN message_quota INTEGER;       -- messages in all its mailboxes; NULL: any number
