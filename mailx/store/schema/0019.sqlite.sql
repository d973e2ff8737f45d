-- MailX schema 19: the key logs of our own domains. All of it is published; nothing in it names a person.
CREATE TABLE key_logs (
    domain TEXT PRIMARY KEY,                    -- A-labels; a log outlives its domain here
    size INTEGER NOT NULL,                      -- entries
    epoch INTEGER NOT NULL,                     -- 0: never restored
    confirmed INTEGER NOT NULL                  -- so many entries were with peers for certain: a restored log has these in common with them
) WITHOUT ROWID;
CREATE TABLE key_log_leaves (
    domain TEXT NOT NULL,
    number INTEGER NOT NULL,                    -- from 0, without gaps
    label BLOB NOT NULL,                        -- VRF output: whom it is about, readable with a proof only
    leaf BLOB NOT NULL,
    PRIMARY KEY (domain, number)
) WITHOUT ROWID;
CREATE INDEX key_log_labels ON key_log_leaves (domain, label, number);
CREATE TABLE key_log_nodes (
    domain TEXT NOT NULL,
    level INTEGER NOT NULL,                     -- 0: hashes of leaves
    number INTEGER NOT NULL,                    -- covers leaves number << level up to (number + 1) << level
    hash BLOB NOT NULL,
    PRIMARY KEY (domain, level, number)
) WITHOUT ROWID;
CREATE TABLE key_log_epochs (
    domain TEXT NOT NULL,
    epoch INTEGER NOT NULL,                     -- 1: after the first restore
    statement BLOB NOT NULL,                    -- signed, as JSON
    PRIMARY KEY (domain, epoch)
) WITHOUT ROWID;
