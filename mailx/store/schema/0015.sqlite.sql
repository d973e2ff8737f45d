-- MailX schema 15: other MailX servers: what is known of them.
-- Domains and addresses are sealed and found by keyed hash.
--   peers.hash                Cipher.hash(b"peer", b"", domain); so in peer_settings, peer_days, remote_keys
--   peers.sealed              Cipher.seal_bulk(b"peer", hash, JSON: domain and what was found of it)
--   peer_settings.sealed      Cipher.seal(b"peer settings", hash, JSON: domain, limits and whatever an administrator set for it)
--   remote_keys.address       Cipher.hash(b"remote key", b"", the address, lower case)
--   remote_keys.sealed        Cipher.seal_bulk(b"remote key", address, JSON: the address, its statement; empty: has no keys)
CREATE TABLE peers (
    hash BLOB NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    mailx INTEGER NOT NULL,                     -- 1: a MailX server was found once; its keys are kept; 0: there was none
    serial INTEGER NOT NULL DEFAULT 0,           -- of its key; it never goes back
    verified INTEGER NOT NULL,                  -- when what is known was seen last; 0: never
    expires INTEGER NOT NULL,                   -- when to look again
    pinned_until INTEGER NOT NULL DEFAULT 0,    -- until then mail goes no other way
    changed INTEGER NOT NULL                    -- when the row was written, for other nodes
);
CREATE INDEX peers_expires ON peers (expires) WHERE mailx = 0;
CREATE INDEX peers_verified ON peers (verified) WHERE mailx = 1;
CREATE INDEX peers_changed ON peers (changed);
CREATE TABLE peer_settings (
    hash BLOB NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    changed INTEGER NOT NULL
);
CREATE TABLE peer_days (
    hash BLOB NOT NULL,
    day INTEGER NOT NULL,                       -- days since 1970
    received INTEGER NOT NULL DEFAULT 0,        -- messages
    received_octets INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    sent_octets INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,         -- messages of theirs that we refused for good
    delayed INTEGER NOT NULL DEFAULT 0,         -- messages of theirs that were told to come later
    failed INTEGER NOT NULL DEFAULT 0,          -- attempts of ours that did not succeed
    violations INTEGER NOT NULL DEFAULT 0,      -- breaches of the protocol and forgeries
    PRIMARY KEY (hash, day)
);
CREATE INDEX peer_days_day ON peer_days (day);
CREATE TABLE remote_keys (
    address BLOB NOT NULL,
    hash BLOB NOT NULL,                         -- of the domain
    serial INTEGER NOT NULL,                     -- of the statement; the highest is the one in use; 0: the address has no keys
    sealed BLOB NOT NULL,
    verified INTEGER NOT NULL,                   -- when the domain said so last
    expires INTEGER NOT NULL,                    -- when to ask again
    PRIMARY KEY (address, serial)
);
CREATE INDEX remote_keys_hash ON remote_keys (hash);
CREATE INDEX remote_keys_expires ON remote_keys (expires) WHERE serial = 0;
