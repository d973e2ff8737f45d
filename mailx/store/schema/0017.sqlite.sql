-- MailX schema 17: sealed accounts (docs/sealed-accounts.rst): how their keys are wrapped, and mail that waits for its owner.
-- What binds the seals of this step:
--   app_passwords.name        Cipher.seal(b"app password", guid, name in UTF-8)
--   app_passwords.hash        Cipher.hash(b"app password", scope, the password as it is compared)
--   waiting.content           Cipher.seal_bulk(b"content", guid, sealed message); nothing here opens what is sealed inside
-- Of the rows of messages with vault = 1 summary and content are sealed twice: by Cipher, and inside under the account's vault key.
ALTER TABLE accounts ADD COLUMN sealed TEXT NOT NULL DEFAULT '';    -- '', server, client
ALTER TABLE messages ADD COLUMN vault INTEGER NOT NULL DEFAULT 0;
CREATE TABLE account_keys (
    account_id INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    sealing BLOB NOT NULL,                      -- public X25519 key
    signing BLOB NOT NULL,                      -- public Ed25519 key
    bundle BLOB NOT NULL,                       -- the private keys, under the account key, which only the wraps hold
    state TEXT NOT NULL,                        -- sealing, sealed, opening: what becomes of mail that is here already
    position INTEGER NOT NULL DEFAULT 0,        -- how far that has come: id of a message
    bound INTEGER NOT NULL DEFAULT 0,           -- 1: the keys are attested
    created INTEGER NOT NULL
);
CREATE TABLE account_wraps (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,                         -- password, recovery
    salt BLOB NOT NULL,
    cost TEXT NOT NULL,                         -- how the secret becomes a key
    wrapped BLOB NOT NULL,                      -- the account key
    created INTEGER NOT NULL,
    PRIMARY KEY (account_id, kind)
);
CREATE TABLE app_passwords (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    guid BLOB NOT NULL,
    name BLOB NOT NULL,                         -- sealed
    salt BLOB NOT NULL,
    public BLOB NOT NULL,                       -- X25519 key made of the password: account keys are wrapped for it
    wrapped BLOB,                               -- the account key of a sealed account
    created INTEGER NOT NULL,
    used INTEGER,
    UNIQUE (account_id, hash)
);
CREATE TABLE waiting (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    mailbox_id INTEGER NOT NULL,                -- where it goes; INBOX if that is gone by then
    guid BLOB NOT NULL,                         -- binds the seal of content
    size INTEGER NOT NULL,                      -- of the message; what is charged
    flags INTEGER NOT NULL,
    received INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    file TEXT,                                  -- name of the blob file, or NULL: in content
    content BLOB                                -- sealed
);
CREATE INDEX waiting_account ON waiting (account_id, id);
CREATE INDEX waiting_file ON waiting (file) WHERE file IS NOT NULL;
