-- MailX schema 22: keys of mailboxes for URLs (URLAUTH).
--   sealed  Cipher.seal(b"url key", mailbox id as 8 octets, 32 random octets)
CREATE TABLE url_keys (
    mailbox_id INTEGER PRIMARY KEY REFERENCES mailboxes (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL
);
