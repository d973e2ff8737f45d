-- MailX schema 18: contacts, first contact, block lists.
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash BLOB NOT NULL,                         -- of the address
    sealed BLOB NOT NULL,                       -- the address
    trust TEXT NOT NULL,                        -- requested or accepted; who is blocked stands in blocks
    chosen INTEGER NOT NULL,                    -- 1: accepted by hand or by a move; 0: written to, or a request
    refuses INTEGER NOT NULL,                   -- 1: their server says that they take no mail from the account
    first_seen INTEGER NOT NULL,
    changed INTEGER NOT NULL
);
CREATE UNIQUE INDEX contacts_hash ON contacts (account_id, hash);
CREATE INDEX contacts_trust ON contacts (account_id, trust, chosen, id);
CREATE TABLE contact_settings (
    account_id INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    requests TEXT NOT NULL,                     -- federation, all or none; empty: the server's setting
    notices INTEGER NOT NULL                    -- 1: tell servers whose senders this account blocks
);
CREATE TABLE server_blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,                  -- of the address, or of @domain
    sealed BLOB NOT NULL,
    created INTEGER NOT NULL
);
CREATE TABLE shared_lists (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,                  -- of the URL
    sealed BLOB NOT NULL,                       -- URL and key
    content BLOB NOT NULL,                      -- the entries in use, sealed
    digest BLOB NOT NULL,                       -- keyed hash of the text they come from
    entries INTEGER NOT NULL,
    serial INTEGER NOT NULL,                    -- of a signed list; it never goes back
    created INTEGER NOT NULL,
    checked INTEGER NOT NULL,                   -- last asked for
    changed INTEGER NOT NULL,                   -- last taken
    trouble TEXT NOT NULL                       -- why the last reading was not taken; empty: it was
);
CREATE TABLE block_version (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL                    -- one more with every change of server_blocks and shared_lists
);
INSERT INTO block_version (id, version) VALUES (1, 0);
