-- MailX schema 1. "sealed" columns hold ciphertext (docs/cipher.rst), "hash" columns keyed hashes.
-- What binds them, so that every module opens what another sealed:
--   hash of a mailbox name    Cipher.hash(b"mailbox", scope, name in UTF-8), INBOX in capitals
--   hash of a Message-ID      Cipher.hash(b"thread", scope, the id without its angle brackets)
--   messages.summary          Cipher.seal_bulk(b"summary", guid, mail.summary.summarise(content))
--   bodies.content            Cipher.seal_bulk(b"content", guid, content)
-- where scope = store.messages.scope(account_id): the account id as 8 octets, big-endian.
-- An account is charged store.messages.charge(size) for each entry: size * 105 / 100, in integers, entry by entry.
-- entries.thread_id is the id of the message that founded the thread in that account; a copy keeps it.
-- Lock order on PostgreSQL: accounts, then mailboxes, each by rising id.
CREATE TABLE domains (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
);
CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    domain_id INTEGER NOT NULL REFERENCES domains (id),
    local TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT 'user',
    state TEXT NOT NULL DEFAULT 'active',       -- active, suspended
    quota INTEGER,                              -- octets; NULL: the configured default; 0: unlimited
    used INTEGER NOT NULL DEFAULT 0,            -- octets of all entries plus overhead
    credentials BLOB NOT NULL,                  -- sealed
    credentials_guid BLOB NOT NULL,             -- binds the seal; new with every password
    created INTEGER NOT NULL,
    last_login INTEGER,
    last_uidvalidity INTEGER NOT NULL DEFAULT 0,
    UNIQUE (domain_id, local)
);
CREATE TABLE aliases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    domain_id INTEGER NOT NULL REFERENCES domains (id),
    local TEXT NOT NULL,                        -- '*' catches all
    created INTEGER NOT NULL,
    UNIQUE (domain_id, local)
);
CREATE TABLE alias_targets (
    alias_id INTEGER NOT NULL REFERENCES aliases (id) ON DELETE CASCADE,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    PRIMARY KEY (alias_id, account_id)
);
CREATE TABLE blocks (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,                         -- of the address, or of @domain
    sealed BLOB NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (account_id, hash)
);
CREATE TABLE mailboxes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,                         -- of the full name
    name BLOB NOT NULL,                         -- sealed
    special_use TEXT NOT NULL DEFAULT '',
    uidvalidity INTEGER NOT NULL,
    uidnext INTEGER NOT NULL DEFAULT 1,
    modseq INTEGER NOT NULL DEFAULT 1,
    first_recent INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    UNIQUE (account_id, hash)
);
CREATE TABLE subscriptions (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,
    name BLOB NOT NULL,                         -- sealed
    PRIMARY KEY (account_id, hash)
);
CREATE TABLE keywords (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    bit INTEGER NOT NULL,                       -- 5 to 62
    hash BLOB NOT NULL,
    name BLOB NOT NULL,                         -- sealed
    PRIMARY KEY (account_id, bit),
    UNIQUE (account_id, hash)
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guid BLOB NOT NULL,                         -- 16 random octets: binds the seals, EMAILID later
    size INTEGER NOT NULL,
    refs INTEGER NOT NULL,                      -- entries that point here; 0: swept
    file TEXT,                                  -- name of the blob file, or NULL: in bodies
    summary BLOB NOT NULL                       -- sealed
);
CREATE INDEX messages_unreferenced ON messages (id) WHERE refs = 0;
CREATE INDEX messages_file ON messages (file) WHERE file IS NOT NULL;
CREATE TABLE bodies (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    content BLOB NOT NULL                       -- sealed
);
CREATE TABLE entries (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    uid INTEGER NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id),
    flags INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    received INTEGER NOT NULL,                  -- INTERNALDATE
    saved INTEGER NOT NULL,                     -- SAVEDATE
    size INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;
CREATE INDEX entries_message ON entries (message_id);
CREATE TABLE expunged (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    modseq INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, modseq, uid)
) WITHOUT ROWID;
CREATE TABLE threads (
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,                         -- of a Message-ID
    thread_id INTEGER NOT NULL,
    PRIMARY KEY (account_id, hash)
) WITHOUT ROWID;
